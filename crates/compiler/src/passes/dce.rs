//! Dead code elimination: nodes that no output depends on are dropped.

use super::{Context, map_subgraphs, undefined_value};
use crate::Result;
use crate::graph::{Graph, GraphRewriter};

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
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for (node, wanted) in graph.nodes.iter().zip(wanted) {
        if wanted {
            let mut node = node.clone();
            node.operation = map_subgraphs(&node.operation, context, run)?;
            rewriter
                .copy_node(&mut next, &node)
                .ok_or_else(|| undefined_value("dce"))?;
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("dce"))?;
    Ok(next)
}
