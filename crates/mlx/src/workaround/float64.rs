//! Doubles and the formats of 4 and 8 bits: the CPU reads and writes them as if doubles were half as wide.

use super::packed;
use crate::Dtype;
use crate::ffi::table::one;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Handle, NativeError};
use crate::op::{Op, QuantizationMode};

/// Computes in single precision what MLX gets wrong in double; nothing when `op` is not of these.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    if let Some(op) = with_single_result(op) {
        let single = match packed::call(&op, inputs, stream)? {
            Some(Outputs::One(single)) => single,
            _ => one(&op, inputs, stream)?,
        };
        return one(&to(Dtype::Float64), &[&single], stream)
            .map(|double| Some(Outputs::One(double)));
    }
    let takes_single = match op {
        Op::ToFp8 => true,
        Op::Quantize { mode, .. } => *mode != QuantizationMode::Affine,
        _ => false,
    };
    if !takes_single || inputs[0].dtype() != Dtype::Float64 {
        return Ok(None);
    }
    let single = one(&to(Dtype::Float32), inputs, stream)?;
    match packed::call(op, &[&single], stream)? {
        None => table::call(op, &[single.raw()], stream).map(Some),
        outputs => Ok(outputs),
    }
}

/// The operation with a result in single precision, if MLX would write doubles that are none.
fn with_single_result(op: &Op) -> Option<Op> {
    let mut single = op.clone();
    match &mut single {
        Op::FromFp8 { dtype } if *dtype == Dtype::Float64 => *dtype = Dtype::Float32,
        Op::Dequantize { mode, dtype, .. }
            if *mode != QuantizationMode::Affine && *dtype == Some(Dtype::Float64) =>
        {
            *dtype = Some(Dtype::Float32);
        }
        _ => return None,
    }
    Some(single)
}

fn to(dtype: Dtype) -> Op {
    Op::Astype { dtype }
}
