//! All ranks of a mesh in one process: their graphs node by node in lockstep, with collectives computed among them.

use mlx::Op;
use mlx_compiler::graph::{Graph, Node, Operation};
use mlx_compiler::sharding::{Mesh, ShardedGraph};
use mlx_compiler::{Error, Result};

use crate::convert::array_constants;
use crate::evaluator::{Interpreter, PreparedGraph, check, get, set};
use crate::number::{Number, Rounding};
use crate::ranks_inside::run_inside;
use crate::tensor::Tensor;

/// Runs the graphs of all ranks on their parts of the inputs; `parts[rank]` are those of a rank.
///
/// Returns the outputs of each rank. Gradients of functions that communicate are measured with all ranks at once: what ranks
/// have alike is moved on all of them.
///
/// # Errors
/// When ranks do not communicate the same, or as [`interpret`](crate::interpret).
pub fn interpret_ranks(sharded: &ShardedGraph, parts: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>> {
    let n = sharded.mesh().size();
    let graphs = (0..n)
        .map(|rank| sharded.rank_graph(rank))
        .collect::<Result<Vec<_>>>()?;
    run_ranks(sharded.mesh(), &graphs, parts)
}

/// Runs graphs that ranks have, whether [`ShardedGraph`] made them or not.
pub fn run_ranks(mesh: &Mesh, graphs: &[Graph], parts: &[Vec<Tensor>]) -> Result<Vec<Vec<Tensor>>> {
    let constants = graphs
        .iter()
        .map(array_constants)
        .collect::<Result<Vec<_>>>()?;
    let mut prepared = Vec::new();
    for (graph, constants) in graphs.iter().zip(&constants) {
        prepared.push(PreparedGraph::new(graph, &mut constants.iter())?);
    }
    let inputs: Vec<Vec<&Tensor>> = parts.iter().map(|part| part.iter().collect()).collect();
    run_all(mesh, &prepared.iter().collect::<Vec<_>>(), &inputs)
}

/// Runs a graph of each rank, node by node in lockstep.
pub(crate) fn run_all(
    mesh: &Mesh,
    graphs: &[&PreparedGraph<'_>],
    inputs: &[Vec<&Tensor>],
) -> Result<Vec<Vec<Tensor>>> {
    let mut ranks = Vec::new();
    for (&prepared, inputs) in graphs.iter().zip(inputs) {
        let graph = prepared.graph;
        if inputs.len() != graph.inputs().len() {
            return Err(differs(0, "another number of inputs"));
        }
        let mut values = prepared.constants.clone();
        for (value, input) in graph.inputs().iter().zip(inputs) {
            check(graph, *value, input)?;
            set(&mut values, *value, (*input).clone());
        }
        ranks.push(Rank { prepared, values });
    }
    let n_nodes = graphs.first().map_or(0, |one| one.graph.nodes().len());
    for index in 0..n_nodes {
        step(mesh, &mut ranks, index)?;
    }
    ranks
        .iter()
        .map(|rank| {
            let outputs = rank.prepared.graph.outputs().iter();
            outputs
                .map(|value| get(&rank.values, *value).cloned())
                .collect()
        })
        .collect()
}

struct Rank<'g, 'p> {
    prepared: &'p PreparedGraph<'g>,
    values: Vec<Option<Tensor>>,
}

impl Rank<'_, '_> {
    fn node(&self, index: usize) -> Result<&Node> {
        let node = self.prepared.graph.nodes().get(index);
        node.ok_or_else(|| differs(index, "no node"))
    }

    fn inputs(&self, index: usize) -> Result<Vec<&Tensor>> {
        let inputs = self.node(index)?.inputs.iter();
        inputs.map(|value| get(&self.values, *value)).collect()
    }
}

pub(crate) fn differs(index: usize, got: &str) -> Error {
    Error::Unsupported(format!(
        "interpret_ranks: wanted the same operation on all ranks at node {index}, got {got}"
    ))
}

/// Computes one node on all ranks.
fn step(mesh: &Mesh, ranks: &mut [Rank<'_, '_>], index: usize) -> Result<()> {
    let name = ranks[0].node(index)?.operation.name().to_owned();
    for one in ranks.iter() {
        let operation = &one.node(index)?.operation;
        if operation.name() != name {
            return Err(differs(index, operation.name()));
        }
    }
    let results = if communicates_inside(&ranks[0].node(index)?.operation) {
        let graphs: Vec<&[PreparedGraph<'_>]> = ranks
            .iter()
            .map(|one| &one.prepared.inner[index][..])
            .collect();
        let inputs = ranks.iter().map(|one| one.inputs(index));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let operation = &ranks[0].node(index)?.operation;
        run_inside(mesh, operation, &graphs, &inputs)?
    } else {
        let all = 0..ranks.len();
        all.map(|rank| one_rank(mesh, ranks, index, rank))
            .collect::<Result<_>>()?
    };
    for (one, results) in ranks.iter_mut().zip(results) {
        let outputs = one.node(index)?.outputs.clone();
        for (value, result) in outputs.into_iter().zip(results) {
            check(one.prepared.graph, value, &result)?;
            set(&mut one.values, value, result);
        }
    }
    Ok(())
}

/// Computes one node on one rank, with what the others have if it communicates.
fn one_rank(mesh: &Mesh, ranks: &[Rank<'_, '_>], index: usize, rank: usize) -> Result<Vec<Tensor>> {
    let one = &ranks[rank];
    let node = one.node(index)?;
    match group_of(&node.operation) {
        Some(group) => Ok(vec![communicated(mesh, ranks, index, rank, group)?]),
        None => {
            let inner = &one.prepared.inner[index];
            let inputs = one.inputs(index)?;
            Interpreter::default().run_node(one.prepared.graph, node, inner, &inputs)
        }
    }
}

/// Whether graphs in an operation communicate.
fn communicates_inside(operation: &Operation) -> bool {
    let graphs = operation.graphs();
    graphs.iter().any(|(_, graph)| {
        graph
            .nodes()
            .iter()
            .any(|node| group_of(&node.operation).is_some() || communicates_inside(&node.operation))
    })
}

/// The group that an operation communicates in.
fn group_of(operation: &Operation) -> Option<String> {
    match operation.op()? {
        Op::AllSum { group }
        | Op::AllMax { group }
        | Op::AllMin { group }
        | Op::AllGather { group }
        | Op::SumScatter { group } => Some(group.to_string()),
        _ => None,
    }
}

/// What one rank gets of a communication with those along an axis of the mesh.
fn communicated(
    mesh: &Mesh,
    ranks: &[Rank<'_, '_>],
    index: usize,
    rank: usize,
    group: String,
) -> Result<Tensor> {
    let axis = mesh.axes().iter().position(|axis| axis.group == group);
    let axis = axis.ok_or_else(|| {
        differs(
            index,
            &format!("the group {group:?}, which the mesh does not have"),
        )
    })?;
    let peers = mesh.peers(rank, axis);
    let mut parts: Vec<&Tensor> = Vec::new();
    for peer in &peers {
        let part = ranks[*peer].inputs(index)?[0];
        if parts
            .first()
            .is_some_and(|first| first.array_type() != part.array_type())
        {
            return Err(differs(index, &format!("an array {}", part.array_type())));
        }
        parts.push(part);
    }
    let own = peers.iter().position(|peer| *peer == rank).unwrap_or(0);
    let mut shape = parts[0].shape().to_vec();
    let first = shape.first().copied().unwrap_or(1);
    let numbers = match ranks[rank].node(index)?.operation.op() {
        Some(Op::AllGather { .. }) => {
            match shape.first_mut() {
                Some(size) => *size *= parts.len(),
                None => shape = vec![parts.len()],
            }
            parts
                .iter()
                .flat_map(|part| part.numbers().to_vec())
                .collect()
        }
        Some(Op::SumScatter { .. }) => {
            shape[0] = first / parts.len();
            let size: usize = shape.iter().product();
            reduced(&parts, add)[own * size..(own + 1) * size].to_vec()
        }
        Some(Op::AllMax { .. }) => {
            reduced(&parts, |a, b| if b.to_f64() > a.to_f64() { b } else { a })
        }
        Some(Op::AllMin { .. }) => {
            reduced(&parts, |a, b| if b.to_f64() < a.to_f64() { b } else { a })
        }
        _ => reduced(&parts, add),
    };
    Tensor::rounded(&shape, parts[0].dtype(), numbers, Rounding::Exact)
}

/// Combines the elements of all parts.
fn reduced(parts: &[&Tensor], combine: impl Fn(Number, Number) -> Number) -> Vec<Number> {
    let mut all = parts[0].numbers().to_vec();
    for part in &parts[1..] {
        for (sum, number) in all.iter_mut().zip(part.numbers()) {
            *sum = combine(*sum, *number);
        }
    }
    all
}

/// Integers wrap, as MLX's do.
fn add(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Number::Int(a.wrapping_add(b)),
        (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(a.wrapping_add(b)),
        (Number::Complex(a, b), Number::Complex(c, d)) => Number::Complex(a + c, b + d),
        (a, b) => Number::Float(a.to_f64() + b.to_f64()),
    }
}
