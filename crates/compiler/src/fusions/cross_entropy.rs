//! Cross entropy of class indices: `logsumexp(logits) - logits[target]` becomes one kernel.
//!
//! Recognized: the difference; the taken element of `logits - logsumexp(logits)`, which is the negative of the loss,
//! by `take_along_axis` or by an index for each axis; the sum by the operation, or written out with `max`. Negative
//! indices count from the end in the formula and are out of range for the kernel, so they are made positive. Refused:
//! logits in half precision, whose sum the kernel computes in `float32`; sums of exponentials without the maximum, and
//! the logarithm of a softmax, which overflow or vanish where the kernel does not; targets that are weights of classes.

use mlx::{Array, Dtype, DtypeKind, Op, axis_index, fast, where_};

use super::matcher::Matcher;
use super::matcher::softmax::softmax_of;
use super::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::Value;

/// Matches the formula.
pub(super) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let found = difference(matcher, value)
        .or_else(|| negated(matcher, value))
        .or_else(|| likelihood(matcher, value))
        .or_else(|| weighted(matcher, value))?;
    let loss = match found {
        Ok(loss) => loss,
        Err(refusal) => return Some(Err(refusal)),
    };
    if matcher.shapeless {
        let reason = "targets would be given the shape of the rows, which would be frozen";
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    if !matcher.is_last_axis(loss.logits, &[loss.taken.axis]) {
        let reason = "classes are not along the last axis";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    let dtype = matcher.dtype(loss.logits);
    if dtype != Dtype::Float32 {
        let reason = format!("logits are {dtype}, the kernel sums in float32");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    let (shape, targets) = (
        matcher.shape(loss.logits),
        matcher.shape(loss.taken.targets),
    );
    let (n_classes, rows) = shape.split_last()?;
    let one_each = match loss.taken.has_axis {
        true => targets.split_last() == Some((&1, rows)),
        false => targets == rows,
    };
    if !one_each {
        let reason = format!("indices {targets:?} are not one class for each row of {shape:?}");
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    if !matcher.dtype(loss.taken.targets).is_integer() {
        return None;
    }
    let (n_classes, rows, shape) = (*n_classes, rows.to_vec(), matcher.shape(value).to_vec());
    let (inputs, negative) = (vec![loss.logits, loss.taken.targets], loss.negative);
    Some(Ok(Match::new(inputs, value, move |inputs| {
        let targets = from_the_front(&inputs[1].reshape(rows.clone()), n_classes);
        let loss = fast::cross_entropy(&inputs[0], &targets).reshape(shape.clone());
        if negative { -loss } else { loss }
    })))
}

/// Indices that count from the front.
fn from_the_front(targets: &Array, n_classes: i32) -> Array {
    match targets.dtype() {
        Ok(dtype) if dtype.kind() == DtypeKind::Signed => {
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
    taken: Taken,
    /// Whether it is the log-likelihood, the negative of the loss.
    negative: bool,
}

/// `logsumexp(logits) - take_along_axis(logits, targets)`, or the other way round.
fn difference(matcher: &Matcher<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let [minuend, subtrahend] = matcher.binary(value, &Op::Subtract)?;
    let both_orders = [(minuend, subtrahend, false), (subtrahend, minuend, true)];
    both_orders.into_iter().find_map(|(sum, taken, negative)| {
        let taken = taken_of(matcher, taken)?;
        let sum = log_sum_exp(matcher, sum)?;
        let fits = sum.logits == taken.of && is_axis(matcher, taken.of, &sum.axes, taken.axis);
        fits.then(|| {
            sum.checked_logits(matcher).map(|logits| Loss {
                logits,
                taken,
                negative,
            })
        })
    })
}

/// `-take_along_axis(log_softmax(logits), targets)`.
fn negated(matcher: &Matcher<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let product = matcher.product(value);
    let ([taken], []) = (product.factors.as_slice(), product.divisors.as_slice()) else {
        return None;
    };
    if product.number != -1.0 {
        return None;
    }
    of_log_softmax(matcher, taken_of(matcher, *taken)?, false)
}

/// `take_along_axis(log_softmax(logits), targets)`, of which the loss is made by what follows: a mean, a mask.
fn likelihood(matcher: &Matcher<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    if matcher.strip_keepdims(value) != value || is_negated(matcher, value) {
        return None;
    }
    of_log_softmax(matcher, taken_of(matcher, value)?, true)
}

/// Whether the negative is all that a value is used for.
fn is_negated(matcher: &Matcher<'_>, value: Value) -> bool {
    let Some(user) = matcher.sole_consumer(value) else {
        return false;
    };
    match user.operation.op() {
        Some(Op::Reshape { .. }) => {
            matcher.strip_keepdims(user.outputs[0]) == value && is_negated(matcher, user.outputs[0])
        }
        Some(Op::Negative | Op::Multiply | Op::Divide) => {
            let product = matcher.product(user.outputs[0]);
            product.number == -1.0 && product.factors == [value] && product.divisors.is_empty()
        }
        _ => false,
    }
}

fn of_log_softmax(
    matcher: &Matcher<'_>,
    taken: Taken,
    negative: bool,
) -> Option<Result<Loss, Refusal>> {
    if let Some(softmax) = matcher.unary(taken.of, &Op::Log)
        && softmax_of(matcher, softmax).is_some()
    {
        let reason = "the logarithm is of a softmax, which may have become 0";
        return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
    }
    let log_softmax = log_softmax_of(matcher, taken.of)?;
    if !is_axis(matcher, taken.of, &log_softmax.axes, taken.axis) {
        return None;
    }
    Some(log_softmax.logits.map(|logits| Loss {
        logits,
        taken,
        negative,
    }))
}

/// `sum(weights * log_softmax(logits))`: targets that are not one class each.
fn weighted(matcher: &Matcher<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let of_log_softmax = weighted_sum(matcher, value).is_some_and(|factors| {
        let is_one = |factor: &Value| log_softmax_of(matcher, *factor).is_some();
        factors.iter().any(is_one)
    });
    let of_logits = || {
        let [minuend, subtrahend] = matcher.binary(value, &Op::Subtract)?;
        [(minuend, subtrahend), (subtrahend, minuend)]
            .into_iter()
            .find_map(|(sum, weighted)| {
                let logits = log_sum_exp(matcher, sum)?.logits;
                let factors = weighted_sum(matcher, matcher.strip_keepdims(weighted))?;
                factors.contains(&logits).then_some(())
            })
    };
    (of_log_softmax || of_logits().is_some()).then(|| {
        let reason = "targets are weights of all classes, the kernel takes one class for each row";
        Err(Refusal::new(RefusalKind::Formula, reason))
    })
}

/// The two factors of a product that is summed over classes, and perhaps over rows.
fn weighted_sum(matcher: &Matcher<'_>, value: Value) -> Option<Vec<Value>> {
    let (Op::Sum { axes, .. } | Op::Mean { axes, .. }, node) = matcher.node(value)? else {
        return None;
    };
    let last = i32::try_from(matcher.ndim(node.inputs[0])).ok()? - 1;
    let product = matcher.product(node.inputs[0]);
    let over_classes = axes.contains(&last) || axes.contains(&-1);
    (over_classes && product.factors.len() == 2).then_some(product.factors)
}

/// Logits, or why they are rejected, and the axes of their softmax.
struct LogSoftmax {
    logits: Result<Value, Refusal>,
    axes: Vec<i32>,
}

/// Sees a value as `logits - logsumexp(logits)`.
fn log_softmax_of(matcher: &Matcher<'_>, value: Value) -> Option<LogSoftmax> {
    let [values, subtracted] = matcher.binary(value, &Op::Subtract)?;
    let sum = log_sum_exp(matcher, subtracted)?;
    if sum.logits != values || !matcher.is_keepdims_aligned(subtracted, values, &sum.axes) {
        return None;
    }
    Some(LogSoftmax {
        logits: sum.checked_logits(matcher),
        axes: sum.axes,
    })
}

/// The logarithm of a sum of exponentials.
struct LogSumExp {
    logits: Value,
    axes: Vec<i32>,
    /// Whether the maximum is subtracted.
    subtracts_max: bool,
}

impl LogSumExp {
    /// The logits; when they are values below their maximum, of which the plain sum is as good, those before.
    fn checked_logits(&self, matcher: &Matcher<'_>) -> Result<Value, Refusal> {
        let shifted = matcher.shifted_by_max(self.logits).ok().flatten();
        match shifted.filter(|shifted| shifted.axes == self.axes) {
            Some(shifted) if !self.subtracts_max => Ok(shifted.x),
            _ => self.check().map(|()| self.logits),
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.subtracts_max {
            return Ok(());
        }
        let reason = "the maximum is not subtracted, so it overflows where the kernel does not";
        Err(Refusal::new(RefusalKind::Formula, reason))
    }
}

/// Sees a value as `logsumexp(logits)`, as `max(logits) + log(sum(exp(logits - max(logits))))`, or without the maximum.
fn log_sum_exp(matcher: &Matcher<'_>, value: Value) -> Option<LogSumExp> {
    let value = matcher.strip_keepdims(value);
    if let (Op::Logsumexp { axes, .. }, node) = matcher.node(value)? {
        return Some(LogSumExp {
            logits: node.inputs[0],
            axes: axes.clone(),
            subtracts_max: true,
        });
    }
    if let Some((logits, axes)) = log_of_sum(matcher, value) {
        return Some(LogSumExp {
            logits,
            axes,
            subtracts_max: false,
        });
    }
    matcher
        .both_orders(value, &Op::Add)
        .into_iter()
        .find_map(|[max, log]| {
            let (of, max_axes) = matcher.max_of(max)?;
            let (shifted, axes) = log_of_sum(matcher, log)?;
            let shifted = matcher.shifted_by_max(shifted).ok()??;
            let fits = shifted.x == of && shifted.axes == axes && max_axes == axes;
            let aligned = matcher.shape(max) == matcher.shape(log);
            (fits && aligned).then_some(LogSumExp {
                logits: of,
                axes,
                subtracts_max: true,
            })
        })
}

/// `x` and the axes when a value is `log(sum(exp(x)))`.
fn log_of_sum(matcher: &Matcher<'_>, value: Value) -> Option<(Value, Vec<i32>)> {
    let sum = matcher.unary(matcher.strip_keepdims(value), &Op::Log)?;
    let (Op::Sum { axes, .. }, node) = matcher.node(matcher.strip_keepdims(sum))? else {
        return None;
    };
    Some((matcher.unary(node.inputs[0], &Op::Exp)?, axes.clone()))
}

/// Whether `axes` are this one axis.
fn is_axis(matcher: &Matcher<'_>, of: Value, axes: &[i32], axis: i32) -> bool {
    let ndim = matcher.ndim(of);
    matches!(axes, [one] if axis_index(*one, ndim) == axis_index(axis, ndim))
}

/// One element of each row.
struct Taken {
    of: Value,
    targets: Value,
    axis: i32,
    /// Whether targets have an axis of one element where classes are.
    has_axis: bool,
}

/// `take_along_axis(x, targets)`, or `x[rows, targets]`.
fn taken_of(matcher: &Matcher<'_>, value: Value) -> Option<Taken> {
    let value = matcher.strip_keepdims(value);
    let (op, node) = matcher.node(value)?;
    match op {
        Op::TakeAlongAxis { axis } => Some(Taken {
            of: node.inputs[0],
            targets: node.inputs[1],
            axis: *axis,
            has_axis: true,
        }),
        Op::Gather { axes, slice_sizes } => {
            let [of, rows @ .., targets] = node.inputs.as_slice() else {
                return None;
            };
            let last = i32::try_from(matcher.ndim(*of)).ok()? - 1;
            let in_order = axes.iter().copied().eq(0..=last);
            let all_rows = (0..)
                .zip(rows)
                .all(|(axis, index)| counts(matcher, *index, axis, matcher.shape(*of)));
            (in_order && all_rows && slice_sizes.iter().all(|n| *n == 1)).then_some(Taken {
                of: *of,
                targets: *targets,
                axis: last,
                has_axis: false,
            })
        }
        _ => None,
    }
}

/// Whether indices count along one axis of the rows of `shape`, broadcast over the others.
fn counts(matcher: &Matcher<'_>, index: Value, axis: usize, shape: &[i32]) -> bool {
    if let Some((Op::BroadcastTo { .. }, node)) = matcher.node(index) {
        return counts(matcher, node.inputs[0], axis, shape);
    }
    let n_rows = shape.len() - 1;
    // Counted from the end, as shapes are broadcast.
    let own = matcher.shape(index);
    let along = own.len().checked_sub(n_rows - axis);
    let fits = own
        .iter()
        .enumerate()
        .all(|(place, n)| *n == if Some(place) == along { shape[axis] } else { 1 });
    let counted = |values: Vec<f64>| (0_i32..).zip(values).all(|(i, v)| v == f64::from(i));
    fits && along.is_some() && matcher.constant_values(index, 1 << 24).is_some_and(counted)
}
