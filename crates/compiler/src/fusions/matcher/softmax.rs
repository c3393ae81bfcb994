//! Softmax as matchers see it: the operation, or `exp(x - max(x)) / sum(exp(x - max(x)))` written out.

use mlx::Op;

use super::Look;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::Value;

/// A softmax, by the operation or written out.
pub(crate) struct Softmax {
    pub(crate) x: Value,
    pub(crate) axes: Vec<i32>,
}

/// Sees a softmax by the operation or written out.
pub(crate) fn softmax_of(look: &Look<'_>, value: Value) -> Option<Softmax> {
    if let Some((Op::Softmax { axes, .. }, node)) = look.node(value) {
        let x = node.inputs[0];
        return Some(Softmax {
            x,
            axes: axes.clone(),
        });
    }
    written(look, value)?.ok()
}

/// `exp(x - max(x)) / sum(exp(x - max(x)))`.
pub(crate) fn written(look: &Look<'_>, value: Value) -> Option<Result<Softmax, Refusal>> {
    let quotients = look.quotients(value).into_iter();
    quotients
        .filter(|(exp, _)| look.dtype(*exp).is_floating())
        .find_map(|(exp, sum)| quotient(look, exp, sum))
}

fn quotient(look: &Look<'_>, exp: Value, below: Value) -> Option<Result<Softmax, Refusal>> {
    let shifted = look.unary(exp, &Op::Exp)?;
    let (Op::Sum { axes, .. }, node) = look.node(look.keeps_axis(below))? else {
        return None;
    };
    if node.inputs[0] != exp || !look.is_kept(below, exp, axes) {
        return None;
    }
    let shifted = match look.less_max(shifted) {
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
    look.dtype(shifted.x).is_floating().then_some(Ok(shifted))
}

impl Look<'_> {
    /// Sees a value as `x - max(x)`, and says so when the maximum is missing; `None` when it stands elsewhere.
    pub(crate) fn less_max(&self, value: Value) -> Result<Option<Softmax>, Refusal> {
        let refuse = |reason: &str| Err(Refusal::new(RefusalKind::Formula, reason));
        let Some([x, subtracted]) = self.binary(value, &Op::Subtract) else {
            return refuse(
                "the maximum is not subtracted, so it overflows where the kernel does not",
            );
        };
        match self.max_of(subtracted) {
            None => refuse("something else than the maximum is subtracted"),
            Some((of, _)) if of != x => refuse("the maximum is of something else"),
            Some((_, axes)) if self.is_kept(subtracted, x, &axes) => Ok(Some(Softmax { x, axes })),
            Some(_) => Ok(None),
        }
    }

    /// What a value is the maximum of, and over which axes.
    pub(crate) fn max_of(&self, value: Value) -> Option<(Value, Vec<i32>)> {
        let mut max = self.keeps_axis(value);
        if let Some((Op::StopGradient, node)) = self.node(max) {
            max = self.keeps_axis(node.inputs[0]);
        }
        match self.node(max)? {
            (Op::Max { axes, .. }, node) => Some((node.inputs[0], axes.clone())),
            _ => None,
        }
    }
}
