//! Fourier transforms, by their sums.

use std::f64::consts::PI;

use mlx::{FftNorm, Op};
use mlx_compiler::Result;

use crate::call::Call;
use crate::complex::{Complex, multiply};
use crate::number::Number;
use crate::order::map_lines;
use crate::tensor::{Tensor, axes, axis, count};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Fftn { n, axes, norm } => forward(call, n, axes, *norm, false),
        Op::Rfftn { n, axes, norm } => forward(call, n, axes, *norm, true),
        Op::Ifftn { n, axes, norm } => inverse(call, n, axes, *norm),
        Op::Irfftn { n, axes, norm } => inverse_to_real(call, n, axes, *norm),
        Op::Fftshift { axes } => shift(call, axes, false),
        Op::Ifftshift { axes } => shift(call, axes, true),
        Op::Fftfreq { n, d } => frequencies(call, *n, *d, true),
        Op::Rfftfreq { n, d } => frequencies(call, *n, *d, false),
        _ => return None,
    })
}

/// The transform, of real numbers cut to the half that determines all of it.
fn forward(
    call: &Call<'_>,
    n: &[i32],
    axes: &[i32],
    norm: FftNorm,
    is_real: bool,
) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let plan = plan(x, n, axes, false)?;
    let factor = factor(&plan, norm, true);
    let last = plan.len().saturating_sub(1);
    // Only the real part has a transform of real numbers.
    let real = if is_real {
        x.astype(mlx::Dtype::Float64, crate::Rounding::Exact)
    } else {
        x.clone()
    };
    let mut result = real.astype(mlx::Dtype::Complex64, crate::Rounding::Exact);
    for (step, &(along, size)) in plan.iter().enumerate().rev() {
        let kept = if is_real && step == last {
            size / 2 + 1
        } else {
            size
        };
        result = transformed(&result, along, &|line| dft(line, size, kept, -1.0))?;
    }
    let numbers = result.numbers().iter().map(|x| scaled(*x, factor));
    call.one(numbers.collect())
}

fn inverse(call: &Call<'_>, n: &[i32], axes: &[i32], norm: FftNorm) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let plan = plan(x, n, axes, false)?;
    let factor = factor(&plan, norm, false);
    let mut result = x.astype(mlx::Dtype::Complex64, crate::Rounding::Exact);
    for &(along, size) in &plan {
        result = transformed(&result, along, &|line| dft(line, size, size, 1.0))?;
    }
    let numbers = result.numbers().iter().map(|x| scaled(*x, factor));
    call.one(numbers.collect())
}

fn inverse_to_real(call: &Call<'_>, n: &[i32], axes: &[i32], norm: FftNorm) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let plan = plan(x, n, axes, true)?;
    let factor = factor(&plan, norm, false);
    let mut result = x.astype(mlx::Dtype::Complex64, crate::Rounding::Exact);
    for (step, &(along, size)) in plan.iter().enumerate() {
        let is_last = step + 1 == plan.len();
        result = transformed(&result, along, &|line| {
            if is_last {
                dft(&mirrored(line, size), size, size, 1.0)
            } else {
                dft(line, size, size, 1.0)
            }
        })?;
    }
    let numbers = result.numbers().iter();
    call.one(
        numbers
            .map(|x| Number::Float(scaled(*x, factor).to_f64()))
            .collect(),
    )
}

/// The frequencies of a transform's results; negative ones in the second half if it `wraps`.
#[allow(clippy::cast_precision_loss)]
fn frequencies(call: &Call<'_>, n: i32, d: f64, wraps: bool) -> Result<Vec<Tensor>> {
    let n = f64::from(n);
    let of = |k: usize| {
        let k = k as f64;
        let k = if wraps && k >= (n / 2.0).ceil() {
            k - n
        } else {
            k
        };
        Number::Float(k / (n * d))
    };
    call.one((0..count(&call.shape()?)?).map(of).collect())
}

