//! Attention: `softmax(q @ k.T * scale + mask) @ v` becomes one kernel.
//!
//! Recognized: the scale on queries, keys or scores; softmax by the operation or written out, in `float32` or in the
//! dtype of the scores; masks that are added or that select, causal ones proven by their values; keys and values
//! repeated for groups of heads, by `repeat`, by broadcasting, or with an axis of their own; two to five axes. Refused:
//! active dropout on the weights, a mask that is scaled with the scores, scores changed in other ways.

use mlx::{Array, Dtype, MaskMode, Op, bind};

use super::look::{Look, size};
use super::mask::{self, Applied, How, Mask};
use super::softmax::{Softmax, softmax_of};
use super::{Found, Match, Refusal, RefusalKind};
use crate::graph::Value;

/// Finds the formula by the product with the values.
pub(super) fn find(look: &Look<'_>, value: Value) -> Found {
    let [weights, v] = look.binary(value, &Op::Matmul)?;
    let mut scores = Scores::default();
    let softmax = match weights_of(look, weights, &mut scores)? {
        Ok(softmax) => softmax,
        Err(refusal) => return Some(Err(refusal)),
    };
    let masked = scores.uncast(look, softmax.x);
    let (q, k_t) = match scores.read(look, masked)? {
        Ok(product) => product,
        Err(refusal) => return Some(Err(refusal)),
    };
    if [q, k_t, v].iter().any(|side| size(look.shape(*side)) == 0) {
        return None;
    }
    if !look.is_last_axis(softmax.x, &softmax.axes) {
        let reason = "the softmax is not over the keys";
        return Some(Err(Refusal::new(RefusalKind::Axis, reason)));
    }
    if look.ndim(value) < 2
        || scores
            .product
            .is_none_or(|product| look.shape(weights) != look.shape(product))
    {
        let reason = format!(
            "a mask makes scores {:?} of queries {:?}",
            look.shape(weights),
            look.shape(q)
        );
        return Some(Err(Refusal::new(RefusalKind::Shape, reason)));
    }
    Some(assemble(look, value, [q, k_t, v], &scores))
}

