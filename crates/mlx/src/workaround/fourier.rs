//! Transforms back to an odd number of real values: in a function of which MLX takes tangents, or which it vectorizes, it
//! takes their number for the even one.

use crate::Dtype;
use crate::ffi::table::{Outputs, one};
use crate::ffi::{Handle, NativeError, data, inspect};
use crate::op::{FftNorm, Op};
use crate::shape::axis_index;

type Stream = mlx_sys::mlx_stream;

/// Computes the transform back from the whole spectrum; nothing for what MLX has right.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: Stream,
) -> Result<Option<Outputs>, NativeError> {
    let (Op::Irfftn { n, axes, norm }, &[half]) = (op, inputs) else {
        return Ok(None);
    };
    let (Some((&n_last, n_others)), Some((&last, others))) = (n.split_last(), axes.split_last())
    else {
        return Ok(None);
    };
    let axis = axis_index(last, half.ndim());
    let (Some(axis), true, true) = (axis, n.len() == axes.len(), n_last % 2 == 1 && n_last > 0)
    else {
        return Ok(None);
    };
    if !inspect::is_tracer(half)? || half.size() == 0 {
        return Ok(None);
    }
    let back = |x: &Handle, n: &[i32], axes: &[i32], norm: FftNorm| {
        let (n, axes) = (n.to_vec(), axes.to_vec());
        one(&Op::Ifftn { n, axes, norm }, &[x], stream)
    };
    let dtype = Dtype::Complex64;
    let mut spectrum = one(&Op::Astype { dtype }, &[half], stream)?;
    if !others.is_empty() {
        spectrum = back(&spectrum, n_others, others, *norm)?;
    }
    let whole = whole(spectrum, axis, n_last, stream)?;
    let values = back(&whole, &[n_last], &[last], *norm)?;
    one(&Op::Real, &[&values], stream).map(|x| Some(Outputs::One(x)))
}

/// The spectrum of `n` real values, an odd number, by its first half along `axis`, cut or filled with zeros.
fn whole(half: Handle, axis: usize, n: i32, stream: Stream) -> Result<Handle, NativeError> {
    let place = i32::try_from(axis).map_err(|_| NativeError::from("wanted an axis in 32 bits"))?;
    let (wanted, mut shape) = (n / 2 + 1, half.shape().to_vec());
    let join = |a: &Handle, b: &Handle| one(&Op::Concatenate { axis: place }, &[a, b], stream);
    let mut half = half;
    if shape[axis] > wanted {
        shape[axis] = wanted;
        let slice = Op::Slice {
            start: vec![0; shape.len()],
            strides: vec![1; shape.len()],
            stop: shape,
        };
        half = one(&slice, &[&half], stream)?;
    } else if shape[axis] < wanted {
        shape[axis] = wanted - shape[axis];
        let dtype = half.dtype();
        half = join(&half, &one(&Op::Zeros { shape, dtype }, &[], stream)?)?;
    }
    if n == 1 {
        return Ok(half);
    }
    let backwards: Vec<i32> = (1..wanted).rev().collect();
    let backwards = data::from_slice(&backwards, &[wanted - 1])?;
    let mirrored = one(&Op::Take { axis: place }, &[&half, &backwards], stream)?;
    let mirrored = one(&Op::Conjugate, &[&mirrored], stream)?;
    join(&half, &mirrored)
}
