//! Rotary position embedding: pairs of features rotated by their position become one kernel.
//!
//! Recognized: pairs half of the features apart, as two halves or by a "rotate half"; pairs of neighbours, by strided
//! slices, a last axis of 2 or a "rotate every two"; some of the features rotated and the rest passed on; positions
//! that are constants, or a range plus an offset known only when the function runs; any frequencies. Refused:
//! positions that are an input as a whole, since nothing proves that they are consecutive; tables, angles or positions
//! in less precision than what is rotated.

mod angles;
mod positions;
mod tables;

use mlx::fast::{self, Offset, RopeFrequencies, RopeOptions};
use mlx::{Array, Dtype, Op};

use self::angles::{PairLayout, RopeAngles, RotaryTables, base_of, read};
use crate::fusions::matcher::Matcher;
use crate::fusions::matcher::last_axis::{Part, concatenated, reshaped_pair, stacked_pair};
use crate::fusions::{Match, MatchResult, Refusal, RefusalKind};
use crate::graph::{Value, nodes_between};

/// A formula that rotates pairs.
struct RotatedPair {
    /// What is rotated, with all its features.
    x: Value,
    /// The shape in which it is rotated.
    shape: Vec<i32>,
    /// How many of its features are rotated.
    dims: i32,
    traditional: bool,
    cos: Value,
    sin: Value,
    /// The shape of one half of the pairs.
    half_shape: Vec<i32>,
    pair_layout: PairLayout,
    /// Whether features of `x` after `dims` are passed on in the result.
    passes: bool,
}

