//! Matching a softmax: the operation, or `exp(x - max(x)) / sum(exp(x - max(x)))` written out.

use mlx::Op;

use super::Matcher;
use crate::fusions::refusal::{Refusal, RefusalKind};
use crate::graph::Value;

/// A softmax, by the operation or written out.
pub(crate) struct Softmax {
    pub(crate) x: Value,
    pub(crate) axes: Vec<i32>,
}

/// Matches a softmax, by the operation or written out.
pub(crate) fn softmax_of(matcher: &Matcher<'_>, value: Value) -> Option<Softmax> {
    if let Some((Op::Softmax { axes, .. }, node)) = matcher.node(value) {
        let x = node.inputs[0];
        return Some(Softmax {
            x,
            axes: axes.clone(),
        });
    }
    written_out(matcher, value)?.ok()
}

/// `exp(x - max(x)) / sum(exp(x - max(x)))`.
pub(crate) fn written_out(matcher: &Matcher<'_>, value: Value) -> Option<Result<Softmax, Refusal>> {
    let quotients = matcher.quotients(value).into_iter();
    quotients
        .filter(|(exp, _)| matcher.dtype(*exp).is_floating())
        .find_map(|(exp, sum)| quotient(matcher, exp, sum))
}

fn quotient(
    matcher: &Matcher<'_>,
    exp: Value,
    denominator: Value,
) -> Option<Result<Softmax, Refusal>> {
    let shifted = matcher.unary(exp, &Op::Exp)?;
    let (Op::Sum { axes, .. }, node) = matcher.node(matcher.strip_keepdims(denominator))? else {
        return None;
    };
    if node.inputs[0] != exp || !matcher.is_keepdims_aligned(denominator, exp, axes) {
        return None;
    }
    let shifted = match matcher.shifted_by_max(shifted) {
        Ok(shifted) => shifted?,
        Err(refusal) => return Some(Err(refusal)),
    };
    if shifted.axes != *axes {
        let reason = format!(
            "the maximum is over axes {:?}, the sum over {axes:?}",
            shifted.axes
        );
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    // Of whole numbers, differences may wrap around.
    matcher
        .dtype(shifted.x)
        .is_floating()
        .then_some(Ok(shifted))
}

impl Matcher<'_> {
    /// Matches a value as `x - max(x)`: a refusal when the maximum is missing, `None` when it is broadcast elsewhere.
    pub(crate) fn shifted_by_max(&self, value: Value) -> Result<Option<Softmax>, Refusal> {
        let refuse = |reason: &str| Err(Refusal::new(RefusalKind::Formula, reason));
        let Some([x, subtracted]) = self.binary(value, &Op::Subtract) else {
            return refuse(
                "the maximum is not subtracted, so it overflows where the kernel does not",
            );
        };
        match self.max_of(subtracted) {
            None => refuse("something else than the maximum is subtracted"),
            Some((of, _)) if of != x => refuse("the maximum is of something else"),
            Some((_, axes)) if self.is_keepdims_aligned(subtracted, x, &axes) => {
                Ok(Some(Softmax { x, axes }))
            }
            Some(_) => Ok(None),
        }
    }

    /// What a value is the maximum of, and over which axes.
    pub(crate) fn max_of(&self, value: Value) -> Option<(Value, Vec<i32>)> {
        let mut max = self.strip_keepdims(value);
        if let Some((Op::StopGradient, node)) = self.node(max) {
            max = self.strip_keepdims(node.inputs[0]);
        }
        match self.node(max)? {
            (Op::Max { axes, .. }, node) => Some((node.inputs[0], axes.clone())),
            _ => None,
        }
    }
}
