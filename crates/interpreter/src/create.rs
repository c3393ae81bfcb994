//! Operations that make arrays of attributes, and diagonals and triangles.

use std::f64::consts::PI;

use mlx::Op;
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::Number;
use crate::shape::{diagonal, masked};
use crate::tensor::{Tensor, axis, coordinates, count};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Zeros { .. } | Op::ZerosLike => filled(call, |_| 0.0),
        Op::Ones { .. } | Op::OnesLike => filled(call, |_| 1.0),
        Op::Arange { start, step, .. } => arange(call, *start, *step),
        Op::Linspace {
            start,
            stop,
            num,
            endpoint,
            ..
        } => {
            let points = f64::from(*num);
            let parts = if *endpoint { points - 1.0 } else { points }.max(1.0);
            let step = (*stop - *start) / parts;
            filled(call, |k| {
                if *endpoint && k > 0.0 && k == parts {
                    *stop
                } else {
                    *start + k * step
                }
            })
        }
        Op::Full { .. } => call
            .input(0)
            .and_then(|x| call.tensor(&x.broadcast_to(&call.shape()?)?)),
        Op::FullLike { .. } => call
            .input(1)
            .and_then(|x| call.tensor(&x.broadcast_to(&call.shape()?)?)),
        Op::Eye { k, .. } => matrix(call, |row, column| column == row + i64::from(*k)),
        Op::Tri { k, .. } => matrix(call, |row, column| column <= row + i64::from(*k)),
        Op::Bartlett { m } => window(call, *m, |part| 1.0 - (2.0 * part - 1.0).abs()),
        Op::Blackman { m } => window(call, *m, |part| {
            0.42 - 0.5 * (2.0 * PI * part).cos() + 0.08 * (4.0 * PI * part).cos()
        }),
        Op::Hamming { m } => window(call, *m, |part| 0.54 - 0.46 * (2.0 * PI * part).cos()),
        Op::Hanning { m } => window(call, *m, |part| 0.5 - 0.5 * (2.0 * PI * part).cos()),
        Op::Tril { k } => call
            .input(0)
            .and_then(|x| call.one(masked(x, |r, c| c <= r + i64::from(*k)))),
        Op::Triu { k } => call
            .input(0)
            .and_then(|x| call.one(masked(x, |r, c| c >= r + i64::from(*k)))),
        Op::Diag { k } => call.input(0).and_then(|x| diag(call, x, *k)),
        Op::Diagonal {
            offset,
            axis1,
            axis2,
        } => call.input(0).and_then(|x| {
            call.tensor(&diagonal(
                x,
                *offset,
                axis(*axis1, x.ndim())?,
                axis(*axis2, x.ndim())?,
            )?)
        }),
        Op::Trace {
            offset,
            axis1,
            axis2,
            ..
        } => call.input(0).and_then(|x| {
            let x = x.astype(call.dtype()?, call.rounding);
            let all = diagonal(
                &x,
                *offset,
                axis(*axis1, x.ndim())?,
                axis(*axis2, x.ndim())?,
            )?;
            let length = all.shape().last().copied().unwrap_or(0);
            let total = call.shape().and_then(|shape| count(&shape))?;
            let row = |k: usize| {
                let row = all.numbers().iter().skip(k * length).take(length);
                crate::reduce::sum(&row.copied().collect::<Vec<_>>())
            };
            call.one((0..total).map(row).collect())
        }),
        _ => return None,
    })
}

#[allow(clippy::cast_precision_loss)]
fn filled(call: &Call<'_>, of: impl Fn(f64) -> f64) -> Result<Vec<Tensor>> {
    let total = count(&call.shape()?)?;
    call.one((0..total).map(|k| Number::Float(of(k as f64))).collect())
}

/// Integers step by the whole numbers that start and step are cut to.
#[allow(clippy::cast_possible_truncation)]
fn arange(call: &Call<'_>, start: f64, step: f64) -> Result<Vec<Tensor>> {
    if call.dtype()?.is_inexact() {
        return filled(call, |k| start + k * step);
    }
    let (first, next) = (start as i64, (start + step) as i64);
    let total = count(&call.shape()?)?;
    let of = |k: usize| {
        let k = i64::try_from(k).unwrap_or(i64::MAX);
        Number::Int(first.wrapping_add(k.wrapping_mul(next.wrapping_sub(first))))
    };
    call.one((0..total).map(of).collect())
}

fn matrix(call: &Call<'_>, is_one: impl Fn(i64, i64) -> bool) -> Result<Vec<Tensor>> {
    let shape = call.shape()?;
    let of = |k: usize| {
        let at = coordinates(k, &shape);
        let get = |k: usize| at.get(k).and_then(|&k| i64::try_from(k).ok()).unwrap_or(0);
        Number::Int(i64::from(is_one(get(0), get(1))))
    };
    call.one((0..count(&shape)?).map(of).collect())
}

fn window(call: &Call<'_>, m: i32, of: impl Fn(f64) -> f64) -> Result<Vec<Tensor>> {
    if m == 1 {
        return filled(call, |_| 1.0);
    }
    filled(call, |k| of(k / (f64::from(m) - 1.0)))
}

fn diag(call: &Call<'_>, x: &Tensor, k: i32) -> Result<Vec<Tensor>> {
    if x.ndim() == 2 {
        return call.tensor(&diagonal(x, k, 0, 1)?);
    }
    let shape = call.shape()?;
    let zero = Number::zero(x.dtype());
    let of = |flat_index: usize| {
        let at = coordinates(flat_index, &shape);
        let get = |k: usize| at.get(k).and_then(|&k| i64::try_from(k).ok()).unwrap_or(0);
        let (row, column) = (get(0), get(1));
        if column - row != i64::from(k) {
            return zero;
        }
        usize::try_from(row.min(column)).map_or(zero, |k| x.at(k))
    };
    call.one((0..count(&shape)?).map(of).collect())
}
