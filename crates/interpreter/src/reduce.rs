//! Reductions over axes, and softmax.

use mlx::{Dtype, Op};
use mlx_compiler::Result;

use crate::call::Call;
use crate::complex;
use crate::number::{Number, inexact};
use crate::tensor::{Tensor, axes, groups};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    type Reduce<'a> = &'a dyn Fn(&[Number]) -> Number;
    let (list, reduce): (&Vec<i32>, Reduce<'_>) = match op {
        Op::All { axes, .. } => (axes, &|x| Number::Bool(x.iter().all(|x| x.is_true()))),
        Op::Any { axes, .. } => (axes, &|x| Number::Bool(x.iter().any(|x| x.is_true()))),
        Op::CountNonzero { axes, .. } => (axes, &|x| {
            Number::Int(i64::try_from(x.iter().filter(|x| x.is_true()).count()).unwrap_or(i64::MAX))
        }),
        Op::Max { axes, .. } => (axes, &|x| {
            x.iter()
                .copied()
                .reduce(Number::maximum)
                .unwrap_or(Number::Int(0))
        }),
        Op::Min { axes, .. } => (axes, &|x| {
            x.iter()
                .copied()
                .reduce(Number::minimum)
                .unwrap_or(Number::Int(0))
        }),
        Op::Logsumexp { axes, .. } => (axes, &logsumexp),
        Op::Mean { axes, .. } => (axes, &mean),
        Op::Median { axes, .. } => (axes, &median),
        Op::Sum { axes, .. } => (axes, &sum),
        Op::Prod { axes, .. } => (axes, &product),
        Op::Var { axes, ddof, .. } => (axes, &|x| Number::Float(variance(x, *ddof))),
        Op::Std { axes, ddof, .. } => (axes, &|x| Number::Float(variance(x, *ddof).sqrt())),
        Op::Softmax { axes, .. } => return Some(softmax(call, axes)),
        Op::NumberOfElements { axes, inverted, .. } => {
            return Some(number_of_elements(call, axes, *inverted));
        }
        _ => return None,
    };
    Some(call.input(0).and_then(|x| {
        let along = axes(list, x.ndim())?;
        // Sums of small integers are made in the dtype of the result.
        let wide = match op {
            Op::Sum { .. } | Op::Prod { .. } => x.astype(call.dtype()?, call.rounding),
            Op::Mean { .. } | Op::Var { .. } | Op::Std { .. } | Op::Median { .. }
                if !x.dtype().is_inexact() =>
            {
                x.astype(Dtype::Float64, call.rounding)
            }
            Op::Logsumexp { .. }
            | Op::Mean { .. }
            | Op::Var { .. }
            | Op::Std { .. }
            | Op::Median { .. } => x.astype(inexact(x.dtype()), call.rounding),
            _ => x.clone(),
        };
        let groups = groups(x.shape(), &along);
        let gather = |flat_indices: Vec<usize>| -> Vec<Number> {
            flat_indices.iter().map(|&k| wide.at(k)).collect()
        };
        call.one(
            groups
                .into_iter()
                .map(|flat_indices| reduce(&gather(flat_indices)))
                .collect(),
        )
    }))
}

/// Returns the sum of numbers of one kind; 0 without any.
pub(crate) fn sum(x: &[Number]) -> Number {
    x.iter()
        .copied()
        .reduce(Number::add)
        .unwrap_or(Number::Int(0))
}

fn product(x: &[Number]) -> Number {
    x.iter()
        .copied()
        .reduce(Number::multiply)
        .unwrap_or(Number::Int(1))
}

#[allow(clippy::cast_precision_loss)]
fn mean(x: &[Number]) -> Number {
    let n = x.len() as f64;
    match sum(x) {
        Number::Complex(re, im) => Number::Complex(re / n, im / n),
        total => Number::Float(total.to_f64() / n),
    }
}

