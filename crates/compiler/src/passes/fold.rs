//! Constant folding: what depends on no input is computed once, when the function is compiled.
//!
//! Large results are computed anew in each call, so that no copy of weights is stored. Views of them are taken anew too,
//! which costs nothing: programs read a stored array in row-major order, and would copy a view at each call.

use mlx::{Array, Op};

use super::{Context, undefined_value};
use crate::Result;
use crate::execute::Executor;
use crate::graph::{
    Constant, Graph, GraphRewriter, Literal, Operation, Value, ValueOrigin, element_count,
};

/// Results of at most this many bytes are stored.
const MAX_STORED_BYTES: usize = 1 << 20;

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let known = graph.constant_flags();
    let wanted = frontier(graph, &known);
    let values = compute(graph, &wanted)?;
    let mut is_wanted = vec![false; graph.values.len()];
    wanted.iter().for_each(|v| is_wanted[v.index()] = true);
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for (value, array) in wanted.iter().zip(values) {
        let constant = match Literal::read(&array)? {
            Some(literal) => Constant::Number(literal),
            None => Constant::Array(array),
        };
        let new = next.add_constant(graph.array_type(*value).clone(), constant);
        rewriter.map(*value, new);
    }
    for node in &graph.nodes {
        if node.outputs.iter().all(|v| is_wanted[v.index()]) {
            continue;
        }
        let mut node = node.clone();
        node.operation = super::map_subgraphs(&node.operation, context, run)?;
        // A node of which only some outputs were folded is copied; its other outputs are still wanted.
        let folded: Vec<(Value, Option<Value>)> = node
            .outputs
            .iter()
            .filter(|output| is_wanted[output.index()])
            .map(|output| (*output, rewriter.lookup(&mut next, *output)))
            .collect();
        rewriter
            .copy_node(&mut next, &node)
            .ok_or_else(|| undefined_value("fold"))?;
        for (old, new) in folded {
            if let Some(new) = new {
                rewriter.map(old, new);
            }
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("fold"))?;
    Ok(next)
}

/// Values that depend on no input, are worth storing, and are used by something that is not folded itself.
fn frontier(graph: &Graph, known: &[bool]) -> Vec<Value> {
    let mut holds = vec![false; graph.values.len()];
    for (value, source) in graph.values() {
        if let ValueOrigin::Node(id, _) = source {
            holds[value.index()] = known[value.index()] && is_worth_storing(graph, *id, value);
        }
    }
    let mut wanted = Vec::new();
    let mut seen = vec![false; graph.values.len()];
    let mut want = |value: Value| {
        if holds[value.index()] && !std::mem::replace(&mut seen[value.index()], true) {
            wanted.push(value);
        }
    };
    for node in &graph.nodes {
        if !node.outputs.iter().all(|output| holds[output.index()]) {
            node.inputs.iter().for_each(|input| want(*input));
        }
    }
    graph.outputs.iter().for_each(|output| want(*output));
    wanted
}

fn is_worth_storing(graph: &Graph, id: crate::graph::NodeId, value: Value) -> bool {
    let node = graph.node(id);
    let Operation::Op(op) = &node.operation else {
        return false;
    };
    let array_type = graph.array_type(value);
    let size = element_count(&array_type.shape);
    let is_constant = |input: &Value| graph.constant(*input).is_some();
    let is_view = matches!(op, Op::Transpose { .. }) && node.inputs.iter().all(is_constant);
    // A user's kernel may count its calls.
    !is_view && !matches!(op, Op::Custom(_)) && size * array_type.dtype.size() <= MAX_STORED_BYTES
}

fn compute(graph: &Graph, wanted: &[Value]) -> Result<Vec<Array>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let part = crate::graph::extract_subgraph(graph, &[], wanted)
        .ok_or_else(|| undefined_value("fold"))?;
    let values = mlx::compiler_api::without_recording(|| -> Result<Vec<Array>> {
        let values = Executor::new(part)?.run(&[])?;
        let values: Vec<Array> = values.iter().map(Array::contiguous).collect();
        mlx::eval(&values)?;
        Ok(values)
    })?;
    Ok(values)
}
