//! Attention: `softmax(q @ k.T * scale + mask) @ v` becomes one kernel.
//!
//! Recognized: the scale on queries, keys or scores; softmax by the operation or written out, in `float32` or in the
//! dtype of the scores; masks that are added or that select, causal ones proven by their values; keys and values
//! repeated for groups of heads, by `repeat`, by broadcasting, or with an axis of their own; two to five axes; a sink
//! for each head. Refused: active dropout on the weights, a mask that is scaled with the scores or that widens them,
//! scores changed in other ways, scores or weights in less precision than the queries. A row without a visible key
//! gives what the formula gives: NaN if scores are minus infinity, else the mean of all values.

mod kernel;
mod mask;
mod near_misses;
mod operands;
mod scores;
mod sinks;

use mlx::{Dtype, Op};

use self::kernel::AttentionKernel;
use self::mask::Mask;
use self::operands::{layout, operand_view, unscaled};
use self::scores::Scores;
use self::sinks::{sinks_per_head, softmax_with_sinks};
use crate::fusions::matcher::Matcher;
use crate::fusions::matcher::softmax::{Softmax, softmax_of};
use crate::fusions::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::{Value, element_count};

/// Matches the formula by the product with the values.
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
    // Only what would be attention is reported.
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

/// Puts the fused form together, where the kernel takes these operands, masks and sinks.
fn assemble(
    matcher: &Matcher<'_>,
    output: Value,
    [q, k_t, v]: [Value; 3],
    scores: &Scores,
) -> Result<Match, Refusal> {
    let ndim = matcher.ndim(output);
    let dtype = matcher.dtype(q);
    check_dtypes(matcher, [q, k_t, v, output])?;
    scores.check_dtypes(dtype)?;
    let mut scale = scores.scale.unwrap_or(1.0);
    let q = unscaled(matcher, q, &mut scale);
    let k_t = unscaled(matcher, k_t, &mut scale);
    let mut k_t = operand_view(matcher, k_t, Some(&mut scale));
    let mut v = operand_view(matcher, v, None);
    if k_t.repeats != v.repeats {
        // The repetition of only one of them was matched.
        (k_t, v) = (k_t.with_repetition(), v.with_repetition());
    }
    if !scale.is_finite() {
        let reason = format!("the scale is {scale:?}");
        return Err(Refusal::new(RefusalKind::Formula, reason));
    }
    let layout = layout(matcher, q, &k_t, &v)?;
    if matcher.shapeless && (ndim != 4 || k_t.repeats != 1) {
        let reason = "the kernel would be given shapes that are frozen";
        return Err(Refusal::new(RefusalKind::Shape, reason));
    }
    let sizes = [matcher.shape(q)[ndim - 2], k_t.shape[ndim - 1]];
    let mask = mask_of(matcher, scores, dtype, sizes)?;
    let masks = mask.values();
    let mask_shapes = masks
        .iter()
        .map(|value| mask_shape(matcher.shape(*value), ndim))
        .collect::<Result<Vec<_>, _>>()?;
    let sinks = match scores.sinks {
        Some(sinks) => Some(sinks_per_head(matcher, sinks, ndim, &layout.q, dtype)?),
        None => None,
    };
    let mut inputs = vec![q, k_t.value, v.value];
    inputs.extend(masks);
    inputs.extend(sinks);
    #[allow(clippy::cast_possible_truncation)]
    let kernel = AttentionKernel {
        layout,
        k_t,
        v,
        scale: scale as f32,
        mask,
        mask_shapes,
        has_sinks: sinks.is_some(),
        dtype,
        shape: matcher.shape(output).to_vec(),
    };
    Ok(Match::new(inputs, output, move |inputs| {
        kernel.apply(inputs)
    }))
}

/// Checks that all operands have one dtype that the kernel takes.
fn check_dtypes(matcher: &Matcher<'_>, [q, k_t, v, output]: [Value; 4]) -> Result<(), Refusal> {
    let dtype = matcher.dtype(q);
    let is_one_dtype = [k_t, v, output]
        .iter()
        .all(|operand| matcher.dtype(*operand) == dtype);
    if is_one_dtype && dtype.is_floating() && dtype != Dtype::Float64 {
        return Ok(());
    }
    let reason = format!(
        "queries are {dtype}, keys {}, values {}, the result {}",
        matcher.dtype(k_t),
        matcher.dtype(v),
        matcher.dtype(output)
    );
    Err(Refusal::new(RefusalKind::Dtype, reason))
}

/// The mask that all masks of the scores are together.
fn mask_of(
    matcher: &Matcher<'_>,
    scores: &Scores,
    dtype: Dtype,
    sizes: [i32; 2],
) -> Result<Mask, Refusal> {
    let masks: Vec<_> = scores.masks.iter().rev().copied().collect();
    let mask = mask::resolve(matcher, &masks, dtype, sizes)?;
    Ok(match scores.sinks {
        Some(_) => mask.with_sinks(),
        None => mask,
    })
}

/// The shape that makes a mask of scores with `ndim` axes one of `[batch, heads, queries, keys]`.
fn mask_shape(shape: &[i32], ndim: usize) -> Result<Vec<i32>, Refusal> {
    let mut shape = shape.to_vec();
    if ndim == 5 && shape.len() > 2 {
        // An axis of groups follows that of heads.
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
