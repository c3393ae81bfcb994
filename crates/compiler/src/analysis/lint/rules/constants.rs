//! Constants: work and random numbers that are the same in each call, gathers of known rows, results without a use.

use mlx::Op;

use crate::analysis::lint::cost::is_free;
use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Node, Operation, Value, extract_subgraph};

/// What is below this many bytes is no finding.
const SMALL: f64 = 4096.0;

/// Results that depend on no input and are computed in each call: the compiler stores small ones.
pub(super) fn constant_work(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for node in scope.nodes() {
        let output = node.outputs[0];
        if !scope.is_constant(output) || scope.bytes(output) < SMALL || is_made(node) {
            continue;
        }
        let is_last = is_read(scope, output);
        if !is_last {
            continue;
        }
        let weight = extract_subgraph(scope.graph, &[], &[output])
            .map_or(0.0, |part| crate::analysis::lint::cost::graph_weight(&part));
        if weight < SMALL {
            continue;
        }
        let (name, made) = (node.operation.name(), scope.type_text(output));
        let what = format!("{name} gives {made} of constants");
        found.push(Found::new(node.site, weight, what));
    }
    found
}

/// Whether something that depends on an input reads a value, perhaps in another shape.
fn is_read(scope: &Scope<'_>, value: Value) -> bool {
    let reads = |user: &Node| {
        let output = user.outputs[0];
        let is_view = user.operation.op().is_some_and(is_free);
        !scope.is_constant(output) || is_view && is_read(scope, output)
    };
    scope.is_output(value) || scope.users(value).any(reads)
}

/// Whether a node makes an array of nothing, which is cheap, or is a view.
fn is_made(node: &Node) -> bool {
    match &node.operation {
        Operation::Op(op) => {
            is_free(op)
                || matches!(
                    op,
                    Op::Zeros { .. }
                        | Op::Ones { .. }
                        | Op::Full { .. }
                        | Op::ZerosLike
                        | Op::OnesLike
                        | Op::FullLike { .. }
                        | Op::Arange { .. }
                        | Op::Eye { .. }
                        | Op::Custom(_)
                )
        }
        _ => false,
    }
}

/// Random numbers from a key that depends on no input.
pub(super) fn constant_key(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let is_draw = op.name().starts_with("random.") && !matches!(op, Op::RandomSplit { .. });
        let Some(key) = node.inputs.last().filter(|_| is_draw) else {
            continue;
        };
        if !scope.is_constant(*key) {
            continue;
        }
        let made = scope.type_text(node.outputs[0]);
        let what = format!("{} gives the same {made} in each call", op.name());
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

/// Rows one after the other, gathered by indices that are known.
pub(super) fn constant_gather(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (op, node) in scope.ops() {
        let (Op::Take { axis }, [from, indices]) = (op, node.inputs.as_slice()) else {
            continue;
        };
        let output = node.outputs[0];
        if scope.is_constant(*from) || scope.bytes(output) < SMALL || scope.ndim(*indices) != 1 {
            continue;
        }
        let Some(values) = scope.constant_values(*indices, 1 << 16) else {
            continue;
        };
        let follow = values.windows(2).all(|pair| pair[1] == pair[0] + 1.0);
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            continue;
        };
        if !follow || values.len() < 2 || *first < 0.0 {
            continue;
        }
        let what = format!(
            "take copies rows {first} to {last} of axis {axis} of {}",
            scope.type_text(*from)
        );
        found.push(Found::new(node.site, scope.weight(node), what));
    }
    found
}

/// Results that are computed and neither used nor returned. The compiler drops them; an eager call does not.
pub(super) fn dead_result(scope: &Scope<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let is_unused = |value: &Value| scope.consumers(*value).is_empty() && !scope.is_output(*value);
    for node in scope.nodes() {
        let is_dead = node.outputs.iter().all(is_unused) && !node.operation.communicates();
        let bytes: f64 = node.outputs.iter().map(|value| scope.bytes(*value)).sum();
        if !is_dead || bytes < SMALL || is_made(node) || scope.is_constant(node.outputs[0]) {
            continue;
        }
        let (name, made) = (node.operation.name(), scope.type_text(node.outputs[0]));
        let what = format!("nothing uses {made} of {name}");
        let mut dead = Found::new(node.site, scope.weight(node), what);
        dead.share = Some(0.0);
        found.push(dead);
    }
    found
}
