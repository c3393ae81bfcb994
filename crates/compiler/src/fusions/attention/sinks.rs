//! Attention sinks, as in gpt-oss: one more score for each head takes part in the softmax, and its weight is dropped.

use mlx::{Dtype, Op};

use crate::fusions::matcher::Matcher;
use crate::fusions::matcher::softmax::{Softmax, softmax_of};
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Weights of all keys, of a softmax over the keys and a sink.
pub(super) struct SinkSoftmax {
    /// The softmax, of the scores without the sink.
    pub(super) softmax: Softmax,
    /// What the softmax is of, with the sink.
    pub(super) joined: Value,
    /// The sinks, with as many axes as the scores or fewer; one number for each head or one for all.
    pub(super) sinks: Value,
}

/// Sees weights as `softmax(concatenate([scores, sinks], -1))[.., :-1]`, also below their maximum.
pub(super) fn softmax_with_sinks(matcher: &Matcher<'_>, weights: Value) -> Option<SinkSoftmax> {
    let part = matcher.part(weights)?;
    let keys = *matcher.shape(weights).last()?;
    let kept = matcher.shape(part.x).last().copied()? - 1;
    if part.step != 1 || keys != kept {
        return None;
    }
    let softmax = softmax_of(matcher, matcher.strip_casts(part.x))?;
    let mut joined = matcher.strip_casts(softmax.x);
    if let Ok(Some(shifted)) = matcher.shifted_by_max(joined)
        && shifted.axes == softmax.axes
    {
        joined = matcher.strip_casts(shifted.x);
    }
    let last = i32::try_from(matcher.ndim(joined)).ok()? - 1;
    let (Op::Concatenate { axis }, node) = matcher.node(joined)? else {
        return None;
    };
    let [a, b] = *node.inputs.as_slice() else {
        return None;
    };
    let (scores, sinks) = if part.start == 0 { (a, b) } else { (b, a) };
    let is_one =
        matcher.shape(sinks).last() == Some(&1) && matcher.shape(scores).last() == Some(&keys);
    (is_one && (*axis == -1 || *axis == last)).then_some(SinkSoftmax {
        softmax: Softmax {
            x: scores,
            axes: softmax.axes,
        },
        joined,
        sinks,
    })
}

/// The value that holds one sink for each head of queries `[batch, heads, ..]`, of scores with `ndim` axes, or one for
/// all heads.
pub(super) fn sinks_per_head(
    matcher: &Matcher<'_>,
    sinks: Value,
    ndim: usize,
    queries: &[i32],
    dtype: Dtype,
) -> Result<Value, Refusal> {
    let inner = match matcher.node(sinks) {
        Some((Op::BroadcastTo { .. }, node)) => node.inputs[0],
        _ => sinks,
    };
    let inner = matcher.strip_upcasts(inner);
    // Axes of heads, and of groups of them, are between those of the batch and of the queries.
    let mut axes = matcher.shape(inner).iter().rev().enumerate();
    let of_heads = |from_end: usize| from_end >= 2 && (from_end + 1 < ndim || ndim == 3);
    let aligned = axes.all(|(from_end, n)| *n == 1 || of_heads(from_end));
    let count = i32::try_from(element_count(matcher.shape(inner))).unwrap_or(0);
    if !aligned || count != 1 && queries.get(1) != Some(&count) {
        let reason = format!("sinks {:?} are not one for each head", matcher.shape(inner));
        return Err(Refusal::new(RefusalKind::Shape, reason));
    }
    if matcher.dtype(inner) != dtype {
        let reason = format!("queries are {dtype}, sinks {}", matcher.dtype(inner));
        return Err(Refusal::new(RefusalKind::Dtype, reason));
    }
    Ok(inner)
}