/// The softmax that the weights are.
fn weights_of(
    look: &Look<'_>,
    weights: Value,
    scores: &mut Scores,
) -> Option<Result<Softmax, Refusal>> {
    let plain = scores.uncast(look, weights);
    if let Some(softmax) = softmax_of(look, plain) {
        return Some(Ok(softmax));
    }
    // Weights times something: dropout, unless it is 1 everywhere.
    let mut product = look.product(plain);
    if let Some((Op::Where, node)) = look.node(plain) {
        product.factors = vec![node.inputs[0]];
        for branch in &node.inputs[1..] {
            product.factors.extend(look.product(*branch).factors);
        }
        product.number = f64::NAN;
    }
    let softmax = product
        .factors
        .iter()
        .find_map(|factor| softmax_of(look, look.uncast(*factor)))?;
    let mut probe = Scores::default();
    // Only what would be attention is worth a word.
    let inner = probe.uncast(look, softmax.x);
    probe.read(look, inner)?.ok()?;
    let is_random = product.factors.iter().any(|factor| look.is_random(*factor));
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

/// What is done to the product of queries and keys before the softmax.
#[derive(Clone, Default)]
struct Scores {
    scale: Option<f64>,
    masks: Vec<Applied>,
    /// The dtypes through which scores and weights go.
    dtypes: Vec<Dtype>,
    product: Option<Value>,
}

impl Scores {
    /// Goes behind casts, and notes their dtypes.
    fn uncast(&mut self, look: &Look<'_>, value: Value) -> Value {
        self.dtypes.push(look.dtype(value));
        match look.cast(value) {
            Some(inner) => self.uncast(look, inner),
            None => value,
        }
    }

    /// Reads scores from the outside in and returns queries and transposed keys.
    fn read(&mut self, look: &Look<'_>, value: Value) -> Option<Result<(Value, Value), Refusal>> {
        self.dtypes.push(look.dtype(value));
        let (op, node) = look.node(value)?;
        match op {
            Op::Matmul => {
                self.product = Some(value);
                Some(Ok((node.inputs[0], node.inputs[1])))
            }
            Op::Astype { .. } => self.read(look, look.cast(value)?),
            Op::Negative => self.scaled(look, node.inputs[0], -1.0),
            Op::Multiply => look
                .orders(value, op)
                .into_iter()
                .find_map(|[scores, number]| self.scaled(look, scores, look.number(number)?)),
            Op::Divide => self.scaled(look, node.inputs[0], 1.0 / look.number(node.inputs[1])?),
            Op::Add => look
                .orders(value, op)
                .into_iter()
                .find_map(|[scores, mask]| {
                    let mut inner = self.clone();
                    inner.masks.push(Applied {
                        value: mask,
                        how: How::Added,
                    });
                    let product = inner.read(look, scores)?;
                    *self = inner;
                    Some(product)
                }),
            Op::Where => {
                let [condition, a, b] = *node.inputs.as_slice() else {
                    return None;
                };
                let (scores, fill, hides) = match (look.number(a), look.number(b)) {
                    (None, Some(fill)) => (a, fill, false),
                    (Some(fill), None) => (b, fill, true),
                    _ => return None,
                };
                self.masks.push(Applied {
                    value: condition,
                    how: How::Selects { hides, fill },
                });
                self.read(look, scores)
            }
            Op::Tanh => {
                let product = look.product(node.inputs[0]);
                let [scores] = *product.factors.as_slice() else {
                    return None;
                };
                self.read(look, scores)?.ok()?;
                let reason = "the scores are capped by tanh";
                Some(Err(Refusal::new(RefusalKind::Formula, reason)))
            }
            _ => None,
        }
    }

    /// Reads scores that are multiplied with a number.
    fn scaled(
        &mut self,
        look: &Look<'_>,
        scores: Value,
        factor: f64,
    ) -> Option<Result<(Value, Value), Refusal>> {
        self.scale = Some(self.scale.unwrap_or(1.0) * factor);
        let masks = self.masks.len();
        let inner = self.read(look, scores)?;
        if self.masks.len() > masks && factor != 1.0 {
            let reason = "the mask is scaled with the scores";
            return Some(Err(Refusal::new(RefusalKind::Mask, reason)));
        }
        Some(inner)
    }

    /// Checks that scores and weights are nowhere rounded to less than the queries have.
    fn check_dtypes(&self, dtype: Dtype) -> Result<(), Refusal> {
        let exact = |other: &&Dtype| **other == dtype || **other == Dtype::Float32;
        match self.dtypes.iter().find(|other| !exact(other)) {
            None => Ok(()),
            Some(other) => {
                let reason = format!("queries are {dtype}, scores or weights {other} in between");
                Err(Refusal::new(RefusalKind::Dtype, reason))
            }
        }
    }
}

/// A side of a product, behind what the kernel does itself.
#[derive(Clone)]
struct Side {
    value: Value,
    /// The order of axes that makes it `[.., rows, columns]`.
    order: Option<Vec<i32>>,
    /// How often each head was repeated.
    repeats: i32,
    /// The shape after reordering, without the repetition.
    shape: Vec<i32>,
    /// Value and shape with the repetition.
    wide: (Value, Vec<i32>),
}

fn assemble(
    look: &Look<'_>,
    output: Value,
    [q, k_t, v]: [Value; 3],
    scores: &Scores,
) -> Result<Match, Refusal> {
    let ndim = look.ndim(output);
    let dtype = look.dtype(q);
    if [k_t, v, output]
        .iter()
        .any(|side| look.dtype(*side) != dtype)
        || !dtype.is_floating()
        || dtype == Dtype::Float64
    {
        let reason = format!(
            "queries are {dtype}, keys {}, values {}, the result {}",
            look.dtype(k_t),
            look.dtype(v),
            look.dtype(output)
        );
        return Err(Refusal::new(RefusalKind::Dtype, reason));
    }
    scores.check_dtypes(dtype)?;
    let mut scale = scores.scale.unwrap_or(1.0);
    let q = unscaled(look, q, &mut scale);
    let k_t = unscaled(look, k_t, &mut scale);
    let mut k_side = side(look, k_t, Some(&mut scale));
    let mut v_side = side(look, v, None);
    if k_side.repeats != v_side.repeats {
        // Only one of them is seen through.
        (k_side, v_side) = (k_side.repeated(), v_side.repeated());
    }
    let (k_t, v) = (k_side, v_side);
    if !scale.is_finite() {
        let reason = format!("the scale is {scale:?}");
        return Err(Refusal::new(RefusalKind::Formula, reason));
    }
    let layout = layout(look, q, &k_t, &v)?;
    let queries = look.shape(q)[ndim - 2];
    let keys = k_t.shape[ndim - 1];
    let mask = masks(look, &scores.masks, dtype, [queries, keys])?;
    let mask_shape = match mask.value() {
        Some(value) => Some(mask_shape(look.shape(value), ndim)?),
        None => None,
    };
    let mut inputs = vec![q, k_t.value, v.value];
    inputs.extend(mask.value());
    let shape = look.shape(output).to_vec();
    #[allow(clippy::cast_possible_truncation)]
    let scale = scale as f32;
    Ok(Match::new(inputs, output, move |inputs| {
        let q = inputs[0].reshape(layout.q.clone());
        let k_t = k_t.apply(&inputs[1]);
        let k = k_t.swapaxes(-1, -2).reshape(layout.k.clone());
        let v = v.apply(&inputs[2]).reshape(layout.v.clone());
        let mode = match mask {
            Mask::None => MaskMode::None,
            Mask::Causal => MaskMode::Causal,
            _ => MaskMode::Array,
        };
        let op = Op::ScaledDotProductAttention {
            scale,
            mask: mode,
            sinks: false,
            force_fused: false,
        };
        let array = inputs
            .get(3)
            .zip(mask_shape.as_ref())
            .map(|(value, shape)| mask.array(value, dtype).reshape(shape.clone()));
        let mut all = vec![&q, &k, &v];
        all.extend(&array);
        bind(op, &all).reshape(shape.clone())
    }))
}

/// Takes a number off a side that nothing else uses.
fn unscaled(look: &Look<'_>, value: Value, scale: &mut f64) -> Value {
    if look.only_user(value).is_none() {
        return value;
    }
    let product = look.product(value);
    match (product.factors.as_slice(), product.divisors.as_slice()) {
        ([inner], []) if look.array_type(*inner) == look.array_type(value) => {
            *scale *= product.number;
            *inner
        }
        _ => value,
    }
}

/// Sees a side through a change of the order of axes and a repetition of heads; of keys, through a scale between.
fn side(look: &Look<'_>, value: Value, scale: Option<&mut f64>) -> Side {
    let shape = look.shape(value).to_vec();
    let mut seen = Side {
        value,
        order: None,
        repeats: 1,
        wide: (value, shape.clone()),
        shape,
    };
    if let Some((Op::Transpose { axes }, node)) = look.node(value)
        && look.only_user(value).is_some()
    {
        seen.value = node.inputs[0];
        seen.order = Some(axes.clone());
        if let Some(scale) = scale {
            seen.value = unscaled(look, seen.value, scale);
        }
        seen.wide.0 = seen.value;
    }
    let head = match &seen.order {
        Some(order) if order.len() == 4 => usize::try_from(order[1]).unwrap_or(0),
        None if look.ndim(seen.value) == 4 => 1,
        _ => return seen,
    };
    if look.only_user(seen.value).is_none() {
        return seen;
    }
    if let Some((inner, repeats)) = repeated(look, seen.value, head) {
        seen.value = inner;
        seen.repeats = repeats;
        seen.shape[1] /= repeats;
    }
    seen
}

/// What is repeated along the axis of heads, each head several times in a row.
fn repeated(look: &Look<'_>, value: Value, head: usize) -> Option<(Value, i32)> {
    let (op, node) = look.node(value)?;
    let inner = node.inputs[0];
    match op {
        Op::Repeat { repeats, axis } => {
            let axis = if *axis < 0 { *axis + 4 } else { *axis };
            (usize::try_from(axis).ok()? == head && *repeats > 0).then_some((inner, *repeats))
        }
        Op::Reshape { .. } => {
            // [.., heads, ..] -> [.., heads, 1, ..] -> [.., heads, n, ..] -> [.., heads * n, ..]
            let (Op::BroadcastTo { shape: wide }, node) = look.node(inner)? else {
                return None;
            };
            let narrow = look.unreshaped(node.inputs[0]);
            let mut expected = look.shape(narrow).to_vec();
            if expected.len() != 4 || wide.len() != 5 {
                return None;
            }
            let repeats = wide[head + 1];
            expected.insert(head + 1, repeats);
            let mut merged = expected.clone();
            merged[head] *= merged.remove(head + 1);
            let mut opened = look.shape(narrow).to_vec();
            opened.insert(head + 1, 1);
            let fits = *wide == expected
                && look.shape(value) == merged
                && look.shape(node.inputs[0]) == opened;
            fits.then_some((narrow, repeats))
        }
        _ => None,
    }
}

impl Side {
    /// The same, not seen through the repetition.
    fn repeated(self) -> Self {
        Self {
            value: self.wide.0,
            shape: self.wide.1.clone(),
            repeats: 1,
            ..self
        }
    }

    fn apply(&self, value: &Array) -> Array {
        match &self.order {
            Some(order) => value.transpose(order.clone()),
            None => value.clone(),
        }
    }
}

/// Shapes `[batch, heads, length, dim]` of queries, keys and values.
struct Layout {
    q: Vec<i32>,
    k: Vec<i32>,
    v: Vec<i32>,
}

fn layout(look: &Look<'_>, q: Value, k_t: &Side, v: &Side) -> Result<Layout, Refusal> {
    let (q, k, v_shape) = (look.shape(q), &k_t.shape, &v.shape);
    let refuse = || {
        let reason = format!(
            "queries {q:?}, transposed keys {k:?} and values {v_shape:?} do not fit the kernel"
        );
        Refusal::new(RefusalKind::Shape, reason)
    };
    if k.len() != q.len() || v_shape.len() != q.len() || k_t.repeats != v.repeats {
        return Err(refuse());
    }
    let n = q.len();
    let [queries, dim] = [q[n - 2], q[n - 1]];
    let [keys, v_dim] = [v_shape[n - 2], v_shape[n - 1]];
    if k[n - 2..] != [dim, keys] {
        return Err(refuse());
    }
    let four = |batch: i32, heads: i32, kv_heads: i32| Layout {
        q: vec![batch, heads, queries, dim],
        k: vec![batch, kv_heads, keys, dim],
        v: vec![batch, kv_heads, keys, v_dim],
    };
    match (&q[..n - 2], &k[..n - 2], &v_shape[..n - 2]) {
        ([], [], []) => Ok(four(1, 1, 1)),
        ([heads], [a], [b]) if a == heads && b == heads => Ok(four(1, *heads, *heads)),
        ([batch, heads], [b1, h1], [b2, h2])
            if batch == b1
                && b1 == b2
                && h1 == h2
                && (*heads == h1 * k_t.repeats || *h1 == 1 && k_t.repeats == 1) =>
        {
            Ok(four(*batch, *heads, *h1))
        }
        ([batch, heads, group], [b1, h1, 1], [b2, h2, 1])
            if batch == b1 && b1 == b2 && heads == h1 && h1 == h2 && k_t.repeats == 1 =>
        {
            Ok(four(*batch, heads * group, *heads))
        }
        _ => Err(refuse()),
    }
}

/// The mask that all masks together are.
fn masks(
    look: &Look<'_>,
    applied: &[Applied],
    dtype: Dtype,
    sizes: [i32; 2],
) -> Result<Mask, Refusal> {
    let mut one = Mask::None;
    for applied in applied {
        match (one, mask::resolve(look, *applied, dtype, sizes)?) {
            (_, Mask::None) => {}
            (Mask::None, mask) => one = mask,
            (Mask::Causal, Mask::Causal) => {}
            _ => {
                let reason = "more than one mask is applied";
                return Err(Refusal::new(RefusalKind::Mask, reason));
            }
        }
    }
    Ok(one)
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

impl Look<'_> {
    /// Behind one reshape.
    fn unreshaped(&self, value: Value) -> Value {
        match self.node(value) {
            Some((Op::Reshape { .. }, node)) => node.inputs[0],
            _ => value,
        }
    }

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
