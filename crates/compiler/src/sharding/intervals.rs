//! Where a dimension is taken apart into sections, or put together of some.

use std::collections::HashMap;

use mlx::{Op, axis_index};

use super::rules::order_of;
use crate::graph::{Graph, Node, Operation, Value};

/// An interval of a dimension, and the value's dimension that it becomes.
pub(super) type Interval = ((usize, usize), (Value, usize));

/// A dimension of a value, and intervals of it.
type Intervals = ((Value, usize), Vec<Interval>);

/// Returns the size of a dimension.
pub(super) fn size_of(graph: &Graph, value: Value, dim: usize) -> usize {
    let size = graph.array_type(value).shape.get(dim);
    size.and_then(|size| usize::try_from(*size).ok())
        .unwrap_or(0)
}

/// The intervals that slices take of a dimension of a value.
pub(super) type Slices = HashMap<(Value, usize), Vec<Interval>>;

/// Returns all intervals that slices take of one value along one dimension.
pub(super) fn sibling_slices(graph: &Graph) -> Slices {
    let mut all = Slices::new();
    for node in &graph.nodes {
        if let Operation::Op(op @ Op::Slice { .. }) = &node.operation
            && !node.site.of_rank
            && let Some((whole, intervals)) = intervals(graph, node, op)
        {
            all.entry(whole).or_default().extend(intervals);
        }
    }
    all
}

/// Returns the dimension that an operation takes apart or puts together, with the intervals and what each becomes.
pub(super) fn intervals(graph: &Graph, node: &Node, op: &Op) -> Option<Intervals> {
    match op {
        Op::Slice {
            start,
            stop,
            strides,
        } => {
            let (from, to) = (node.inputs[0], node.outputs[0]);
            let ndim = start.len();
            let mut cut =
                (0..ndim).filter(|dim| size_of(graph, from, *dim) != size_of(graph, to, *dim));
            let (dim, None) = (cut.next()?, cut.next()) else {
                return None;
            };
            let bound = |bound: i32| usize::try_from(bound).ok();
            let interval = (bound(start[dim])?, bound(stop[dim])?);
            let is_plain = strides[dim] == 1
                && interval.1.checked_sub(interval.0) == Some(size_of(graph, to, dim));
            is_plain.then(|| ((from, dim), vec![(interval, (to, dim))]))
        }
        Op::Split { axis, .. } | Op::SplitSections { axis, .. } => {
            neighbours(graph, node.inputs[0], &node.outputs, *axis)
        }
        Op::Concatenate { axis } => neighbours(graph, node.outputs[0], &node.inputs, *axis),
        Op::Reshape { .. } | Op::Unflatten { .. } => {
            counted(graph, node.inputs[0], node.outputs[0])
        }
        _ => None,
    }
}

/// Parts that are the whole together, in their order.
fn neighbours(graph: &Graph, whole: Value, parts: &[Value], axis: i32) -> Option<Intervals> {
    let dim = axis_index(axis, graph.array_type(whole).shape.len())?;
    let mut start = 0;
    let mut all = Vec::new();
    for part in parts {
        let size = size_of(graph, *part, dim);
        all.push(((start, start + size), (*part, dim)));
        start += size;
    }
    (start == size_of(graph, whole, dim)).then_some(((whole, dim), all))
}

/// A dimension becomes a number of sections and their size, `[3 * heads]` for one `[3, heads]`, and those are taken apart.
fn counted(graph: &Graph, from: Value, to: Value) -> Option<Intervals> {
    let (old, new) = (&graph.array_type(from).shape, &graph.array_type(to).shape);
    let dim = old.iter().zip(new.iter()).position(|(a, b)| a != b)?;
    let (size, n) = (size_of(graph, from, dim), size_of(graph, to, dim));
    if n < 2 || size == 0 || !size.is_multiple_of(n) || size_of(graph, to, dim + 1) < 2 {
        return None;
    }
    // What is behind it in the new shape makes up the rest of the old dimension.
    let mut product = n;
    let mut behind = dim + 1;
    while product < size && behind < new.len() {
        product *= size_of(graph, to, behind);
        behind += 1;
    }
    let is_one = product == size && new[behind..] == old[dim + 1..];
    if !is_one || !is_taken_apart(graph, to, dim) {
        return None;
    }
    let each = size / n;
    let intervals = (0..n).map(|k| ((k * each, (k + 1) * each), (to, dim + 1)));
    Some(((from, dim), intervals.collect()))
}

/// Whether elements along a dimension go different ways.
fn is_taken_apart(graph: &Graph, value: Value, dim: usize) -> bool {
    let ndim = graph.array_type(value).shape.len();
    let is_it = |axis: &i32| axis_index(*axis, ndim) == Some(dim);
    let users = graph.nodes.iter();
    let mut users = users.filter(|node| node.inputs.first() == Some(&value));
    users.any(|node| match node.operation.op() {
        Some(Op::Slice { .. }) => size_of(graph, node.outputs[0], dim) < size_of(graph, value, dim),
        Some(
            Op::Split { axis, .. }
            | Op::SplitSections { axis, .. }
            | Op::Unstack { axis }
            | Op::Take { axis },
        ) => is_it(axis),
        Some(op) => order_of(op, ndim)
            .and_then(|order| order.iter().position(|from| *from == dim))
            .is_some_and(|to| is_taken_apart(graph, node.outputs[0], to)),
        None => false,
    })
}
