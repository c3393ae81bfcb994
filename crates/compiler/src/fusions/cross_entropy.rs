//! Cross entropy of class indices: `logsumexp(logits) - logits[target]` becomes one kernel.
//!
//! Recognized: the difference; the taken element of `logits - logsumexp(logits)`, which is the negative of the loss,
//! by `take_along_axis` or by an index for each axis; the sum by the operation or written out below the maximum. Negative
//! indices count from the end in the formula and are out of range for the kernel, so they are made positive. Refused:
//! logits in half precision, whose sum the kernel computes in `float32`; sums of exponentials without the maximum, and
//! the logarithm of a softmax, which overflow or vanish where the kernel does not; targets that are weights of classes.

use mlx::{Array, Dtype, Kind, Op, fast, where_};

use super::matcher::Look;
use super::matcher::softmax::softmax_of;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let found = difference(look, value)
        .or_else(|| negated(look, value))
        .or_else(|| likelihood(look, value))
        .or_else(|| weighted(look, value))?;
    let loss = match found {
        Ok(loss) => loss,
        Err(refusal) => return Some(Err(refusal)),
    };
    if look.open_sizes {
        let reason = "targets would be given the shape of the rows, which would be frozen";
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    if !look.is_last_axis(loss.logits, &[loss.taken.axis]) {
        let reason = "classes are not along the last axis";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    let dtype = look.dtype(loss.logits);
    if dtype != Dtype::Float32 {
        let reason = format!("logits are {dtype}, the kernel sums in float32");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    let (shape, targets) = (look.shape(loss.logits), look.shape(loss.taken.targets));
    let (n_classes, rows) = shape.split_last()?;
    let one_each = match loss.taken.has_axis {
        true => targets.split_last() == Some((&1, rows)),
        false => targets == rows,
    };
    if !one_each {
        let reason = format!("indices {targets:?} are not one class for each row of {shape:?}");
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    if !look.dtype(loss.taken.targets).is_integer() {
        return None;
    }
    let (n_classes, rows, shape) = (*n_classes, rows.to_vec(), look.shape(value).to_vec());
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
    taken: Taken,
    /// Whether it is the log-likelihood, the negative of the loss.
    negative: bool,
}

/// `logsumexp(logits) - take_along_axis(logits, targets)`, or the other way round.
fn difference(look: &Look<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let [above, below] = look.binary(value, &Op::Subtract)?;
    let orders = [(above, below, false), (below, above, true)];
    orders.into_iter().find_map(|(sum, taken, negative)| {
        let taken = taken_of(look, taken)?;
        let sum = log_sum_exp(look, sum)?;
        let fits = sum.logits == taken.of && is_axis(look, taken.of, &sum.axes, taken.axis);
        fits.then(|| {
            sum.below_maximum(look).map(|logits| Loss {
                logits,
                taken,
                negative,
            })
        })
    })
}

/// `-take_along_axis(log_softmax(logits), targets)`.
fn negated(look: &Look<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let product = look.product(value);
    let ([taken], []) = (product.factors.as_slice(), product.divisors.as_slice()) else {
        return None;
    };
    if product.number != -1.0 {
        return None;
    }
    of_log_softmax(look, taken_of(look, *taken)?, false)
}

/// `take_along_axis(log_softmax(logits), targets)`, of which the loss is made by what follows: a mean, a mask.
fn likelihood(look: &Look<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    if look.keeps_axis(value) != value || is_negated(look, value) {
        return None;
    }
    of_log_softmax(look, taken_of(look, value)?, true)
}

/// Whether the negative is all that a value is used for.
fn is_negated(look: &Look<'_>, value: Value) -> bool {
    let Some(user) = look.only_user(value) else {
        return false;
    };
    match user.operation.op() {
        Some(Op::Reshape { .. }) => {
            look.keeps_axis(user.outputs[0]) == value && is_negated(look, user.outputs[0])
        }
        Some(Op::Negative | Op::Multiply | Op::Divide) => {
            let product = look.product(user.outputs[0]);
            product.number == -1.0 && product.factors == [value] && product.divisors.is_empty()
        }
        _ => false,
    }
}

fn of_log_softmax(look: &Look<'_>, taken: Taken, negative: bool) -> Option<Result<Loss, Refusal>> {
    if let Some(softmax) = look.unary(taken.of, &Op::Log)
        && softmax_of(look, softmax).is_some()
    {
        let reason = "the logarithm is of a softmax, which may have become 0";
        return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
    }
    let log_softmax = log_softmax_of(look, taken.of)?;
    if !is_axis(look, taken.of, &log_softmax.axes, taken.axis) {
        return None;
    }
    Some(log_softmax.logits.map(|logits| Loss {
        logits,
        taken,
        negative,
    }))
}

/// `sum(weights * log_softmax(logits))`: targets that are not one class each.
fn weighted(look: &Look<'_>, value: Value) -> Option<Result<Loss, Refusal>> {
    let of_log_softmax = weighted_sum(look, value).is_some_and(|factors| {
        let is_one = |factor: &Value| log_softmax_of(look, *factor).is_some();
        factors.iter().any(is_one)
    });
    let of_logits = || {
        let [above, below] = look.binary(value, &Op::Subtract)?;
        [(above, below), (below, above)]
            .into_iter()
            .find_map(|(sum, weighted)| {
                let logits = log_sum_exp(look, sum)?.logits;
                let factors = weighted_sum(look, look.keeps_axis(weighted))?;
                factors.contains(&logits).then_some(())
            })
    };
    (of_log_softmax || of_logits().is_some()).then(|| {
        let reason = "targets are weights of all classes, the kernel takes one class for each row";
        Err(Refusal::new(RefusalKind::Formula, reason))
    })
}

/// The two factors of a product that is summed over classes, and perhaps over rows.
fn weighted_sum(look: &Look<'_>, value: Value) -> Option<Vec<Value>> {
    let (Op::Sum { axes, .. } | Op::Mean { axes, .. }, node) = look.node(value)? else {
        return None;
    };
    let last = i32::try_from(look.ndim(node.inputs[0])).ok()? - 1;
    let product = look.product(node.inputs[0]);
    let over_classes = axes.contains(&last) || axes.contains(&-1);
    (over_classes && product.factors.len() == 2).then_some(product.factors)
}

/// Logits, or why they are none, and the axes of their softmax.
struct LogSoftmax {
    logits: Result<Value, Refusal>,
    axes: Vec<i32>,
}

/// Sees a value as `logits - logsumexp(logits)`.
fn log_softmax_of(look: &Look<'_>, value: Value) -> Option<LogSoftmax> {
    let [values, subtracted] = look.binary(value, &Op::Subtract)?;
    let sum = log_sum_exp(look, subtracted)?;
    if sum.logits != values || !look.is_kept(subtracted, values, &sum.axes) {
        return None;
    }
    Some(LogSoftmax {
        logits: sum.below_maximum(look),
        axes: sum.axes,
    })
}

/// The logarithm of a sum of exponentials.
struct LogSumExp {
    logits: Value,
    axes: Vec<i32>,
    /// Whether the maximum is taken care of.
    below_max: bool,
}

impl LogSumExp {
    /// The logits; when they are values below their maximum, of which the plain sum is as good, those before.
    fn below_maximum(&self, look: &Look<'_>) -> Result<Value, Refusal> {
        let shifted = look.less_max(self.logits).ok().flatten();
        match shifted.filter(|shifted| shifted.axes == self.axes) {
            Some(shifted) if !self.below_max => Ok(shifted.x),
            _ => self.check().map(|()| self.logits),
        }
    }

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

/// One element of each row.
struct Taken {
    of: Value,
    targets: Value,
    axis: i32,
    /// Whether targets have an axis of one element where classes are.
    has_axis: bool,
}

/// `take_along_axis(x, targets)`, or `x[rows, targets]`.
fn taken_of(look: &Look<'_>, value: Value) -> Option<Taken> {
    let value = look.keeps_axis(value);
    let (op, node) = look.node(value)?;
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
            let last = i32::try_from(look.ndim(*of)).ok()? - 1;
            let in_order = axes.iter().copied().eq(0..=last);
            let all_rows = (0..)
                .zip(rows)
                .all(|(axis, index)| counts(look, *index, axis, look.shape(*of)));
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
fn counts(look: &Look<'_>, index: Value, axis: usize, shape: &[i32]) -> bool {
    if let Some((Op::BroadcastTo { .. }, node)) = look.node(index) {
        return counts(look, node.inputs[0], axis, shape);
    }
    let n_rows = shape.len() - 1;
    // Counted from the end, as shapes are broadcast.
    let own = look.shape(index);
    let along = own.len().checked_sub(n_rows - axis);
    let fits = own
        .iter()
        .enumerate()
        .all(|(place, n)| *n == if Some(place) == along { shape[axis] } else { 1 });
    let counted = |values: Vec<f64>| (0_i32..).zip(values).all(|(i, v)| v == f64::from(i));
    fits && along.is_some() && look.known_values(index, 1 << 24).is_some_and(counted)
}
