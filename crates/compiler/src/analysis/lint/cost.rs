//! What nodes cost, estimated from shapes: bytes that are read and written, and arithmetic as bytes.

use mlx::Op;
use mlx::compiler_api::OpFlags;

use crate::graph::{Graph, Node, Operation, Value, element_count};

/// Arithmetic operations of a product that take as long as moving one byte, about what processors and GPUs have.
const OPERATIONS_PER_BYTE: f64 = 16.0;

/// Returns the bytes of a value.
#[allow(clippy::cast_precision_loss)]
pub(super) fn value_bytes(graph: &Graph, value: Value) -> f64 {
    let array_type = graph.array_type(value);
    (element_count(&array_type.shape) * array_type.dtype.size()) as f64
}

/// Returns the bytes that a graph reads and writes, arithmetic included.
pub(crate) fn graph_weight(graph: &Graph) -> f64 {
    graph
        .nodes()
        .iter()
        .map(|node| node_weight(graph, node))
        .sum()
}

/// Returns the bytes that a node reads and writes, or those that take as long as its arithmetic if they are more.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn node_weight(graph: &Graph, node: &Node) -> f64 {
    let moved = || {
        let values = node.inputs.iter().chain(&node.outputs);
        values.map(|value| value_bytes(graph, *value)).sum::<f64>()
    };
    match &node.operation {
        Operation::Op(op) if is_free(op) => 0.0,
        // What is read is as large as what comes out.
        Operation::Op(Op::Take { .. } | Op::TakeAlongAxis { .. } | Op::SliceDynamic { .. }) => {
            2.0 * value_bytes(graph, node.outputs[0])
        }
        Operation::Op(_) => moved().max(arithmetic(graph, node) / OPERATIONS_PER_BYTE),
        Operation::Fused(fused) => {
            let body = fused.body.nodes().iter();
            let arithmetic: f64 = body.map(|node| arithmetic(&fused.body, node)).sum();
            moved().max(arithmetic / OPERATIONS_PER_BYTE)
        }
        Operation::FusedGroup(_) => moved(),
        Operation::Scan { body, length, .. } => graph_weight(body) * *length as f64,
        Operation::Transform { functions, .. } => {
            // Forward, and about twice as much backward.
            3.0 * functions.first().map_or(0.0, |one| graph_weight(one))
        }
        operation => operation
            .graphs()
            .iter()
            .map(|(_, inner)| graph_weight(inner))
            .sum(),
    }
}

/// Returns the bytes that a node reads and writes, and the additions and multiplications of its products.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn node_work(graph: &Graph, node: &Node) -> (f64, f64) {
    let all = |graph: &Graph| {
        let work = graph.nodes().iter().map(|node| node_work(graph, node));
        work.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let values = node.inputs.iter().chain(&node.outputs);
    let moved: f64 = values.map(|value| value_bytes(graph, *value)).sum();
    match &node.operation {
        Operation::Op(op) if is_free(op) => (0.0, 0.0),
        Operation::Op(Op::Take { .. } | Op::TakeAlongAxis { .. } | Op::SliceDynamic { .. }) => {
            (2.0 * value_bytes(graph, node.outputs[0]), 0.0)
        }
        // Writes the update alone, where it may.
        Operation::Op(Op::SliceUpdate { .. } | Op::SliceUpdateDynamic { .. }) => {
            (2.0 * value_bytes(graph, node.inputs[1]), 0.0)
        }
        Operation::Op(_) => (moved, arithmetic(graph, node)),
        Operation::Fused(fused) => (moved, all(&fused.body).1),
        Operation::FusedGroup(body) => (moved, all(body).1),
        Operation::Scan { body, length, .. } => {
            let (bytes, operations) = all(body);
            (bytes * *length as f64, operations * *length as f64)
        }
        operation => operation
            .graphs()
            .iter()
            .fold((0.0, 0.0), |sum, (_, graph)| {
                let one = all(graph);
                (sum.0 + one.0, sum.1 + one.1)
            }),
    }
}

/// Whether an operation only gives an array another shape.
pub(super) fn is_free(op: &Op) -> bool {
    op.flags().contains(OpFlags::SHARES_MEMORY)
        || matches!(op, Op::StopGradient)
        || op.flags().contains(OpFlags::KEEPS_ORDER)
}

/// Returns the additions and multiplications of a product.
#[allow(clippy::cast_precision_loss)]
fn arithmetic(graph: &Graph, node: &Node) -> f64 {
    let Operation::Op(op) = &node.operation else {
        return 0.0;
    };
    let shape = |place: usize| -> &[i32] {
        let value = node.inputs.get(place);
        value.map_or(&[], |value| &graph.array_type(*value).shape)
    };
    let summed = match op {
        Op::Conv { .. } => element_count(shape(1).get(1..).unwrap_or_default()),
        Op::Addmm { .. } => shape(1).last().map_or(1, |n| element_count(&[*n])),
        Op::ScaledDotProductAttention { .. } => {
            // Scores and their sum over the values: twice the queries by the keys by the size of a head.
            let keys = shape(1).iter().rev().nth(1);
            2 * keys.map_or(1, |n| element_count(&[*n]))
        }
        Op::Linear => shape(0).last().map_or(1, |n| element_count(&[*n])),
        op if op.flags().contains(OpFlags::CONTRACTION) => {
            shape(0).last().map_or(1, |n| element_count(&[*n]))
        }
        _ => return 0.0,
    };
    let output = &graph.array_type(node.outputs[0]).shape;
    2.0 * element_count(output) as f64 * summed as f64
}
