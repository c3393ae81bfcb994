//! Softmax written out: `exp(x - max(x)) / sum(exp(x - max(x)))` becomes one operation.
//!
//! Recognized: any axes, the same for both reductions. Refused: without subtracting the maximum, which overflows where
//! the operation does not; maximum and sum over different axes.

use mlx::Op;

use super::look::Look;
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// A softmax, by the operation or written out.
pub(super) struct Softmax {
    pub(super) x: Value,
    pub(super) axes: Vec<i32>,
}

/// Finds the formula.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let softmax = match written(look, value)? {
        Ok(softmax) => softmax,
        Err(refusal) => return Some(Err(refusal)),
    };
    let axes = softmax.axes;
    Some(Ok(Match::new(vec![softmax.x], value, move |inputs| {
        inputs[0].softmax(axes.clone())
    })))
}

/// Sees a softmax by the operation or written out.
pub(super) fn softmax_of(look: &Look<'_>, value: Value) -> Option<Softmax> {
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
fn written(look: &Look<'_>, value: Value) -> Option<Result<Softmax, Refusal>> {
    let [exp, sum] = look.binary(value, &Op::Divide)?;
    let shifted = look.unary(exp, &Op::Exp)?;
    let sum = look.keeps_axis(sum);
    let (Op::Sum { axes, .. }, node) = look.node(sum)? else {
        return None;
    };
    if node.inputs[0] != exp {
        return None;
    }
    if !look.dtype(exp).is_floating() {
        return None;
    }
    let Some([x, max]) = look.binary(shifted, &Op::Subtract) else {
        let reason = "the maximum is not subtracted, so it overflows where the kernel does not";
        return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
    };
    let mut max = look.keeps_axis(max);
    if let Some((Op::StopGradient, node)) = look.node(max) {
        max = look.keeps_axis(node.inputs[0]);
    }
    let Some((Op::Max { axes: max_axes, .. }, node)) = look.node(max) else {
        let reason = "something else than the maximum is subtracted";
        return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
    };
    if node.inputs[0] != x {
        let reason = "the maximum is of something else";
        return Some(Err(Refusal::new(RefusalKind::Formula, reason)));
    }
    if max_axes != axes {
        let reason = format!("the maximum is over axes {max_axes:?}, the sum over {axes:?}");
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    Some(Ok(Softmax {
        x,
        axes: axes.clone(),
    }))
}