/// The axes with the sizes of their transforms.
fn plan(x: &Tensor, n: &[i32], list: &[i32], is_half: bool) -> Result<Vec<(usize, usize)>> {
    let along = axes(list, x.ndim())?;
    let last = along.len().saturating_sub(1);
    let size = |(k, &axis): (usize, &usize)| {
        let own = x.shape()[axis];
        let own = if is_half && k == last {
            2 * own.saturating_sub(1)
        } else {
            own
        };
        (
            axis,
            n.get(k)
                .and_then(|&n| usize::try_from(n).ok())
                .unwrap_or(own),
        )
    };
    let plan: Vec<(usize, usize)> = along.iter().enumerate().map(size).collect();
    // What is between the steps is as large as the longest transforms make it.
    let mut largest = x.shape().to_vec();
    for &(axis, size) in &plan {
        largest[axis] = largest[axis].max(size);
    }
    count(&largest)?;
    Ok(plan)
}

#[allow(clippy::cast_precision_loss)]
fn factor(plan: &[(usize, usize)], norm: FftNorm, is_forward: bool) -> f64 {
    let n: f64 = plan.iter().map(|(_, size)| *size as f64).product();
    match (norm, is_forward) {
        (FftNorm::Ortho, _) => 1.0 / n.sqrt(),
        (FftNorm::Forward, true) | (FftNorm::Backward, false) => 1.0 / n,
        _ => 1.0,
    }
}

fn scaled(x: Number, by: f64) -> Number {
    let (re, im) = x.to_complex();
    Number::Complex(re * by, im * by)
}

fn transformed(
    x: &Tensor,
    along: usize,
    map: &dyn Fn(&[Complex]) -> Vec<Complex>,
) -> Result<Tensor> {
    let (shape, numbers) = map_lines(x, along, &|line| {
        let line: Vec<Complex> = line.iter().map(|x| x.to_complex()).collect();
        map(&line)
            .into_iter()
            .map(|(re, im)| Number::Complex(re, im))
            .collect()
    });
    Tensor::rounded(
        &shape,
        mlx::Dtype::Complex64,
        numbers,
        crate::Rounding::Exact,
    )
}

/// The first `kept` terms of the transform of `size` numbers: those given, cut or followed by zeros.
#[allow(clippy::cast_precision_loss)]
fn dft(line: &[Complex], size: usize, kept: usize, sign: f64) -> Vec<Complex> {
    let term = |k: usize| {
        line.iter()
            .take(size)
            .enumerate()
            .fold((0.0, 0.0), |sum: Complex, (j, &x)| {
                // The product is taken modulo the size, which keeps the angle small and exact.
                let angle = sign * 2.0 * PI * (j * k % size) as f64 / size as f64;
                let (re, im) = multiply(x, (angle.cos(), angle.sin()));
                (sum.0 + re, sum.1 + im)
            })
    };
    (0..kept).map(term).collect()
}

/// The whole line of which the first half is given: the rest is its mirrored conjugate.
fn mirrored(half: &[Complex], size: usize) -> Vec<Complex> {
    let get = |k: usize| half.get(k).copied().unwrap_or((0.0, 0.0));
    let of = |k: usize| {
        if k == 0 || 2 * k == size {
            // The sum of the two halves is real.
            (get(k).0, 0.0)
        } else if k <= size / 2 {
            get(k)
        } else {
            let (re, im) = get(size - k);
            (re, -im)
        }
    };
    (0..size).map(of).collect()
}

fn shift(call: &Call<'_>, list: &[i32], back: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let mut result = x.clone();
    for &one in list {
        let along = axis(one, x.ndim())?;
        let n = x.shape()[along];
        let by = if back { n / 2 } else { n.div_ceil(2) };
        let rows: Vec<usize> = (0..n).map(|k| (k + by) % n).collect();
        result = crate::shape::select(&result, along, &rows)?;
    }
    call.tensor(&result)
}
