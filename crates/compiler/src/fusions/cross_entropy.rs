//! Cross entropy of class indices: `logsumexp(logits) - logits[target]` becomes one kernel.
//!
//! Recognized: the difference; the negative of the taken element of `logits - logsumexp(logits)`; the sum by the
//! operation or written out below the maximum. Negative indices count from the end in the formula and are out of range
//! for the kernel, so they are made positive. Refused: logits in half precision, whose sum the kernel computes in
//! `float32`; sums of exponentials without the maximum, and the logarithm of a softmax, which overflow or vanish where
//! the kernel does not.

use mlx::{Array, Dtype, Kind, Op, fast, where_};

use super::look::Look;
use super::softmax::softmax_of;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    if look.open_sizes {
        // Targets get the shape of the rows.
        return None;
    }
    let loss = match difference(look, value).or_else(|| negated(look, value))? {
        Ok(loss) => loss,
        Err(refusal) => return Some(Err(refusal)),
    };
    if !look.is_last_axis(loss.logits, &[loss.axis]) {
        let reason = "classes are not along the last axis";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    let dtype = look.dtype(loss.logits);
    if dtype != Dtype::Float32 {
        let reason = format!("logits are {dtype}, the kernel sums in float32");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    let (shape, targets) = (look.shape(loss.logits), look.shape(loss.targets));
    let (n_classes, rows) = shape.split_last()?;
    if targets.split_last() != Some((&1, rows)) {
        let reason = format!("indices {targets:?} are not one class for each row of {shape:?}");
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    if !look.dtype(loss.targets).is_integer() {
        return None;
    }
    let (n_classes, rows, shape) = (*n_classes, rows.to_vec(), look.shape(value).to_vec());
    let inputs = vec![loss.logits, loss.targets];
    Some(Ok(Match::new(inputs, value, move |inputs| {
        let targets = from_the_front(&inputs[1].reshape(rows.clone()), n_classes);
        fast::cross_entropy(&inputs[0], &targets).reshape(shape.clone())
    })))
}

/// Indices that count from the front.
fn from_the_front(targets: &Array, n_classes: i32) -> Array {
    match targets.dtype() {
        Ok(dtype) if dtype.kind() == Kind::Signed => {
            // As wide as they are: a target of 2^32 must stay out of range.
            let wide = match dtype {
                Dtype::Int64 => targets.clone(),
                _ => targets.astype(Dtype::Int32),
            };
            where_(&wide.less(0), &wide + n_classes, &wide)
        }
        _ => targets.clone(),
    }
}

/// What the formula is of.
struct Loss {
    logits: Value,
    targets: Value,
    axis: i32,
}

/// `logsumexp(logits) - take_along_axis(logits, targets)`.
fn difference(look: &Look<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let [sum, taken] = look.binary(value, &Op::Subtract)?;
    let (logits, targets, axis) = taken_of(look, taken)?;
    let sum = log_sum_exp(look, sum)?;
    (sum.logits == logits && is_axis(look, logits, &sum.axes, axis)).then(|| {
        sum.check().map(|()| Loss {
            logits,
            targets,
            axis,
        })
    })
}

/// `-take_along_axis(log_softmax(logits), targets)`.
fn negated(look: &Look<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let product = look.product(value);
    let ([taken], []) = (product.factors.as_slice(), product.divisors.as_slice()) else {
        return None;
    };
    let (log_softmax, targets, axis) = taken_of(look, *taken)?;
    if product.number != -1.0 {
        return None;
    }
    if let Some(softmax) = look.unary(log_softmax, &Op::Log)
        && softmax_of(look, softmax).is_some()
    {
        let reason = "the logarithm is of a softmax, which may have become 0";
        return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
    }
    let [values, subtracted] = look.binary(log_softmax, &Op::Subtract)?;
    let sum = log_sum_exp(look, subtracted)?;
    if sum.logits != values
        || !is_axis(look, values, &sum.axes, axis)
        || !look.is_kept(subtracted, values, &sum.axes)
    {
        return None;
    }
    // Of values below their maximum, the plain sum is as good.
    let shifted = look.less_max(values).ok().flatten();
    let logits = match shifted.filter(|shifted| shifted.axes == sum.axes) {
        Some(shifted) if !sum.below_max => shifted.x,
        _ => match sum.check() {
            Ok(()) => values,
            Err(refusal) => return Some(Err(refusal)),
        },
    };
    Some(Ok(Loss {
        logits,
        targets,
        axis,
    }))
}

/// The logarithm of a sum of exponentials.
struct LogSumExp {
    logits: Value,
    axes: Vec<i32>,
    /// Whether the maximum is taken care of.
    below_max: bool,
}

impl LogSumExp {
    fn check(&self) -> Result<(), Refusal> {
        if self.below_max {
            return Ok(());
        }
        let reason = "the maximum is not subtracted, so it overflows where the kernel does not";
        Err(Refusal::new(RefusalKind::Formula, reason))
    }
}

/// Sees a value as `logsumexp(logits)`, as `max(logits) + log(sum(exp(logits - max(logits))))`, or without the maximum.
fn log_sum_exp(look: &Look<'_>, value: Value) -> Option<LogSumExp> {
    let value = look.keeps_axis(value);
    if let (Op::Logsumexp { axes, .. }, node) = look.node(value)? {
        return Some(LogSumExp {
            logits: node.inputs[0],
            axes: axes.clone(),
            below_max: true,
        });
    }
    if let Some((logits, axes)) = log_of_sum(look, value) {
        return Some(LogSumExp {
            logits,
            axes,
            below_max: false,
        });
    }
    look.orders(value, &Op::Add)
        .into_iter()
        .find_map(|[max, log]| {
            let (of, max_axes) = look.max_of(max)?;
            let (shifted, axes) = log_of_sum(look, log)?;
            let shifted = look.less_max(shifted).ok()??;
            let fits = shifted.x == of && shifted.axes == axes && max_axes == axes;
            let aligned = look.shape(max) == look.shape(log);
            (fits && aligned).then_some(LogSumExp {
                logits: of,
                axes,
                below_max: true,
            })
        })
}

/// `x` and the axes when a value is `log(sum(exp(x)))`.
fn log_of_sum(look: &Look<'_>, value: Value) -> Option<(Value, Vec<i32>)> {
    let sum = look.unary(look.keeps_axis(value), &Op::Log)?;
    let (Op::Sum { axes, .. }, node) = look.node(look.keeps_axis(sum))? else {
        return None;
    };
    Some((look.unary(node.inputs[0], &Op::Exp)?, axes.clone()))
}

/// Whether `axes` are this one axis.
fn is_axis(look: &Look<'_>, of: Value, axes: &[i32], axis: i32) -> bool {
    let ndim = i32::try_from(look.ndim(of)).unwrap_or(i32::MAX);
    let axis = if axis < 0 { axis + ndim } else { axis };
    axes == [axis] || axes == [axis - ndim]
}

fn taken_of(look: &Look<'_>, value: Value) -> Option<(Value, Value, i32)> {
    let value = look.keeps_axis(value);
    let (Op::TakeAlongAxis { axis }, node) = look.node(value)? else {
        return None;
    };
    Some((node.inputs[0], node.inputs[1], *axis))
}
