//! A graph on inputs of other sizes than it was traced with: attributes that follow from sizes, and comparisons of sizes.

use std::cell::RefCell;

use mlx::compiler_api::type_of;
use mlx::{Array, Op};

use crate::graph::{Graph, SizeTerm, Value};

thread_local! {
    /// What a comparison was that came out in another way than in the trace. A run may be inside of a transform of MLX's, through
    /// which no error comes as itself.
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Returns the comparison because of which a run of this thread failed, and forgets it.
pub(crate) fn take_failure() -> Option<String> {
    FAILURE.take()
}

/// Fails where a comparison that was made before a node comes out in another way.
pub(super) fn check(graph: &Graph, node: usize, values: &[Option<Array>]) -> mlx::Result<()> {
    let guards = &graph.sizes.guards;
    let first = guards.partition_point(|guard| guard.before < node);
    let here = guards[first..].iter();
    for guard in here.take_while(|guard| guard.before == node) {
        if guard.holds(&|value, axis| size(values, value, axis)) != Some(true) {
            let (file, line) = (guard.at.file(), guard.at.line());
            let text = format!("a comparison of sizes at {file}:{line} comes out in another way");
            FAILURE.replace(Some(text.clone()));
            return Err(mlx::Error::op(graph.name(), text));
        }
    }
    Ok(())
}

/// Gives an operation the attributes that follow from the sizes at hand.
pub(super) fn resize(
    graph: &Graph,
    node: usize,
    values: &[Option<Array>],
    op: &mut Op,
) -> mlx::Result<()> {
    let Some(terms) = graph.sizes.attributes.get(&node) else {
        return Ok(());
    };
    let number = |(place, term): &(usize, SizeTerm)| {
        let number = term.number(&|value, axis| size(values, value, axis))?;
        Some((*place, number))
    };
    let sizes: Option<Vec<(usize, i64)>> = terms.iter().map(number).collect();
    if sizes.is_some_and(|sizes| op.set_sizes(sizes)) {
        return Ok(());
    }
    let text = "wanted attributes that follow from sizes, got others: a bug";
    Err(mlx::Error::op(op.name(), text))
}

/// Keeps values until their sizes have been asked for.
pub(super) fn extend_last_uses(graph: &Graph, last: &mut [Option<usize>]) {
    let facts = &graph.sizes;
    let mut use_at = |term: &SizeTerm, node: usize| {
        term.visit(&mut |value| {
            let last = &mut last[value.index()];
            *last = Some(last.map_or(node, |last| last.max(node)));
        });
    };
    for (node, terms) in &facts.attributes {
        terms.iter().for_each(|(_, term)| use_at(term, *node));
    }
    for guard in &facts.guards {
        use_at(&guard.left, guard.before);
        use_at(&guard.right, guard.before);
    }
    // What is asked for after the last node is never dropped.
    for last in last.iter_mut() {
        *last = last.filter(|node| *node < graph.nodes.len());
    }
}

fn size(values: &[Option<Array>], value: Value, axis: usize) -> Option<i64> {
    let array = values.get(value.index())?.as_ref()?;
    let shape = type_of(array).ok()?.shape;
    shape.get(axis).copied().map(i64::from)
}