#[allow(clippy::cast_precision_loss)]
fn variance(x: &[Number], ddof: i32) -> f64 {
    let (re, im) = mean(x).to_complex();
    let distance = |x: &Number| {
        let (a, b) = x.to_complex();
        (a - re).powi(2) + (b - im).powi(2)
    };
    let squares: f64 = x.iter().map(distance).sum();
    // MLX takes no number of degrees of freedom below 0.
    squares / (x.len() as f64 - f64::from(ddof)).max(0.0)
}

fn median(x: &[Number]) -> Number {
    let mut sorted = x.to_vec();
    sorted.sort_by(|a, b| a.order(*b));
    if sorted.last().is_some_and(|last| last.is_nan()) {
        return Number::Float(f64::NAN);
    }
    let middle = |k: usize| sorted.get(k).copied().unwrap_or(Number::Float(f64::NAN));
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 || half == 0 {
        return middle(half);
    }
    mean(&[middle(half - 1), middle(half)])
}

/// Returns the logarithm of the sum of exponentials, computed below the maximum.
pub(crate) fn logsumexp(x: &[Number]) -> Number {
    if let Some(Number::Complex(..)) = x.first() {
        let total = x.iter().map(|x| complex::exp(x.to_complex()));
        let (re, im) = complex::ln(total.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1)));
        return Number::Complex(re, im);
    }
    let (most, rest) = max_and_rest(x);
    Number::Float(most + rest)
}

/// The maximum of real numbers, and the logarithm of the sum of exponentials below it: `logsumexp` is their sum.
pub(crate) fn max_and_rest(x: &[Number]) -> (f64, f64) {
    let most = x
        .iter()
        .copied()
        .reduce(Number::maximum)
        .map_or(f64::NEG_INFINITY, Number::to_f64);
    if most.is_infinite() || most.is_nan() {
        return (most, 0.0);
    }
    let total: f64 = x.iter().map(|x| (x.to_f64() - most).exp()).sum();
    (most, total.ln())
}

fn softmax(call: &Call<'_>, list: &[i32]) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let along = axes(list, x.ndim())?;
    let x = x.astype(inexact(x.dtype()), call.rounding);
    let mut numbers = x.numbers().to_vec();
    let is_complex = crate::tensor::is_complex(&x);
    for flat_indices in groups(x.shape(), &along) {
        if is_complex {
            let powers: Vec<complex::Complex> = flat_indices
                .iter()
                .map(|&k| complex::exp(x.at(k).to_complex()))
                .collect();
            let total = powers
                .iter()
                .fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            for (flat_index, power) in flat_indices.into_iter().zip(powers) {
                let (re, im) = complex::divide(power, total);
                if let Some(slot) = numbers.get_mut(flat_index) {
                    *slot = Number::Complex(re, im);
                }
            }
            continue;
        }
        let values: Vec<f64> = flat_indices.iter().map(|&k| x.at(k).to_f64()).collect();
        for (flat_index, value) in flat_indices.into_iter().zip(softmax_of(&values)) {
            if let Some(slot) = numbers.get_mut(flat_index) {
                *slot = Number::Float(value);
            }
        }
    }
    call.one(numbers)
}

/// Returns `exp(x - max(x)) / sum(exp(x - max(x)))`.
pub(crate) fn softmax_of(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, |a, b| {
        if a.is_nan() || b.is_nan() {
            f64::NAN
        } else {
            a.max(b)
        }
    });
    let powers: Vec<f64> = x.iter().map(|x| (x - most).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

fn number_of_elements(call: &Call<'_>, list: &[i32], inverted: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let along = axes(list, x.ndim())?;
    #[allow(clippy::cast_precision_loss)]
    let n: f64 = along.iter().map(|&axis| x.shape()[axis] as f64).product();
    let n = if inverted { 1.0 / n } else { n };
    let as_number = if call.dtype()? == Dtype::Bool {
        Number::Bool(n != 0.0)
    } else {
        Number::Float(n)
    };
    call.one(vec![as_number])
}
