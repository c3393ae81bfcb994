//! Integer division: by zero it gives 0, as NumPy does, and the least number by -1 wraps.
//!
//! The processor traps on both, so MLX on the CPU dies of SIGFPE.

use super::one;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Fault, Handle, data, inspect};
use crate::op::Op;
use crate::{Dtype, dtype::Kind};

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, Fault> {
    let (a, b) = (inputs[0], inputs[1]);
    if matches!(op, Op::Divmod) && (inspect::is_tracer(a)? || inspect::is_tracer(b)?) {
        // MLX gives the remainder a gradient of 0.
        let mut both = call(&Op::FloorDivide, inputs, stream)?.into_vec();
        both.extend(call(&Op::Remainder, inputs, stream)?.into_vec());
        return Ok(Outputs::Many(both));
    }
    let plain = table::call(op, &[a.raw(), b.raw()], stream)?;
    let dtype = plain.as_slice()[0].dtype();
    if dtype.is_inexact() || is_safe_divisor(b) {
        return Ok(plain);
    }
    // `plain` is never evaluated: it only told the dtype.
    let a = one(&Op::Astype { dtype }, &[a], stream)?;
    let b = one(&Op::Astype { dtype }, &[b], stream)?;
    let constant = |value: i32| -> Result<Handle, Fault> {
        one(
            &Op::Astype { dtype },
            &[&data::from_slice(&[value], &[])?],
            stream,
        )
    };
    let (zero, unit) = (constant(0)?, constant(1)?);
    let by_zero = one(&Op::Equal, &[&b, &zero], stream)?;
    let mut divisor = one(&Op::Where, &[&by_zero, &unit, &b], stream)?;
    let mut by_minus_one = None;
    if dtype.kind() == Kind::Signed {
        let mask = one(&Op::Equal, &[&b, &constant(-1)?], stream)?;
        divisor = one(&Op::Where, &[&mask, &unit, &divisor], stream)?;
        by_minus_one = Some(mask);
    }
    let finish = |result: Handle, is_quotient: bool| -> Result<Handle, Fault> {
        let mut result = result;
        if let (Some(mask), true) = (&by_minus_one, is_quotient) {
            // `0 - a` wraps for the least number; the remainder by 1 is already 0.
            let negated = one(&Op::Subtract, &[&zero, &a], stream)?;
            result = one(&Op::Where, &[mask, &negated, &result], stream)?;
        }
        one(&Op::Where, &[&by_zero, &zero, &result], stream)
    };
    match table::call(op, &[a.raw(), divisor.raw()], stream)? {
        Outputs::One(result) => Ok(Outputs::One(finish(result, matches!(op, Op::FloorDivide))?)),
        Outputs::Many(results) => {
            let both: Result<Vec<_>, _> = results
                .into_iter()
                .enumerate()
                .map(|(k, result)| finish(result, k == 0))
                .collect();
            Ok(Outputs::Many(both?))
        }
    }
}

/// Returns whether the divisor is one known number that is neither 0 nor -1: `x / 2` needs no care.
fn is_safe_divisor(b: &Handle) -> bool {
    if b.size() != 1 {
        return false;
    }
    let is_plain = |value: Option<i64>| value.is_some_and(|value| value != 0 && value != -1);
    match b.dtype() {
        Dtype::Int8 => is_plain(first::<i8>(b)),
        Dtype::Int16 => is_plain(first::<i16>(b)),
        Dtype::Int32 => is_plain(first::<i32>(b)),
        Dtype::Int64 => is_plain(first::<i64>(b)),
        Dtype::Uint8 => is_plain(first::<u8>(b)),
        Dtype::Uint16 => is_plain(first::<u16>(b)),
        Dtype::Uint32 => is_plain(first::<u32>(b)),
        _ => false,
    }
}

fn first<T: crate::Element + Into<i64>>(handle: &Handle) -> Option<i64> {
    data::as_slice::<T>(handle)
        .ok()?
        .first()
        .map(|&value| value.into())
}
