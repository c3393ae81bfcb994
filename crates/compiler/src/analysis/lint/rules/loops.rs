//! Loops: work that does not belong into one, and loops that should be one.

use std::collections::{BTreeMap, HashSet};

use crate::analysis::lint::cost::is_free;
use crate::analysis::lint::scope::{Found, Scope};
use crate::graph::{Node, Operation, SourceLocation, Value};

/// Work of a loop below this many bytes in a round is no finding.
const SMALL: f64 = 16_384.0;

/// Products with one weight in a chain from which on they are a loop.
const STEPS: usize = 16;

/// A product of a step that is larger than this gains nothing by being in a loop.
const LARGE_STEP: f64 = 4_194_304.0;

/// Work in the body of a loop that depends on neither the round nor the state.
pub(super) fn loop_invariant(scope: &Scope<'_>) -> Vec<Found> {
    let n_varying = match scope.around.map(|node| &node.operation) {
        Some(Operation::Scan {
            n_carry,
            n_sequences,
            ..
        }) => n_carry + n_sequences,
        Some(Operation::While { n_state, .. }) => *n_state,
        _ => return Vec::new(),
    };
    let mut varies = vec![false; scope.graph.values().count()];
    for input in scope.graph.inputs().iter().take(n_varying) {
        varies[input.index()] = true;
    }
    let mut found = Vec::new();
    for node in scope.nodes() {
        let any = node.inputs.iter().any(|input| varies[input.index()]);
        for output in &node.outputs {
            varies[output.index()] = any || node.operation.communicates();
        }
    }
    for node in scope.nodes() {
        let is_view = node.operation.op().is_some_and(is_free);
        let is_constant = scope.is_constant(node.outputs[0]);
        let weight = scope.weight(node);
        if varies[node.outputs[0].index()] || is_view || is_constant || weight < SMALL {
            continue;
        }
        let (name, made) = (node.operation.name(), scope.type_text(node.outputs[0]));
        let what = format!("{name} gives the same {made} in each round");
        found.push(Found::new(node.site, weight, what));
    }
    found
}

/// Small products with one weight, each of what the one before gave: a loop over steps of a sequence.
pub(super) fn unrolled_loop(scope: &Scope<'_>) -> Vec<Found> {
    let mut sites: BTreeMap<(String, Value), Vec<&Node>> = BTreeMap::new();
    for node in scope.nodes() {
        let is_product = match &node.operation {
            Operation::Op(op) => Scope::is_product(op),
            Operation::Fused(fused) => fused.fusion == crate::Fusion::Linear,
            _ => false,
        };
        if !is_product || node.inputs.len() < 2 || scope.weight(node) > LARGE_STEP {
            continue;
        }
        let weight = scope.strip_views(node.inputs[1]);
        if scope.is_constant(weight) || scope.input_of(weight).is_some() {
            let key = (site_text(node.site), weight);
            sites.entry(key).or_default().push(node);
        }
    }
    let mut found = Vec::new();
    let mut told = HashSet::new();
    for ((site, weight), nodes) in sites {
        let follows = |pair: &[&Node]| scope.depends(pair[1].inputs[0], pair[0].outputs[0]);
        if nodes.len() < STEPS || !nodes.windows(2).all(follows) || !told.insert(site) {
            continue;
        }
        let (n, made) = (nodes.len(), scope.type_text(nodes[0].outputs[0]));
        let what = format!(
            "{n} products one after the other give {made} with one weight, {}",
            scope.type_text(weight)
        );
        let moved = nodes.iter().map(|node| scope.weight(node)).sum();
        found.push(Found::new(nodes[0].site, moved, what));
    }
    found
}

/// The place of a node, which is one for all rounds of a loop.
fn site_text(site: SourceLocation) -> String {
    site.at.map_or_else(String::new, ToString::to_string)
}
