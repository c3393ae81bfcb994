//! Statistics that overflow in the dtype of their input: computed in a wider one, and rounded once.
//!
//! MLX divides a sum by the number of elements, so that the mean of four `int32` of 2^30 is 0 and that of ten `float16`
//! of 60000 infinite; variances and norms square their elements in half precision.

use super::calculate::Calculator;
use crate::Dtype;
use crate::dtype::DtypeKind;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Handle, NativeError};
use crate::op::Op;

/// Computes what would overflow; nothing when `op` is not of these.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let calculate = Calculator::on(stream);
    let Some(wide) = wider(op, inputs, calculate.widest()) else {
        return Ok(None);
    };
    let raws: Vec<_> = inputs.iter().map(|input| input.raw()).collect();
    // `plain` is never evaluated: it tells the dtype, and what is wrong with the attributes.
    let plain = table::call(op, &raws, stream)?;
    let [like] = plain.as_slice() else {
        return Ok(None);
    };
    let inputs: Vec<Handle> = inputs
        .iter()
        .map(|input| calculate.astype(input, wide))
        .collect::<Result<_, _>>()?;
    let result = calculate.apply(op, &inputs.iter().collect::<Vec<_>>())?;
    calculate
        .astype(&result, like.dtype())
        .map(|result| Some(Outputs::One(result)))
}

/// The dtype to compute in, if it is not that of the inputs.
fn wider(op: &Op, inputs: &[&Handle], widest: Dtype) -> Option<Dtype> {
    let dtype = inputs.first()?.dtype();
    let is_half = inputs
        .iter()
        .all(|input| matches!(input.dtype(), Dtype::Float16 | Dtype::Bfloat16));
    let is_last = |axes: &[i32]| {
        let ndim = i32::try_from(inputs[0].ndim()).unwrap_or(0);
        matches!(axes, [axis] if *axis == -1 || *axis == ndim - 1)
    };
    match op {
        Op::Mean { .. }
        | Op::Var { .. }
        | Op::Std { .. }
        | Op::Median { .. }
        | Op::Norm { .. }
        | Op::NormL2 { .. }
        | Op::NormMatrix { .. } => match dtype.kind() {
            DtypeKind::Floating if is_half => Some(Dtype::Float32),
            DtypeKind::Signed | DtypeKind::Unsigned if dtype.size() > 2 => Some(widest),
            DtypeKind::Signed | DtypeKind::Unsigned => Some(Dtype::Float32),
            _ => None,
        },
        Op::Logsumexp { .. } | Op::Vecdot { .. } if is_half => Some(Dtype::Float32),
        // Along the last axis it is one operation of MLX's; along others, several that round to half precision.
        Op::Softmax { axes, .. } if is_half && !is_last(axes) => Some(Dtype::Float32),
        _ => None,
    }
}
