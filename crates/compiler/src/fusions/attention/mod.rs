//! Attention: `softmax(q @ k.T * scale + mask) @ v` becomes one kernel.
//!
//! Recognized: the scale on queries, keys or scores; softmax by the operation or written out, in `float32` or in the
//! dtype of the scores; masks that are added or that select, causal ones proven by their values; keys and values
//! repeated for groups of heads, by `repeat`, by broadcasting, or with an axis of their own; two to five axes; a sink for
//! each head. Refused:
//! active dropout on the weights, a mask that is scaled with the scores or that widens them, scores changed in other
//! ways, scores or weights in less precision than the queries. A row that may see no key stays what the formula makes
//! of it: NaN below minus infinity, else the mean of all values.

mod mask;
mod near_misses;
mod operands;
mod scores;
mod sinks;

use mlx::{Array, Dtype, MaskMode, Op, bind, keepdims, where_};

use self::mask::Mask;
use self::operands::{layout, operand_view, unscaled};
use self::scores::Scores;
use self::sinks::{sinks_per_head, softmax_with_sinks};
use crate::fusions::matcher::Matcher;
use crate::fusions::matcher::softmax::{Softmax, softmax_of};
use crate::fusions::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Finds the formula by the product with the values.
pub(crate) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let [weights, v] = matcher.binary(value, &Op::Matmul)?;
    let mut scores = Scores::default();
    let softmax = match weights_of(matcher, weights, &mut scores) {
        Some(Ok(softmax)) => softmax,
        Some(Err(refusal)) => return Some(Err(refusal)),
        None => return near_misses::weights(matcher, weights).map(Err),
    };
    let masked = scores.strip_casts(matcher, softmax.x);
    let (q, k_t) = match scores.read(matcher, masked) {
        Some(Ok(product)) => product,
        Some(Err(refusal)) => return Some(Err(refusal)),
        None => return near_misses::scores(matcher, masked).map(Err),
    };
    if [q, k_t, v]
        .iter()
        .any(|side| element_count(matcher.shape(*side)) == 0)
    {
        return None;
    }
    if !matcher.is_last_axis(softmax.x, &softmax.axes) {
        let reason = "the softmax is not over the keys";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    if matcher.ndim(value) < 2
        || scores
            .product
            .is_none_or(|product| matcher.shape(weights) != matcher.shape(product))
    {
        let reason = format!(
            "a mask makes scores {:?} of queries {:?}",
            matcher.shape(weights),
            matcher.shape(q)
        );
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    Some(assemble(matcher, value, [q, k_t, v], &scores))
}

/// The softmax that the weights are.
fn weights_of(
    matcher: &Matcher<'_>,
    weights: Value,
    scores: &mut Scores,
) -> Option<Result<Softmax, Refusal>> {
    let plain = scores.strip_casts(matcher, weights);
    if let Some(softmax) = softmax_of(matcher, plain) {
        return Some(Ok(softmax));
    }
    if let Some(softmax_with_sinks) = softmax_with_sinks(matcher, plain) {
        scores.strip_casts(matcher, softmax_with_sinks.joined);
        scores.sinks = Some(softmax_with_sinks.sinks);
        return Some(Ok(softmax_with_sinks.softmax));
    }
    // Weights times something: dropout, unless it is 1 everywhere.
    let mut product = matcher.product(plain);
    if let Some((Op::Where, node)) = matcher.node(plain) {
        product.factors = vec![node.inputs[0]];
        for branch in &node.inputs[1..] {
            product.factors.extend(matcher.product(*branch).factors);
        }
        product.number = f64::NAN;
    }
    let softmax = product
        .factors
        .iter()
        .find_map(|factor| softmax_of(matcher, matcher.strip_casts(*factor)))?;
    let mut probe = Scores::default();
    // Only what would be attention is worth a word.
    let inner = probe.strip_casts(matcher, softmax.x);
    probe.read(matcher, inner)?.ok()?;
    let is_random = product
        .factors
        .iter()
        .any(|factor| matcher.is_random(*factor));
    Some(Err(if is_random {
        Refusal::new(
            RefusalKind::Dropout,
            "active dropout stands between the weights and the values",
        )
    } else {
        Refusal::new(
            RefusalKind::Formula,
            "the weights are changed before the product with the values",
        )
    }))
}

fn assemble(
    matcher: &Matcher<'_>,
    output: Value,
    [q, k_t, v]: [Value; 3],
    scores: &Scores,
) -> Result<Match, Refusal> {
    let ndim = matcher.ndim(output);
    let dtype = matcher.dtype(q);
    if [k_t, v, output]
        .iter()
        .any(|side| matcher.dtype(*side) != dtype)
        || !dtype.is_floating()
        || dtype == Dtype::Float64
    {
        let reason = format!(
            "queries are {dtype}, keys {}, values {}, the result {}",
            matcher.dtype(k_t),
            matcher.dtype(v),
            matcher.dtype(output)
        );
        return Err(Refusal::new(RefusalKind::Dtype, reason));
    }
    scores.check_dtypes(dtype)?;
    let mut scale = scores.scale.unwrap_or(1.0);
    let q = unscaled(matcher, q, &mut scale);
    let k_t = unscaled(matcher, k_t, &mut scale);
    let mut k_side = operand_view(matcher, k_t, Some(&mut scale));
    let mut v_side = operand_view(matcher, v, None);
    if k_side.repeats != v_side.repeats {
        // Only one of them is seen through.
        (k_side, v_side) = (k_side.repeated(), v_side.repeated());
    }
    let (k_t, v) = (k_side, v_side);
    if !scale.is_finite() {
        let reason = format!("the scale is {scale:?}");
        return Err(Refusal::new(RefusalKind::Formula, reason));
    }
    let layout = layout(matcher, q, &k_t, &v)?;
    if matcher.shapeless && (ndim != 4 || k_t.repeats != 1) {
        let reason = "the kernel would be given shapes that are frozen";
        return Err(Refusal::new(RefusalKind::Shape, reason));
    }
    let queries = matcher.shape(q)[ndim - 2];
    let keys = k_t.shape[ndim - 1];
    let masks: Vec<_> = scores.masks.iter().rev().copied().collect();
    let mut mask = mask::resolve(matcher, &masks, dtype, [queries, keys])?;
    if scores.sinks.is_some() {
        mask = mask.beside_sinks();
    }
    let mask_shapes = mask
        .values()
        .iter()
        .map(|value| mask_shape(matcher.shape(*value), ndim))
        .collect::<Result<Vec<_>, _>>()?;
    let sinks = match scores.sinks {
        Some(sinks) => Some(sinks_per_head(matcher, sinks, ndim, &layout.q, dtype)?),
        None => None,
    };
    let mut inputs = vec![q, k_t.value, v.value];
    inputs.extend(mask.values());
    inputs.extend(sinks);
    let (shape, has_sinks) = (matcher.shape(output).to_vec(), sinks.is_some());
    #[allow(clippy::cast_possible_truncation)]
    let scale = scale as f32;
    Ok(Match::new(inputs, output, move |inputs| {
        let q = inputs[0].reshape(layout.q.clone());
        let k_t = k_t.apply(&inputs[1]);
        let k = k_t.swapaxes(-1, -2).reshape(layout.k.clone());
        let v = v.apply(&inputs[2]).reshape(layout.v.clone());
        let mode = match &mask {
            Mask::None => MaskMode::None,
            Mask::Causal => MaskMode::Causal,
            _ => MaskMode::Array,
        };
        let op = Op::ScaledDotProductAttention {
            scale,
            mask: mode,
            sinks: has_sinks,
            force_fused: false,
        };
        let (masks, sinks) = inputs[3..].split_at(mask_shapes.len());
        let values: Vec<Array> = masks
            .iter()
            .zip(&mask_shapes)
            .map(|(value, shape)| value.reshape(shape.clone()))
            .collect();
        let built = mask.build(&values, dtype);
        let mut all = vec![&q, &k, &v];
        all.extend(built.as_ref().map(|built| &built.mask));
        let heads = layout.q[1];
        let sinks = sinks
            .first()
            .map(|sinks| sinks.reshape([-1]).broadcast_to([heads]));
        all.extend(&sinks);
        let mut result = bind(op, &all);
        if let Some(dead) = built.and_then(|built| built.mean) {
            let mean = v.astype(Dtype::Float32).mean(keepdims(-2)).astype(dtype);
            let group = layout.q[1] / layout.v[1].max(1);
            result = where_(&dead, mean.repeat(group, 1), result);
        }
        result.reshape(shape.clone())
    }))
}

/// The shape that makes a mask of scores with `ndim` axes one of `[batch, heads, queries, keys]`.
fn mask_shape(shape: &[i32], ndim: usize) -> Result<Vec<i32>, Refusal> {
    let mut shape = shape.to_vec();
    if ndim == 5 && shape.len() > 2 {
        // An axis of groups lies behind that of heads.
        match shape.len() {
            3 if shape[0] == 1 => {
                shape.remove(0);
            }
            4 | 5 => {
                let group = shape.len() - 3;
                if shape[group] != 1 || shape[group - 1] != 1 {
                    let reason = format!("the mask {shape:?} differs between heads of a group");
                    return Err(Refusal::new(RefusalKind::Shape, reason));
                }
                shape.remove(group);
            }
            _ => {
                let reason = format!("the mask is {shape:?}");
                return Err(Refusal::new(RefusalKind::Shape, reason));
            }
        }
    }
    Ok(shape)
}

impl Matcher<'_> {
    /// Whether a value depends on random numbers.
    fn is_random(&self, value: Value) -> bool {
        let mut open = vec![value];
        let mut seen = std::collections::HashSet::new();
        while let Some(value) = open.pop() {
            if let Some(node) = self.graph.producer(value)
                && seen.insert(value)
            {
                if node.operation.name().starts_with("random.") {
                    return true;
                }
                open.extend(&node.inputs);
            }
        }
        false
    }
}
