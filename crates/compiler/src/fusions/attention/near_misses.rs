//! Near misses of attention: which operation keeps the formula from being matched, and where.

use mlx::Op;

use crate::fusions::matcher::Matcher;
use crate::fusions::matcher::softmax::softmax_of;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Node, Value};

/// The maximum number of operations between a product and the softmax of it.
const MAX_DISTANCE: usize = 12;

/// Weights that depend on a softmax of a product, but not as in the kernel.
pub(super) fn weights(matcher: &Matcher<'_>, weights: Value) -> Option<Refusal> {
    let (softmax, passed) = search_inputs(matcher, weights, MAX_DISTANCE, &|value| {
        softmax_of(matcher, value).is_some()
    })?;
    let x = softmax_of(matcher, softmax)?.x;
    search_inputs(matcher, x, MAX_DISTANCE, &|value| {
        is_product(matcher, value)
    })?;
    // Sinks, as of gpt-oss: one more score, whose weight is dropped again.
    let drops = |node: &&Node| {
        matches!(
            node.operation.op(),
            Some(Op::Slice { .. } | Op::SplitSections { .. })
        )
    };
    if passed.iter().any(drops)
        && let Some((_, path)) = search_inputs(matcher, x, MAX_DISTANCE, &|value| {
            is_concatenation(matcher, value)
        })
        && path.len() < MAX_DISTANCE
    {
        let reason = "the softmax has a score more, a sink, whose weight is dropped";
        return Some(Refusal::new(RefusalKind::Formula, reason));
    }
    let blamed = passed
        .iter()
        .find(|node| !is_known_step(node))
        .or(passed.first())?;
    let reason = format!(
        "{} at {} stands between the softmax and the product with the values",
        blamed.operation.name(),
        blamed.site
    );
    Some(Refusal::new(RefusalKind::Formula, reason))
}

/// Scores that depend on a product, but not as in the kernel.
pub(super) fn scores(matcher: &Matcher<'_>, scores: Value) -> Option<Refusal> {
    let (_, passed) = search_inputs(matcher, scores, MAX_DISTANCE, &|value| {
        is_product(matcher, value)
    })?;
    let blamed = passed
        .iter()
        .find(|node| !is_known_step(node))
        .or(passed.last())?;
    let reason = format!(
        "{} at {} stands between the product of queries and keys and the softmax",
        blamed.operation.name(),
        blamed.site
    );
    Some(Refusal::new(RefusalKind::Formula, reason))
}

/// The nearest value that a value depends on for which `is` holds, and the nodes between, the last applied first.
fn search_inputs<'g>(
    matcher: &Matcher<'g>,
    value: Value,
    far: usize,
    is: &dyn Fn(Value) -> bool,
) -> Option<(Value, Vec<&'g Node>)> {
    let mut open = vec![(value, Vec::new())];
    let mut seen = std::collections::HashSet::new();
    while !open.is_empty() {
        let (value, passed) = open.remove(0);
        if is(value) {
            return Some((value, passed));
        }
        let Some(node) = matcher.graph.producer(value) else {
            continue;
        };
        // Other products, and reductions, are other formulas.
        let ends = is_product(matcher, value) || is_reduction(node);
        if passed.len() < far && !ends && !matcher.is_constant(value) && seen.insert(value) {
            for input in &node.inputs {
                let mut passed = passed.clone();
                passed.push(node);
                open.push((*input, passed));
            }
        }
    }
    None
}

fn is_product(matcher: &Matcher<'_>, value: Value) -> bool {
    matches!(
        matcher.node(value),
        Some((Op::Matmul | Op::Einsum { .. }, _))
    )
}

fn is_concatenation(matcher: &Matcher<'_>, value: Value) -> bool {
    matches!(matcher.node(value), Some((Op::Concatenate { .. }, _)))
}

fn is_reduction(node: &Node) -> bool {
    matches!(
        node.operation.op(),
        Some(
            Op::Sum { .. } | Op::Mean { .. } | Op::Max { .. } | Op::Argmax { .. } | Op::Var { .. }
        )
    )
}

/// Whether the formula of attention may have such a step there.
fn is_known_step(node: &Node) -> bool {
    matches!(
        node.operation.op(),
        Some(
            Op::Astype { .. }
                | Op::Add
                | Op::Multiply
                | Op::Divide
                | Op::Where
                | Op::Negative
                | Op::Softmax { .. }
        )
    )
}
