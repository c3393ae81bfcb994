//! Which dimensions of a graph's values are cut alike: what an operation computes by parts ties those of its inputs and
//! outputs together, also through the graphs inside.

use std::cell::Cell;
use std::collections::HashMap;

use mlx::transforms::Transform;
use mlx::{Op, axis_index};

use super::classes::{ClassId, Classes};
use super::intervals::{Interval, Slices, intervals, sibling_slices, size_of};
use super::layout::DimLayout;
use super::rules::{Rule, rule};
use super::strategy::{Sharded, Sharding, Site, Strategy};
use crate::graph::{Graph, Node, Operation, Value};

/// A dimension of a value of a graph, which may be one inside of a node.
type Key = (*const Graph, Value, usize);

/// The classes of all dimensions of a graph, along one axis of the mesh.
pub(super) struct Dimensions {
    classes: Classes,
    ids: HashMap<Key, ClassId>,
    pub(super) ranks: usize,
    pub(super) uneven: bool,
    /// Whether a value has been cut into parts of different sizes.
    pub(super) has_uneven: Cell<bool>,
}

impl Dimensions {
    /// Reads a graph. Only without `uneven` do all ranks have parts of one size.
    pub(super) fn of(graph: &Graph, ranks: usize, uneven: bool) -> Self {
        let mut dimensions = Self {
            classes: Classes::new(ranks, uneven),
            ids: HashMap::new(),
            ranks,
            uneven,
            has_uneven: Cell::new(false),
        };
        if ranks > 1 {
            dimensions.graph(graph);
        }
        dimensions
    }

    /// Returns whether a dimension of a value can be distributed.
    pub(super) fn is_distributed(&self, graph: &Graph, value: Value, dim: usize) -> bool {
        let id = self.ids.get(&(std::ptr::from_ref(graph), value, dim));
        id.is_some_and(|id| self.classes.is_distributed(*id))
    }

    /// Returns how a dimension of a value is cut.
    pub(super) fn layout(&self, graph: &Graph, value: Value, dim: usize) -> DimLayout {
        let id = self.ids.get(&(std::ptr::from_ref(graph), value, dim));
        let size = size_of(graph, value, dim);
        id.map_or_else(DimLayout::default, |id| self.classes.layout(*id, size))
    }

    /// Returns whether two dimensions are cut alike.
    pub(super) fn are_alike(&self, a: (&Graph, Value, usize), b: (&Graph, Value, usize)) -> bool {
        let id = |(graph, value, dim): (&Graph, Value, usize)| {
            let id = self.ids.get(&(std::ptr::from_ref(graph), value, dim));
            id.map(|id| self.classes.root(*id))
        };
        id(a).is_some() && id(a) == id(b)
    }

    /// Returns the first element and the number of those that a rank has of an interval of a dimension, in its part of the
    /// dimension; none if the interval is no section, or is not cut as what it becomes.
    pub(super) fn local_interval(
        &self,
        graph: &Graph,
        (value, dim): (Value, usize),
        (interval, becomes): Interval,
        rank: usize,
    ) -> Option<(usize, usize)> {
        let of = |value: Value, dim: usize| self.ids.get(&(std::ptr::from_ref(graph), value, dim));
        let (id, size) = (*of(value, dim)?, size_of(graph, value, dim));
        let section = self.classes.section(id, size, interval)?;
        let other = *of(becomes.0, becomes.1)?;
        if self.classes.root(section) != self.classes.root(other) {
            return None;
        }
        let place = self.classes.place_of_section(id, size, interval)?;
        let layouts = self.classes.layouts(id, size);
        let sizes = layouts.iter().map(|one| one.size(rank, self.ranks));
        let sizes: Vec<usize> = sizes.collect();
        Some((sizes[..place].iter().sum(), sizes[place]))
    }

    /// Returns whether all dimensions along which a way splits values are cut alike.
    pub(super) fn allow(&self, graph: &Graph, node: &Node, way: &Strategy) -> bool {
        let all: Vec<(Value, usize)> = split_dims(node, way).collect();
        let distributed = |(value, dim): &(Value, usize)| self.is_distributed(graph, *value, *dim);
        let alike = |(value, dim): &(Value, usize)| {
            self.are_alike((graph, all[0].0, all[0].1), (graph, *value, *dim))
        };
        all.iter().all(distributed) && all.iter().all(alike)
    }

    fn id(&mut self, graph: &Graph, value: Value, dim: usize) -> ClassId {
        let size = size_of(graph, value, dim);
        let classes = &mut self.classes;
        let key = (std::ptr::from_ref(graph), value, dim);
        *self.ids.entry(key).or_insert_with(|| classes.add(size))
    }

    fn graph(&mut self, graph: &Graph) {
        for (value, _) in graph.values() {
            for dim in 0..graph.array_type(value).shape.len() {
                self.id(graph, value, dim);
            }
        }
        let slices = sibling_slices(graph);
        for node in &graph.nodes {
            match &node.operation {
                Operation::Op(op) => {
                    self.sections(graph, node, op, &slices);
                    self.ways(graph, node, op);
                }
                operation => {
                    for (_, inner) in operation.graphs() {
                        self.graph(inner);
                    }
                    self.through(graph, node);
                }
            }
        }
    }

