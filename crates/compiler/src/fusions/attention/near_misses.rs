//! What looks like attention and is not read as it: which operation stands in the way, and where.

use mlx::Op;

use crate::fusions::matcher::Look;
use crate::fusions::matcher::softmax::softmax_of;
use crate::fusions::{Refusal, RefusalKind};
use crate::graph::{Node, Value};

/// How many operations may stand between a product and the softmax of it.
const FAR: usize = 12;

/// Weights that come from a softmax of a product, but not as the kernel has them.
pub(super) fn weights(look: &Look<'_>, weights: Value) -> Option<Refusal> {
    let (softmax, passed) = find(look, weights, FAR, &|value| {
        softmax_of(look, value).is_some()
    })?;
    let x = softmax_of(look, softmax)?.x;
    find(look, x, FAR, &|value| is_product(look, value))?;
    // Sinks, as of gpt-oss: one more score, whose weight is dropped again.
    let drops = |node: &&Node| {
        matches!(
            node.operation.op(),
            Some(Op::Slice { .. } | Op::SplitSections { .. })
        )
    };
    if passed.iter().any(drops)
        && let Some((_, above)) = find(look, x, FAR, &|value| is_concatenation(look, value))
        && above.len() < FAR
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

/// Scores that come from a product, but not as the kernel has them.
pub(super) fn scores(look: &Look<'_>, scores: Value) -> Option<Refusal> {
    let (_, passed) = find(look, scores, FAR, &|value| is_product(look, value))?;
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

/// The first value found going up that `is` what is looked for, and the nodes on the way, the last applied first.
fn find<'g>(
    look: &Look<'g>,
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
        let Some(node) = look.graph.producer(value) else {
            continue;
        };
        // Other products, and reductions, are other formulas.
        let ends = is_product(look, value) || is_reduction(node);
        if passed.len() < far && !ends && !look.is_known(value) && seen.insert(value) {
            for input in &node.inputs {
                let mut passed = passed.clone();
                passed.push(node);
                open.push((*input, passed));
            }
        }
    }
    None
}

fn is_product(look: &Look<'_>, value: Value) -> bool {
    matches!(look.node(value), Some((Op::Matmul | Op::Einsum { .. }, _)))
}

fn is_concatenation(look: &Look<'_>, value: Value) -> bool {
    matches!(look.node(value), Some((Op::Concatenate { .. }, _)))
}

fn is_reduction(node: &Node) -> bool {
    matches!(
        node.operation.op(),
        Some(
            Op::Sum { .. } | Op::Mean { .. } | Op::Max { .. } | Op::Argmax { .. } | Op::Var { .. }
        )
    )
}

/// Whether attention may have such a step there.
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
