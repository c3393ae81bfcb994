//! Operands of attention: queries, keys and values behind scales, transposes and repeated heads, and their shapes.

use mlx::{Array, Op, axis_index};

use crate::fusions::matcher::Matcher;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::Value;

/// An operand of a product, without what the kernel does itself.
#[derive(Clone)]
pub(super) struct OperandView {
    pub(super) value: Value,
    /// The order of axes that makes it `[.., rows, columns]`.
    order: Option<Vec<i32>>,
    /// How many times each head was repeated.
    pub(super) repeats: i32,
    /// The shape after reordering, without the repetition.
    pub(super) shape: Vec<i32>,
    /// Value and shape with the repetition.
    with_repeats: (Value, Vec<i32>),
}

/// Strips a scale from an operand that nothing else uses.
pub(super) fn unscaled(matcher: &Matcher<'_>, value: Value, scale: &mut f64) -> Value {
    if matcher.sole_consumer(value).is_none() {
        return value;
    }
    let product = matcher.product(value);
    match (product.factors.as_slice(), product.divisors.as_slice()) {
        ([inner], []) if matcher.array_type(*inner) == matcher.array_type(value) => {
            *scale *= product.number;
            *inner
        }
        _ => value,
    }
}

/// Strips a transpose and a repetition of heads; of keys, also a scale between them.
pub(super) fn operand_view(
    matcher: &Matcher<'_>,
    value: Value,
    scale: Option<&mut f64>,
) -> OperandView {
    let shape = matcher.shape(value).to_vec();
    let mut view = OperandView {
        value,
        order: None,
        repeats: 1,
        with_repeats: (value, shape.clone()),
        shape,
    };
    if let Some((Op::Transpose { axes }, node)) = matcher.node(value)
        && matcher.sole_consumer(value).is_some()
    {
        view.value = node.inputs[0];
        view.order = Some(axes.clone());
        if let Some(scale) = scale {
            view.value = unscaled(matcher, view.value, scale);
        }
        view.with_repeats.0 = view.value;
    }
    let head = match &view.order {
        Some(order) if order.len() == 4 => usize::try_from(order[1]).unwrap_or(0),
        None if matcher.ndim(view.value) == 4 => 1,
        _ => return view,
    };
    if matcher.sole_consumer(view.value).is_none() {
        return view;
    }
    if let Some((inner, repeats)) = repeated_heads(matcher, view.value, head) {
        view.value = inner;
        view.repeats = repeats;
        view.shape[1] /= repeats;
    }
    view
}

/// What is repeated along the axis of heads, each head several times consecutively.
fn repeated_heads(matcher: &Matcher<'_>, value: Value, head: usize) -> Option<(Value, i32)> {
    let (op, node) = matcher.node(value)?;
    let inner = node.inputs[0];
    match op {
        Op::Repeat { repeats, axis } => {
            let is_head = axis_index(*axis, 4) == Some(head);
            (is_head && *repeats > 0).then_some((inner, *repeats))
        }
        Op::Reshape { .. } => {
            // [.., heads, ..] -> [.., heads, 1, ..] -> [.., heads, n, ..] -> [.., heads * n, ..]
            let (Op::BroadcastTo { shape: expanded }, node) = matcher.node(inner)? else {
                return None;
            };
            let narrow = matcher.unreshaped(node.inputs[0]);
            let mut expected = matcher.shape(narrow).to_vec();
            if expected.len() != 4 || expanded.len() != 5 {
                return None;
            }
            let repeats = expanded[head + 1];
            expected.insert(head + 1, repeats);
            let mut merged = expected.clone();
            merged[head] *= merged.remove(head + 1);
            let mut opened = matcher.shape(narrow).to_vec();
            opened.insert(head + 1, 1);
            let fits = *expanded == expected
                && matcher.shape(value) == merged
                && matcher.shape(node.inputs[0]) == opened;
            fits.then_some((narrow, repeats))
        }
        _ => None,
    }
}

impl OperandView {
    /// The same, with the repetition.
    pub(super) fn with_repetition(self) -> Self {
        Self {
            value: self.with_repeats.0,
            shape: self.with_repeats.1.clone(),
            repeats: 1,
            ..self
        }
    }

    /// Transposes the value to `[.., rows, columns]`.
    pub(super) fn apply(&self, value: &Array) -> Array {
        match &self.order {
            Some(order) => value.transpose(order.clone()),
            None => value.clone(),
        }
    }
}

/// Shapes `[batch, heads, length, dim]` of queries, keys and values.
pub(super) struct Layout {
    pub(super) q: Vec<i32>,
    pub(super) k: Vec<i32>,
    pub(super) v: Vec<i32>,
}

/// The shapes with four axes, if operands of these shapes have any.
pub(super) fn layout(
    matcher: &Matcher<'_>,
    q: Value,
    k_t: &OperandView,
    v: &OperandView,
) -> Result<Layout, Refusal> {
    let (q, k, v_shape) = (matcher.shape(q), &k_t.shape, &v.shape);
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

impl Matcher<'_> {
    /// Strips one reshape.
    fn unreshaped(&self, value: Value) -> Value {
        match self.node(value) {
            Some((Op::Reshape { .. }, node)) => node.inputs[0],
            _ => value,
        }
    }
}
