//! Arg reductions, sorting and cumulative results along one axis.

use mlx::{Op, SearchSide};
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::{Number, inexact};
use crate::special::logaddexp;
use crate::tensor::{Tensor, axis, lines};

/// Returns the result of an operation of this family; nothing for others.
///
/// A partition is given fully sorted, which is one of the orders it may have; `topk` ascending.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Argmax { axis, .. } => best(call, *axis, |a, b| a.is_less(b)),
        Op::Argmin { axis, .. } => best(call, *axis, |a, b| b.is_less(a)),
        Op::Sort { axis } | Op::Partition { axis, .. } => along(call, *axis, |line| {
            sorted(line).into_iter().map(|(_, x)| x).collect()
        }),
        Op::Argsort { axis } | Op::Argpartition { axis, .. } => along(call, *axis, |line| {
            sorted(line).into_iter().map(|(k, _)| index(k)).collect()
        }),
        Op::Topk { k, axis } => {
            let k = usize::try_from(*k).unwrap_or(0);
            along(call, *axis, |line| {
                let skipped = line.len().saturating_sub(k);
                sorted(line)
                    .into_iter()
                    .skip(skipped)
                    .map(|(_, x)| x)
                    .collect()
            })
        }
        Op::Cummax { .. }
        | Op::Cummin { .. }
        | Op::Cumprod { .. }
        | Op::Cumsum { .. }
        | Op::Logcumsumexp { .. } => cumulative(op, call),
        Op::Diff { n, axis } => {
            let n = usize::try_from(*n).unwrap_or(0);
            along(call, *axis, |line| {
                (0..n.min(line.len())).fold(line.to_vec(), |line, _| {
                    line.windows(2)
                        .map(|pair| pair[1].subtract(pair[0]))
                        .collect()
                })
            })
        }
        Op::Searchsorted { side } => searchsorted(call, *side),
        _ => return None,
    })
}

/// A running result along an axis: the value before the first element, and how the next ones are taken in.
fn cumulative(op: &Op, call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (start, combine): (f64, fn(Number, Number) -> Number) = match op {
        Op::Cummax { .. } => (f64::NEG_INFINITY, Number::maximum),
        Op::Cummin { .. } => (f64::INFINITY, Number::minimum),
        Op::Cumprod { .. } => (1.0, Number::multiply),
        Op::Cumsum { .. } => (0.0, Number::add),
        _ => (f64::NEG_INFINITY, |a, b| {
            Number::Float(logaddexp(a.to_f64(), b.to_f64()))
        }),
    };
    match op {
        Op::Cummax {
            axis,
            reverse,
            inclusive,
        }
        | Op::Cummin {
            axis,
            reverse,
            inclusive,
        }
        | Op::Cumprod {
            axis,
            reverse,
            inclusive,
        }
        | Op::Cumsum {
            axis,
            reverse,
            inclusive,
        }
        | Op::Logcumsumexp {
            axis,
            reverse,
            inclusive,
        } => running(call, *axis, *reverse, *inclusive, start, combine),
        _ => Err(call.refuse()),
    }
}

fn index(k: usize) -> Number {
    Number::Unsigned(u64::try_from(k).unwrap_or(u64::MAX))
}

fn sorted(line: &[Number]) -> Vec<(usize, Number)> {
    let mut pairs: Vec<(usize, Number)> = line.iter().copied().enumerate().collect();
    pairs.sort_by(|a, b| a.1.order(b.1));
    pairs
}

fn best(call: &Call<'_>, along: i32, is_worse: fn(Number, Number) -> bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let lines = match axis(along, x.ndim()) {
        Ok(along) => lines(x.shape(), along),
        Err(error) if x.ndim() > 0 => return Err(error),
        Err(_) => vec![vec![0]],
    };
    let of = |flat_indices: Vec<usize>| {
        let mut best = 0;
        for (k, flat_index) in flat_indices.iter().enumerate() {
            let (champion, other) = (x.at(flat_indices[best]), x.at(*flat_index));
            // The first NaN is the result.
            if !champion.is_nan() && (other.is_nan() || is_worse(champion, other)) {
                best = k;
            }
        }
        index(best)
    };
    call.one(lines.into_iter().map(of).collect())
}

