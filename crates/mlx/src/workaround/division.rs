//! Division as NumPy's: integers by zero give 0, the smallest number by -1 wraps, and `a // b * b + a % b` is `a`.
//!
//! The processor traps on the first two, so MLX on the CPU dies of SIGFPE. Of floating numbers MLX rounds `a / b` before
//! it takes the floor, so that 1 // 0.1 is 10 beside a remainder of 0.1, and divisions of and by infinity are off.

use super::calculate::Calculator;
use crate::ffi::table::{self, Outputs, one};
use crate::ffi::{Handle, NativeError, data};
use crate::op::Op;
use crate::{Dtype, dtype::DtypeKind};

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    let (a, b) = (inputs[0], inputs[1]);
    let plain = table::call(op, &[a.raw(), b.raw()], stream)?;
    let dtype = plain.as_slice()[0].dtype();
    if dtype.kind() == DtypeKind::Floating {
        return match op {
            Op::FloorDivide => floor(a, b, dtype, stream).map(Outputs::One),
            Op::Divmod => {
                let rest = one(&Op::Remainder, &[a, b], stream)?;
                Ok(Outputs::Many(vec![floor(a, b, dtype, stream)?, rest]))
            }
            _ => Ok(plain),
        };
    }
    if dtype.is_inexact() || is_safe_divisor(b) {
        return Ok(plain);
    }
    // `plain` is never evaluated: it only told the dtype.
    let a = one(&Op::Astype { dtype }, &[a], stream)?;
    let b = one(&Op::Astype { dtype }, &[b], stream)?;
    let constant = |value: i32| -> Result<Handle, NativeError> {
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
    if dtype.kind() == DtypeKind::Signed {
        let mask = one(&Op::Equal, &[&b, &constant(-1)?], stream)?;
        divisor = one(&Op::Where, &[&mask, &unit, &divisor], stream)?;
        by_minus_one = Some(mask);
    }
    let finish = |result: Handle, is_quotient: bool| -> Result<Handle, NativeError> {
        let mut result = result;
        if let (Some(mask), true) = (&by_minus_one, is_quotient) {
            // `0 - a` wraps for the smallest number; the remainder by 1 is already 0.
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

/// The floor of the quotient of floating numbers: `round((a - a % b) / b)`, as the remainder is exact.
fn floor(
    a: &Handle,
    b: &Handle,
    dtype: Dtype,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let calculate = Calculator::on(stream);
    let wide = match dtype {
        Dtype::Float16 | Dtype::Bfloat16 => Dtype::Float32,
        other => other,
    };
    // It is constant but for its steps.
    let still = |x: &Handle| calculate.unary(Op::StopGradient, &calculate.astype(x, wide)?);
    let (a, b) = (&still(a)?, &still(b)?);
    let number = |x: f32| calculate.number(x, wide);
    let zero = &number(0.0)?;
    let ratio = &calculate.divide(a, b)?;
    let rest = calculate.binary(Op::Remainder, a, b)?;
    let whole = calculate.divide(&calculate.subtract(a, &rest)?, b)?;
    let whole = calculate.unary(Op::Round { decimals: 0 }, &whole)?;
    // A zero has the sign of the ratio.
    let is_zero = calculate.binary(Op::Equal, &whole, zero)?;
    let whole = calculate.choose(&is_zero, &calculate.multiply(ratio, zero)?, &whole)?;
    // By infinity: 0 or, where the signs differ, -1.
    let is_below = calculate.binary(Op::Less, ratio, zero)?;
    let signs = |x: &Handle| calculate.binary(Op::Less, x, zero);
    let differ = calculate.binary(Op::NotEqual, &signs(a)?, &signs(b)?)?;
    let not_zero = calculate.binary(Op::NotEqual, a, zero)?;
    let is_below = calculate.binary(
        Op::LogicalOr,
        &is_below,
        &calculate.binary(Op::LogicalAnd, &differ, &not_zero)?,
    )?;
    let step = calculate.choose(&is_below, &number(-1.0)?, &calculate.multiply(ratio, zero)?)?;
    let by_infinity = calculate.binary(
        Op::LogicalAnd,
        &calculate.unary(Op::Isinf, b)?,
        &calculate.unary(Op::Isfinite, a)?,
    )?;
    let whole = calculate.choose(&by_infinity, &step, &whole)?;
    let by_zero = calculate.binary(Op::Equal, b, zero)?;
    let whole = calculate.choose(&by_zero, ratio, &whole)?;
    calculate.astype(&whole, dtype)
}

/// The sign, which of NaN is NaN.
pub(super) fn sign(x: &Handle, stream: mlx_sys::mlx_stream) -> Result<Handle, NativeError> {
    let calculate = Calculator::on(stream);
    let plain = calculate.unary(Op::Sign, x)?;
    if x.dtype().kind() != DtypeKind::Floating {
        return Ok(plain);
    }
    let is_nan = calculate.unary(Op::Isnan, x)?;
    calculate.choose(&is_nan, &calculate.unary(Op::StopGradient, x)?, &plain)
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
