//! Evenly spaced numbers: each from its position, not from the one before it.
//!
//! MLX adds the step again and again in the dtype of the result, so that the last of a million steps of 0.1 is off by
//! 9 %, and half precision stops where the step is lost in rounding. Doubles of `linspace` are made in `float32`.
//! GPUs take the step from the rounded difference of the first two numbers: such ranges are computed on the CPU for them
//! (see [`StreamOf`](stream::StreamOf)).

use super::calculate::Calculator;
use crate::Dtype;
use crate::dtype::DtypeKind;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Handle, NativeError, stream};
use crate::op::Op;

/// Computes in double what MLX's loop gets wrong; nothing when `op` is not of these.
pub(super) fn call(
    op: &Op,
    _: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    if stream::is_gpu(stream) {
        return Ok(None);
    }
    let numbers = match op {
        Op::Arange {
            start, step, dtype, ..
        } if op.is_rounded_range() => arange(op, *start, *step, *dtype, stream)?,
        Op::Linspace {
            start,
            stop,
            num,
            endpoint,
            dtype,
        } if *num > 1 => linspace(*start, *stop, *num, *endpoint, *dtype, stream)?,
        _ => return Ok(None),
    };
    Ok(Some(Outputs::One(numbers)))
}

#[allow(clippy::cast_possible_truncation)]
fn arange(
    op: &Op,
    start: f64,
    step: f64,
    dtype: Dtype,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let calculate = Calculator::on(stream);
    // Tells the number of elements, and is never evaluated.
    let plain = table::call(op, &[], stream)?;
    let n = plain.as_slice().first().map_or(0, Handle::size);
    let n =
        i32::try_from(n).map_err(|_| NativeError::from("wanted at most 2147483647 elements"))?;
    if matches!(dtype.kind(), DtypeKind::Signed | DtypeKind::Unsigned) {
        let (first, step) = (start as i64, step as i64);
        let positions = positions(n, Dtype::Int64, calculate)?;
        let steps = calculate.multiply(&positions, &calculate.number(step, Dtype::Int64)?)?;
        let all = calculate.add(&steps, &calculate.number(first, Dtype::Int64)?)?;
        return calculate.astype(&all, dtype);
    }
    let all = steps(start, step, n, calculate)?;
    calculate.astype(&all, dtype)
}

fn linspace(
    start: f64,
    stop: f64,
    num: i32,
    endpoint: bool,
    dtype: Dtype,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let calculate = Calculator::on(stream);
    let parts = f64::from(if endpoint { num - 1 } else { num });
    let mut all = steps(start, (stop - start) / parts, num, calculate)?;
    if endpoint {
        let last = calculate.number(num - 1, Dtype::Int32)?;
        let is_last =
            calculate.binary(Op::Equal, &positions(num, Dtype::Int32, calculate)?, &last)?;
        all = calculate.choose(&is_last, &calculate.number(stop, Dtype::Float64)?, &all)?;
    }
    calculate.astype(&all, dtype)
}

/// `start + k * step` in double.
fn steps(start: f64, step: f64, n: i32, calculate: Calculator) -> Result<Handle, NativeError> {
    let double = Dtype::Float64;
    let positions = calculate.astype(&positions(n, Dtype::Int32, calculate)?, double)?;
    let steps = calculate.multiply(&positions, &calculate.number(step, double)?)?;
    calculate.add(&steps, &calculate.number(start, double)?)
}

/// `0, 1, .. n - 1`.
fn positions(n: i32, dtype: Dtype, calculate: Calculator) -> Result<Handle, NativeError> {
    let op = Op::Arange {
        start: 0.0,
        stop: f64::from(n),
        step: 1.0,
        dtype,
    };
    calculate.apply(&op, &[])
}
