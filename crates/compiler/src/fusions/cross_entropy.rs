//! Cross entropy of class indices: `logsumexp(logits) - logits[target]` becomes one kernel.
//!
//! Recognized: the difference; and the negative of the taken element of `logits - logsumexp(logits)`. Refused: logits
//! in half precision, whose sum the kernel computes in `float32`.

use mlx::{Dtype, Op, fast};

use super::look::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let (logits, indices, axis) = difference(look, value).or_else(|| negated(look, value))?;
    let last = i32::try_from(look.ndim(logits)).ok()? - 1;
    if axis != last && axis != -1 {
        let reason = "classes are not along the last axis";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    if look.dtype(logits) != Dtype::Float32 {
        let reason = format!(
            "logits are {}, the kernel sums in float32",
            look.dtype(logits)
        );
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    let Some(targets) = targets(look, indices) else {
        let reason = "more than one class is taken from each row";
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    };
    let shape = look.shape(value).to_vec();
    Some(Ok(Match::new(
        vec![logits, targets],
        value,
        move |inputs| {
            let rows = inputs[0]
                .array_type()
                .map(|t| t.shape[..t.shape.len() - 1].to_vec());
            match rows {
                Ok(rows) => {
                    fast::cross_entropy(&inputs[0], &inputs[1].reshape(rows)).reshape(shape.clone())
                }
                Err(error) => mlx::Array::failed(error),
            }
        },
    )))
}

/// `logsumexp(logits) - take_along_axis(logits, targets)`.
fn difference(look: &Look<'_>, value: Value) -> Option<(Value, Value, i32)> {
    let [sum, taken] = look.binary(value, &Op::Subtract)?;
    let logits = logsumexp_of(look, sum)?;
    let (from, indices, axis) = taken_of(look, taken)?;
    (from == logits).then_some((logits, indices, axis))
}

/// `-take_along_axis(logits - logsumexp(logits), targets)`.
fn negated(look: &Look<'_>, value: Value) -> Option<(Value, Value, i32)> {
    let negative = look.unary(value, &Op::Negative)?;
    let (log_softmax, indices, axis) = taken_of(look, negative)?;
    let [logits, sum] = look.binary(log_softmax, &Op::Subtract)?;
    (logsumexp_of(look, sum)? == logits).then_some((logits, indices, axis))
}

/// `logits` when a value is their `logsumexp` over the last axis.
fn logsumexp_of(look: &Look<'_>, value: Value) -> Option<Value> {
    let value = look.keeps_axis(value);
    if let (Op::Logsumexp { axes, .. }, node) = look.node(value)? {
        let logits = node.inputs[0];
        let last = i32::try_from(look.ndim(logits)).ok()? - 1;
        return (axes == &[last] || axes == &[-1]).then_some(logits);
    }
    None
}

fn taken_of(look: &Look<'_>, value: Value) -> Option<(Value, Value, i32)> {
    let value = look.keeps_axis(value);
    let (Op::TakeAlongAxis { axis }, node) = look.node(value)? else {
        return None;
    };
    Some((node.inputs[0], node.inputs[1], *axis))
}

/// The targets, one for each row.
fn targets(look: &Look<'_>, indices: Value) -> Option<Value> {
    (look.shape(indices).last() == Some(&1) && look.dtype(indices).is_integer()).then_some(indices)
}
