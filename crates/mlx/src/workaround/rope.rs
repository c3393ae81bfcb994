//! Rotary embedding on CUDA: at positions before 0, which MLX's kernel adds up as unsigned numbers: near 2^32 instead; and
//! with one offset in an array of one element for several sequences, where the kernel reads behind it.
//!
//! Arrays of three or of more than four axes are given four, so that the kernel of our own takes them.
//!
//! Rotations add: `R(t + o) = R(t) R(o)`, and a rotation back is one forward between two reflections, `R(-a) = S R(a) S`
//! with `S` the change of sign of each pair's second feature. So an array that may hold negative offsets is turned twice,
//! by `max(o, 0)` with the position and by `max(-o, 0)` back, and neither kernel sees a negative number.
//!
//! The kernel of our own (`native/cuda_rope.cpp`) has signed positions; this is for what it does not take.

use super::calculate::{Calculator, known};
use crate::Dtype;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, data, gpu_kernel, stream};
use crate::op::Op;

/// What the kernel of our own takes: features that turn, and sequences and heads of a batch.
const MOST_DIMS: i32 = 512;
const MOST_ROWS: i32 = 65_535;

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let Op::Rope {
        dims, traditional, ..
    } = op
    else {
        return Ok(None);
    };
    let (x, offset) = (inputs[0], inputs[1]);
    if !stream::is_cuda(stream) || x.shape().len() < 3 {
        return Ok(None);
    }
    let calculate = Calculator::on(stream);
    let &[batch, heads, seq, dim] = x.shape() else {
        return in_four_axes(op, inputs, stream).map(Some);
    };
    let fits = *dims <= MOST_DIMS
        && batch <= MOST_ROWS
        && heads <= MOST_ROWS
        && offset.dtype() == Dtype::Int32;
    if fits && gpu_kernel::has_cuda_kernels() {
        return Ok(None);
    }
    if offset.shape() == [1] {
        let offset = calculate.unary(Op::Squeeze { axes: vec![0] }, offset)?;
        return again(op, &[&[x, &offset], &inputs[2..]].concat(), stream).map(Some);
    }
    if !is_signed(offset.dtype()) || !may_be_negative(offset)? {
        return Ok(None);
    }
    if batch == 1 && seq == 1 {
        // One position of one sequence has a kernel of its own, which is right, where elements lie in order.
        let in_order = calculate.unary(contiguous(), x)?;
        let inputs: Vec<&Handle> = [&in_order]
            .into_iter()
            .chain(inputs[1..].iter().copied())
            .collect();
        return calculate.apply(op, &inputs).map(|y| Some(Outputs::One(y)));
    }
    let zero = calculate.number(0_i32, offset.dtype())?;
    let forward = calculate.binary(Op::Maximum, offset, &zero)?;
    let least = calculate.binary(Op::Minimum, offset, &zero)?;
    let back = calculate.unary(Op::Negative, &least)?;

    // Between the two turns nothing is rounded to 16 bits.
    let wide = calculate.astype(x, Dtype::Float32)?;
    let signs = signs(dim, *dims, *traditional)?;
    let turn = |x: &Handle, by: &Handle| {
        let inputs: Vec<&Handle> = [x, by]
            .into_iter()
            .chain(inputs[2..].iter().copied())
            .collect();
        calculate.apply(op, &inputs)
    };
    // All positions turn back by the same angle: each is the first of a sequence of its own.
    let alone = reshape(&[batch, heads.saturating_mul(seq), 1, dim]);
    let reflected = calculate.multiply(&calculate.unary(alone, &wide)?, &signs)?;
    let turned = calculate.multiply(&turn(&reflected, &back)?, &signs)?;
    let turned = calculate.unary(reshape(x.shape()), &turned)?;
    let y = calculate.astype(&turn(&turned, &forward)?, x.dtype())?;
    Ok(Some(Outputs::One(y)))
}

/// The operation on other inputs, which may need something else.
fn again(op: &Op, inputs: &[&Handle], stream: mlx_sys::mlx_stream) -> Result<Outputs, NativeError> {
    match call(op, inputs, stream)? {
        Some(outputs) => Ok(outputs),
        None => Calculator::on(stream).apply(op, inputs).map(Outputs::One),
    }
}

/// The operation on `[batch, heads, positions, features]`, whose heads are of no or of several axes.
fn in_four_axes(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    let shape = inputs[0].shape();
    let (there, back) = if let [heads @ .., _, _] = &shape[1..]
        && !heads.is_empty()
    {
        let there = Op::Flatten {
            start_axis: 1,
            end_axis: i32::try_from(heads.len()).unwrap_or(i32::MAX),
        };
        let back = Op::Unflatten {
            axis: 1,
            shape: heads.to_vec(),
        };
        (there, back)
    } else {
        (
            Op::ExpandDims { axes: vec![1] },
            Op::Squeeze { axes: vec![1] },
        )
    };
    let calculate = Calculator::on(stream);
    let x = calculate.unary(there, inputs[0])?;
    match again(op, &[&[&x], &inputs[1..]].concat(), stream)? {
        Outputs::One(y) => calculate.unary(back, &y).map(Outputs::One),
        outputs => Ok(outputs),
    }
}

fn contiguous() -> Op {
    Op::Contiguous {
        allow_col_major: false,
    }
}

fn reshape(shape: &[i32]) -> Op {
    Op::Reshape {
        shape: shape.to_vec(),
    }
}

fn is_signed(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::Int8 | Dtype::Int16 | Dtype::Int32 | Dtype::Int64
    )
}

/// Whether an offset is negative, or not known.
fn may_be_negative(offset: &Handle) -> Result<bool, NativeError> {
    if !offset.is_available()? {
        return Ok(true);
    }
    Ok(known(offset).is_none_or(|offsets| offsets.iter().any(|&offset| offset < 0.0)))
}

/// -1 for the second feature of each pair that turns, 1 for all others.
fn signs(dim: i32, dims: i32, traditional: bool) -> Result<Handle, NativeError> {
    let is_second = |k: i32| {
        k < dims
            && if traditional {
                k % 2 == 1
            } else {
                k >= dims / 2
            }
    };
    let signs: Vec<f32> = (0..dim)
        .map(|k| if is_second(k) { -1.0 } else { 1.0 })
        .collect();
    data::from_slice(&signs, &[dim])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_feature_of_a_pair_changes_its_sign() {
        let of = |dims, traditional| {
            let signs = signs(6, dims, traditional).unwrap();
            data::as_slice::<f32>(&signs).unwrap().to_vec()
        };
        assert_eq!(of(4, false), [1.0, 1.0, -1.0, -1.0, 1.0, 1.0]);
        assert_eq!(of(4, true), [1.0, -1.0, 1.0, -1.0, 1.0, 1.0]);
    }
}