/// Matches the formula by the value that has all rotated features.
pub(crate) fn match_at(matcher: &Matcher<'_>, value: Value) -> MatchResult {
    let rotated = match_halves(matcher, value)
        .or_else(|| match_rotate_half(matcher, value))
        .or_else(|| match_interleaved(matcher, value))?;
    let dtype = matcher.dtype(rotated.x);
    if !dtype.is_floating() {
        return None;
    }
    // Computed in a wider dtype and cast back.
    let value = match matcher.cast_after(value) {
        Some((cast, to)) if to == dtype && matcher.dtype(value) != dtype => cast,
        _ => value,
    };
    if matcher.shapeless {
        let reason = "tables hold for the number of positions that they were traced with";
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    let dims = rotated.dims;
    let Some((rotated, output)) = with_passed_features(matcher, value, rotated) else {
        let reason = format!("{dims} features turn, and the others are not passed on behind them");
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    };
    let tables = RotaryTables {
        cos: rotated.cos,
        sin: rotated.sin,
        pair_layout: rotated.pair_layout,
        dtype: matcher.dtype(output),
    };
    let angles = match read(matcher, &tables, &rotated.half_shape) {
        Ok(angles) => angles,
        Err(refusal) => return Some(Err(refusal)),
    };
    if matcher.dtype(output) == Dtype::Float64 || matcher.dtype(output).size() < dtype.size() {
        let reason = format!("{dtype} is turned, the kernel computes in float32");
        return Some(Err(Refusal::new(RefusalKind::Dtype, reason)));
    }
    Some(assemble(matcher, output, &rotated, angles))
}

/// One feature of each rotated pair: `first * cos - second * sin`, or `second * cos + first * sin`.
struct RotationTerms {
    first: Value,
    second: Value,
    cos: Value,
    sin: Value,
}

/// `concatenate([a cos - b sin, b cos + a sin])` with `a` and `b` the halves of the features.
fn match_halves(matcher: &Matcher<'_>, value: Value) -> Option<RotatedPair> {
    let parts = concatenated(matcher, value)?;
    let [first, second, ..] = *parts.as_slice() else {
        return None;
    };
    let terms = rotation_terms(matcher, first, second)?;
    let (a, b) = (matcher.part(terms.first)?, matcher.part(terms.second)?);
    let half = *matcher.shape(terms.first).last()?;
    let fits = a.x == b.x && a.step == 1 && b.step == 1 && a.start == 0 && b.start == half;
    let rest = match parts.as_slice() {
        [_, _] => false,
        [_, _, rest] => matcher.is_rest(*rest, a.x, 2 * half),
        _ => return None,
    };
    let whole = 2 * half == *matcher.shape(a.x).last()?;
    (fits && (parts.len() == 2 || rest)).then(|| RotatedPair {
        x: a.x,
        shape: a.shape,
        dims: 2 * half,
        traditional: false,
        cos: terms.cos,
        sin: terms.sin,
        half_shape: matcher.shape(terms.first).to_vec(),
        pair_layout: PairLayout::One,
        passes: rest || whole,
    })
}

/// `x * cos + concatenate([-b, a]) * sin`, with tables that contain each angle twice.
fn match_rotate_half(matcher: &Matcher<'_>, value: Value) -> Option<RotatedPair> {
    for [straight, crossed] in matcher.both_orders(value, &Op::Add) {
        for [x, cos] in matcher.both_orders(straight, &Op::Multiply) {
            for [rotated, sin] in matcher.both_orders(crossed, &Op::Multiply) {
                let Some(traditional) = is_rotate_half(matcher, rotated, matcher.strip_upcasts(x))
                else {
                    continue;
                };
                let mut half_shape = matcher.shape(x).to_vec();
                let dims = half_shape.last_mut()?;
                let whole = *dims;
                *dims /= 2;
                if matcher.shape(value) != matcher.shape(x) {
                    continue;
                }
                // The features may themselves be a part of something larger.
                let part = matcher
                    .part(x)
                    .filter(|part| part.start == 0 && part.step == 1);
                let x = part.map_or(matcher.strip_upcasts(x), |part| part.x);
                return Some(RotatedPair {
                    x,
                    shape: matcher.shape(x).to_vec(),
                    dims: whole,
                    traditional,
                    cos,
                    sin,
                    half_shape,
                    pair_layout: if traditional {
                        PairLayout::Neighbours
                    } else {
                        PairLayout::Halves
                    },
                    passes: false,
                });
            }
        }
    }
    None
}

/// Whether a value is `x` with each pair `(a, b)` made `(-b, a)`, and then whether pairs are neighbours.
fn is_rotate_half(matcher: &Matcher<'_>, value: Value, x: Value) -> Option<bool> {
    let dims = *matcher.shape(x).last()?;
    let value = matcher.strip_upcasts(value);
    let pair = |negated: Value, a: Value| {
        let b = matcher.part(matcher.unary(matcher.strip_upcasts(negated), &Op::Negative)?)?;
        let a = matcher.part(a)?;
        let is_x =
            |part: &Part| matcher.strip_upcasts(part.x) == x && part.shape == matcher.shape(part.x);
        (is_x(&a) && is_x(&b) && a.start == 0 && a.step == b.step).then_some((a.step, b.start))
    };
    if let Some(parts) = concatenated(matcher, value)
        && let [negated, a] = *parts.as_slice()
        && matcher.shape(a).last() == Some(&(dims / 2))
        && pair(negated, a) == Some((1, dims / 2))
    {
        return (dims % 2 == 0).then_some(false);
    }
    let [negated, a] = stacked_pair(matcher, value)?;
    (pair(negated, a) == Some((2, 1))).then_some(true)
}

/// Pairs of neighbours: `stack([a cos - b sin, b cos + a sin], -1)`, the last two axes then one, and any reshape of that.
fn match_interleaved(matcher: &Matcher<'_>, value: Value) -> Option<RotatedPair> {
    let ([first, second], shape) = reshaped_pair(matcher, value)?;
    let terms = rotation_terms(matcher, first, second)?;
    let (a, b) = (matcher.part(terms.first)?, matcher.part(terms.second)?);
    let fits = a.x == b.x
        && a.shape == b.shape
        && a.shape == shape
        && [(a.start, a.step), (b.start, b.step)] == [(0, 2), (1, 2)];
    let half = *matcher.shape(terms.first).last()?;
    fits.then(|| RotatedPair {
        x: a.x,
        shape: a.shape,
        dims: 2 * half,
        traditional: true,
        cos: terms.cos,
        sin: terms.sin,
        half_shape: matcher.shape(terms.first).to_vec(),
        pair_layout: PairLayout::One,
        passes: false,
    })
}

/// The value that also has the features that are passed on.
fn with_passed_features(
    matcher: &Matcher<'_>,
    value: Value,
    rotated: RotatedPair,
) -> Option<(RotatedPair, Value)> {
    let all = *rotated.shape.last()?;
    if rotated.passes || rotated.dims == all {
        return Some((rotated, value));
    }
    if rotated.shape != matcher.shape(rotated.x) {
        return None;
    }
    let user = matcher.sole_consumer(value)?;
    let output = user.outputs.first().copied()?;
    let parts = concatenated(matcher, output)?;
    let fits =
        parts.len() == 2 && parts[0] == value && matcher.is_rest(parts[1], rotated.x, rotated.dims);
    fits.then_some((rotated, output))
}

fn assemble(
    matcher: &Matcher<'_>,
    output: Value,
    rotated: &RotatedPair,
    angles: RopeAngles,
) -> Result<Match, Refusal> {
    let mut inputs = vec![rotated.x];
    inputs.extend(angles.offset);
    let shared = independent(matcher, &inputs, output, rotated.x);
    let (dims, traditional) = (rotated.dims, rotated.traditional);
    let base = base_of(&angles.inv_freq);
    let dtype = matcher.dtype(output);
    let reshape = |to: &[i32], from: &[i32]| (to != from).then(|| to.to_vec());
    let shape_before = reshape(&rotated.shape, matcher.shape(rotated.x));
    let shape_after = reshape(matcher.shape(output), &rotated.shape);
    let kernel = move |inputs: &[Array]| {
        let x = match &shape_before {
            Some(shape) => &inputs[0].reshape(shape.clone()),
            None => &inputs[0],
        };
        let ndim = x.ndim().unwrap_or(0);
        // Positions are the last axis but one for the kernel.
        let (last, axis) = (ndim.wrapping_sub(2), ndim.wrapping_sub(1 + angles.axis));
        let mut order: Vec<i32> = (0..i32::try_from(ndim).unwrap_or(0)).collect();
        let mut x = match x.dtype() {
            Ok(same) if same == dtype => x.clone(),
            _ => x.astype(dtype),
        };
        if angles.axis != 1 && axis < ndim {
            order.swap(last, axis);
            x = x.transpose(order.clone());
        }
        let flat = (ndim == 2).then(|| x.expand_dims(0));
        let offset = match inputs.get(1) {
            None => Offset::Int(angles.start),
            Some(offset) if angles.start == 0 => Offset::Array(offset.reshape(())),
            Some(offset) => Offset::Array(offset.reshape(()) + i64::from(angles.start)),
        };
        #[allow(clippy::cast_possible_truncation)]
        let frequencies = match base {
            Some(base) => RopeFrequencies::Base(base as f32),
            None => {
                let freqs: Vec<f32> = angles.inv_freq.iter().map(|s| (1.0 / s) as f32).collect();
                let n = i32::try_from(freqs.len()).unwrap_or(0);
                RopeFrequencies::Freqs(Array::from_result(Array::from_slice(&freqs, [n])))
            }
        };
        let options = RopeOptions {
            dims: Some(dims),
            traditional,
            frequencies,
            scale: 1.0,
            offset,
        };
        let mut y = fast::rope(flat.as_ref().unwrap_or(&x), &options);
        if flat.is_some() {
            y = y.squeeze(0);
        }
        if angles.axis != 1 && axis < ndim {
            y = y.transpose(order);
        }
        match &shape_after {
            Some(shape) => y.reshape(shape.clone()),
            None => y,
        }
    };
    let mut found = Match::new(inputs, output, move |inputs| kernel.clone()(inputs));
    found.shared = shared;
    Ok(found)
}

/// Intermediate values that do not depend on what is rotated.
fn independent(matcher: &Matcher<'_>, inputs: &[Value], output: Value, x: Value) -> Vec<Value> {
    nodes_between(matcher.graph, inputs, &[output])
        .into_iter()
        .flat_map(|id| matcher.graph.node(id).outputs.iter().copied())
        .filter(|value| !matcher.depends(*value, x))
        .collect()
}

/// Matches `first * cos - second * sin` and `second * cos + first * sin`.
fn rotation_terms(matcher: &Matcher<'_>, minus: Value, plus: Value) -> Option<RotationTerms> {
    let [left, right] = matcher.binary(minus, &Op::Subtract)?;
    for [first, cos] in matcher.both_orders(left, &Op::Multiply) {
        for [second, sin] in matcher.both_orders(right, &Op::Multiply) {
            let is_product = |value: Value, a: Value, b: Value| {
                matcher
                    .both_orders(value, &Op::Multiply)
                    .into_iter()
                    .any(|[x, y]| x == a && y == b)
            };
            let fits = matcher
                .both_orders(plus, &Op::Add)
                .into_iter()
                .any(|[a, b]| is_product(a, second, cos) && is_product(b, first, sin));
            if fits
                && matcher.shape(first) == matcher.shape(second)
                && matcher.shape(first) == matcher.shape(minus)
            {
                return Some(RotationTerms {
                    first,
                    second,
                    cos,
                    sin,
                });
            }
        }
    }
    None
}
