//! The Hadamard transform of 12, 20 or 28 elements on CUDA, whose kernel MLX's own compiler refuses.
//!
//! It is every second number of the transform of twice as many, with a zero behind each element:
//! `(H_m x H_2) (x, 0) = (H_m x, H_m x)`.

use super::calculate::Calculator;
use crate::Dtype;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, stream};
use crate::op::Op;

/// Sizes of matrices that MLX has besides powers of two.
const SIZES: [i32; 3] = [12, 20, 28];

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let Op::HadamardTransform { scale } = op else {
        return Ok(None);
    };
    let x = inputs[0];
    let Some(&size) = x.shape().last() else {
        return Ok(None);
    };
    if !stream::is_cuda(stream) || !SIZES.contains(&size) {
        return Ok(None);
    }
    let calculate = Calculator::on(stream);
    let last = i32::try_from(x.ndim()).unwrap_or(i32::MAX);
    let pairs = |x: &Handle| calculate.unary(Op::ExpandDims { axes: vec![-1] }, x);
    let zeros = calculate.unary(Op::ZerosLike, x)?;
    let padded = calculate.binary(Op::Concatenate { axis: -1 }, &pairs(x)?, &pairs(&zeros)?)?;
    let flat = Op::Flatten {
        start_axis: last - 1,
        end_axis: last,
    };
    // The default is that of `size`, not of twice as many.
    #[allow(clippy::cast_precision_loss)]
    let scale = scale.unwrap_or_else(|| (size as f32).sqrt().recip());
    let both = calculate.unary(
        Op::HadamardTransform { scale: Some(scale) },
        &calculate.unary(flat, &padded)?,
    )?;
    let apart = Op::Unflatten {
        axis: -1,
        shape: vec![size, 2],
    };
    let first = calculate.number(0_i32, Dtype::Int32)?;
    let both = calculate.unary(apart, &both)?;
    calculate
        .binary(Op::Take { axis: -1 }, &both, &first)
        .map(|y| Some(Outputs::One(y)))
}
