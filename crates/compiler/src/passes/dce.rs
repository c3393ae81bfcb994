//! Dead code: nodes that no output depends on go.

use super::{Context, inside, undefined};
use crate::Result;
use crate::graph::{Graph, Transplant};

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let mut alive = vec![false; graph.values.len()];
    for output in &graph.outputs {
        alive[output.index()] = true;
    }
    let mut wanted = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if node.outputs.iter().any(|output| alive[output.index()]) {
            wanted[index] = true;
            for input in &node.inputs {
                alive[input.index()] = true;
            }
        }
    }
    let mut next = Graph::new(&graph.name);
    let mut copy = Transplant::new(graph);
    copy.inputs(&mut next);
    for (node, wanted) in graph.nodes.iter().zip(wanted) {
        if wanted {
            let mut node = node.clone();
            node.operation = inside(&node.operation, context, run)?;
            copy.node(&mut next, &node)
                .ok_or_else(|| undefined("dce"))?;
        }
    }
    copy.outputs(&mut next).ok_or_else(|| undefined("dce"))?;
    Ok(next)
}