    /// Ties what a way splits together.
    fn ways(&mut self, graph: &Graph, node: &Node, op: &Op) {
        let Rule::Ways(list) = rule(op) else { return };
        for way in list(&Site::whole(graph, node, op, self.ranks, self.uneven)) {
            let all: Vec<(Value, usize)> = split_dims(node, &way).collect();
            let Some(((value, dim), others)) = all.split_first() else {
                continue;
            };
            let first = self.id(graph, *value, *dim);
            for (value, dim) in others {
                let other = self.id(graph, *value, *dim);
                self.classes.unify(first, other);
            }
        }
    }

    /// Cuts a dimension into sections where parts of it are taken, or put together.
    fn sections(&mut self, graph: &Graph, node: &Node, op: &Op, slices: &Slices) {
        // What ranks of another axis of the mesh take is another interval on each: all must cut alike.
        if node.site.of_rank && matches!(op, Op::Slice { .. }) {
            return;
        }
        let Some(((value, dim), mut intervals)) = intervals(graph, node, op) else {
            return;
        };
        let own = intervals.clone();
        if let Some(siblings) = slices.get(&(value, dim)) {
            intervals.clone_from(siblings);
        }
        let (id, size) = (self.id(graph, value, dim), size_of(graph, value, dim));
        let bounds: Vec<(usize, usize)> = intervals.iter().map(|(interval, _)| *interval).collect();
        if self.classes.cut(id, size, &bounds).is_none() {
            return;
        }
        for (interval, (value, dim)) in own {
            let other = self.id(graph, value, dim);
            if let Some(section) = self.classes.section(id, size, interval) {
                self.classes.unify(section, other);
            }
        }
    }

    /// Ties inputs and outputs of a node to those of the graphs in it.
    fn through(&mut self, graph: &Graph, node: &Node) {
        let mapped = mapped(node);
        for (value, dim) in mapped.iter().skip(1) {
            let first = self.id(graph, mapped[0].0, mapped[0].1);
            let other = self.id(graph, *value, *dim);
            self.classes.unify(first, other);
        }
        for (outside, passed, inside, inner) in ties(node) {
            let (a, b) = (graph.array_type(outside), inner.array_type(inside));
            for dim in 0..b.shape.len() {
                let outer_dim = passed.dim_outside(dim);
                if a.shape.get(outer_dim) == b.shape.get(dim) {
                    let a = self.id(graph, outside, outer_dim);
                    let b = self.id(inner, inside, dim);
                    self.classes.unify(a, b);
                }
            }
        }
    }
}

/// How the dimensions of a value outside of a node are those of one in a graph of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// As they are.
    Whole,
    /// One dimension is taken away: graphs get one element along it after the other, or all at once.
    Along(usize),
}

impl Passed {
    pub(super) fn dim_outside(self, dim: usize) -> usize {
        match self {
            Self::Along(along) if dim >= along => dim + 1,
            _ => dim,
        }
    }

    pub(super) fn dim_inside(self, dim: usize) -> Option<usize> {
        match self {
            Self::Whole => Some(dim),
            Self::Along(along) if dim == along => None,
            Self::Along(along) => Some(dim - usize::from(dim > along)),
        }
    }
}

/// A value outside of a node, how it gets in or out, and the value of a graph in the node that it is.
type Tie<'a> = (Value, Passed, Value, &'a Graph);

/// Returns the values outside and inside of a node that are the same, but for an axis.
fn ties(node: &Node) -> Vec<Tie<'_>> {
    let mut all = Vec::new();
    let operation = &node.operation;
    let is_while = matches!(operation, Operation::While { .. });
    for (place, (_, inner)) in operation.graphs().into_iter().enumerate() {
        // The other functions of a transform are rules, which the pass does not look into.
        if place > 0 && matches!(operation, Operation::Transform { .. }) {
            break;
        }
        let pairs = arguments(node).into_iter().zip(&inner.inputs).enumerate();
        for (at, (outside, inside)) in pairs {
            all.push((outside, input_passed(operation, at), *inside, inner));
        }
        if is_while && place == 0 {
            continue;
        }
        for (at, (outside, inside)) in node.outputs.iter().zip(&inner.outputs).enumerate() {
            all.push((*outside, output_passed(operation, at), *inside, inner));
        }
        // The state that goes round.
        let state = node.inputs.iter().take(n_carried(operation));
        for (outside, inside) in state.zip(&inner.outputs) {
            all.push((*outside, Passed::Whole, *inside, inner));
        }
        for (of, gradient) in derivatives(node) {
            if let Some(inside) = inner.inputs.get(of) {
                all.push((gradient, Passed::Whole, *inside, inner));
            }
        }
    }
    all
}