/// Replaces each line along an axis by another, whose length may differ.
pub(crate) fn along(
    call: &Call<'_>,
    along: i32,
    map: impl Fn(&[Number]) -> Vec<Number>,
) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    if x.ndim() == 0 {
        return call.one(map(x.numbers()));
    }
    let along = axis(along, x.ndim())?;
    let (shape, numbers) = map_lines(x, along, &map);
    let dtype = call.dtype()?;
    let result = Tensor::rounded(&shape, dtype, numbers, call.rounding)?;
    Ok(vec![result])
}

/// Returns shape and elements after each line along an axis became another.
pub(crate) fn map_lines(
    x: &Tensor,
    along: usize,
    map: &dyn Fn(&[Number]) -> Vec<Number>,
) -> (Vec<usize>, Vec<Number>) {
    let mapped: Vec<Vec<Number>> = lines(x.shape(), along)
        .into_iter()
        .map(|flat_indices| map(&flat_indices.iter().map(|&k| x.at(k)).collect::<Vec<_>>()))
        .collect();
    let mut shape = x.shape().to_vec();
    // Without lines, one of zeros gives the length.
    let length = mapped.first().map_or_else(
        || map(&vec![Number::zero(x.dtype()); shape[along]]).len(),
        Vec::len,
    );
    shape[along] = length;
    let inner: usize = shape.iter().skip(along + 1).product();
    let outer: usize = shape.iter().take(along).product();
    let mut numbers = Vec::new();
    for o in 0..outer {
        for k in 0..length {
            for i in 0..inner {
                numbers.push(
                    mapped
                        .get(o * inner + i)
                        .and_then(|line| line.get(k))
                        .copied()
                        .unwrap_or(Number::Int(0)),
                );
            }
        }
    }
    (shape, numbers)
}

/// Scans each line; exclusive ones begin with the neutral element.
fn running(
    call: &Call<'_>,
    axis: i32,
    reverse: bool,
    inclusive: bool,
    neutral: f64,
    combine: fn(Number, Number) -> Number,
) -> Result<Vec<Tensor>> {
    let dtype = call.dtype()?;
    let wide = call.input(0)?.astype(dtype, call.rounding);
    let first = if dtype.is_inexact() || neutral.is_finite() {
        Number::Float(neutral).cast(dtype, call.rounding)
    } else {
        extreme(dtype, neutral)
    };
    let is_log = inexact(dtype) == dtype && call.name == "logcumsumexp";
    let inputs = [&wide];
    let call = Call {
        inputs: &inputs,
        ..*call
    };
    along(&call, axis, |line| {
        let mut line = line.to_vec();
        if reverse {
            line.reverse();
        }
        let mut results = Vec::with_capacity(line.len());
        let mut state = None;
        for x in line {
            if !inclusive {
                results.push(state.unwrap_or(first));
            }
            let next = state.map_or(x, |state| combine(state, x));
            // Integers wrap at their own width, in case a greater one is compared later.
            state = Some(if is_log {
                next
            } else {
                next.cast(dtype, crate::Rounding::Exact)
            });
            if inclusive {
                results.extend(state);
            }
        }
        if reverse {
            results.reverse();
        }
        results
    })
}

/// The minimum or maximum number of an integer dtype.
fn extreme(dtype: mlx::Dtype, direction: f64) -> Number {
    let bits = u32::try_from(dtype.size() * 8).unwrap_or(64);
    match (dtype.kind(), direction > 0.0) {
        (mlx::DtypeKind::Bool, max) => Number::Bool(max),
        (mlx::DtypeKind::Unsigned, false) => Number::Unsigned(0),
        (mlx::DtypeKind::Unsigned, true) => Number::Unsigned(u64::MAX >> (64 - bits)),
        (_, true) => Number::Int(i64::MAX >> (64 - bits)),
        (_, false) => Number::Int(i64::MIN >> (64 - bits)),
    }
}

fn searchsorted(call: &Call<'_>, side: SearchSide) -> Result<Vec<Tensor>> {
    let (sorted, values) = (call.input(0)?, call.input(1)?);
    let dtype = crate::number::promote(sorted.dtype(), values.dtype());
    let cast = |x: &Number| x.cast(dtype, call.rounding);
    let edges: Vec<Number> = sorted.numbers().iter().map(cast).collect();
    let of = |x: &Number| {
        let x = cast(x);
        index(edges.partition_point(|edge| match side {
            SearchSide::Left => edge.order(x).is_lt(),
            SearchSide::Right => edge.order(x).is_le(),
        }))
    };
    call.one(values.numbers().iter().map(of).collect())
}