/// The inputs of a node that the graphs in it get.
pub(super) fn arguments(node: &Node) -> Vec<Value> {
    let inputs = &node.inputs;
    match &node.operation {
        Operation::Cond { .. } => inputs[1..].to_vec(),
        Operation::Transform {
            transform: Transform::Vjp { .. } | Transform::Jvp,
            functions,
            n_captures,
        } => {
            let n_inside = functions.first().map_or(0, |one| one.inputs.len());
            let n_primals = n_inside.saturating_sub(*n_captures).min(inputs.len());
            let captures = inputs.len().saturating_sub(*n_captures);
            [&inputs[..n_primals], &inputs[captures..]].concat()
        }
        _ => inputs.clone(),
    }
}

/// The number of arrays that a loop carries.
pub(super) fn n_carried(operation: &Operation) -> usize {
    match operation {
        Operation::While { n_state, .. } => *n_state,
        Operation::Scan { n_carry, .. } => *n_carry,
        _ => 0,
    }
}

/// Gradients that a node gives and tangents that it takes, each with the place of the argument that it is of.
pub(super) fn derivatives(node: &Node) -> Vec<(usize, Value)> {
    let Operation::Transform {
        transform,
        functions,
        n_captures,
    } = &node.operation
    else {
        return Vec::new();
    };
    let n_outputs = functions.first().map_or(0, |one| one.outputs.len());
    let given = node.outputs.iter().copied().skip(n_outputs);
    match transform {
        Transform::ValueAndGrad { argnums } => argnums.iter().copied().zip(given).collect(),
        Transform::Vjp { .. } => given.enumerate().collect(),
        Transform::Jvp => {
            let n = node.inputs.len().saturating_sub(*n_captures) / 2;
            let tangents = node.inputs.iter().copied().skip(n).take(n);
            tangents.enumerate().collect()
        }
        _ => Vec::new(),
    }
}

/// How an argument gets into the graphs of a node.
pub(super) fn input_passed(operation: &Operation, at: usize) -> Passed {
    match operation {
        Operation::Scan {
            n_carry,
            n_sequences,
            ..
        } if (*n_carry..n_carry + n_sequences).contains(&at) => Passed::Along(0),
        Operation::Transform {
            transform: Transform::Vmap { in_axes, .. },
            functions,
            ..
        } => match (in_axes.get(at), functions.first()) {
            (Some(Some(axis)), Some(inner)) => {
                let inside = inner.inputs.get(at);
                inside.map_or(Passed::Whole, |value| along(inner, *value, *axis))
            }
            _ => Passed::Whole,
        },
        _ => Passed::Whole,
    }
}

/// How an output of a graph in a node gets out.
pub(super) fn output_passed(operation: &Operation, at: usize) -> Passed {
    match operation {
        Operation::Scan { n_carry, .. } if at >= *n_carry => Passed::Along(0),
        Operation::Transform {
            transform: Transform::Vmap { out_axes, .. },
            functions,
            ..
        } => {
            let axis = out_axes.get(at).or(out_axes.first());
            let inner = functions.first();
            match (
                axis,
                inner.and_then(|inner| Some((inner, inner.outputs.get(at)?))),
            ) {
                (Some(axis), Some((inner, value))) => along(inner, *value, *axis),
                _ => Passed::Whole,
            }
        }
        _ => Passed::Whole,
    }
}

/// The axes that a `vmap` goes along, of its inputs and outputs.
pub(super) fn mapped(node: &Node) -> Vec<(Value, usize)> {
    let Operation::Transform {
        transform: Transform::Vmap { .. },
        ..
    } = &node.operation
    else {
        return Vec::new();
    };
    let of = |(value, passed): (&Value, Passed)| match passed {
        Passed::Along(axis) => Some((*value, axis)),
        Passed::Whole => None,
    };
    let inputs = node.inputs.iter().enumerate();
    let inputs = inputs.map(|(at, value)| (value, input_passed(&node.operation, at)));
    let outputs = node.outputs.iter().enumerate();
    let outputs = outputs.map(|(at, value)| (value, output_passed(&node.operation, at)));
    inputs.chain(outputs).filter_map(of).collect()
}

/// A dimension that `vmap` takes away, counted from the end if negative.
fn along(inner: &Graph, inside: Value, axis: i32) -> Passed {
    let ndim = inner.array_type(inside).shape.len() + 1;
    axis_index(axis, ndim).map_or(Passed::Whole, Passed::Along)
}

/// The values and dimensions that a way splits.
fn split_dims<'a>(node: &'a Node, way: &'a Strategy) -> impl Iterator<Item = (Value, usize)> + 'a {
    let inputs = node.inputs.iter().zip(&way.inputs);
    let outputs = node.outputs.iter().zip(&way.outputs);
    inputs
        .chain(outputs)
        .filter_map(|(value, sharding)| match sharding {
            Sharded(dim) => Some((*value, *dim)),
            Sharding::Replicated | Sharding::Unreduced(_) => None,
        })
}
