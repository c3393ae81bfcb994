//! Canonical form: one spelling for what can be written in several ways, so that later passes match only one.
//!
//! Every rule is exact: results keep all their bits.

use mlx::{ArrayType, Op, axis_index};

use super::{Context, map_subgraphs, undefined_value};
use crate::Result;
use crate::graph::{Constant, Graph, GraphRewriter, Literal, Operation, Value};

/// What a rule makes of a node.
enum Rewritten {
    /// Another operation on these values.
    Op(Op, Vec<Value>),
    /// A value that is there already.
    Value(Value),
}

pub(super) fn run(graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let keep_sizes_open = context.options.shapeless;
    let mut next = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    rewriter.copy_inputs(&mut next);
    for node in &graph.nodes {
        let rewritten = match (&node.operation, node.outputs.as_slice()) {
            (Operation::Op(op), [output]) => {
                let inputs = rewriter
                    .lookup_all(&mut next, &node.inputs)
                    .ok_or_else(|| undefined_value("canonicalize"))?;
                let types = Rule {
                    graph: &next,
                    inputs: &inputs,
                    output: graph.array_type(*output),
                    keep_sizes_open,
                };
                types.apply(op).map(|rewritten| (*output, rewritten))
            }
            _ => None,
        };
        match rewritten {
            Some((output, Rewritten::Value(value))) => rewriter.map(output, value),
            Some((output, Rewritten::Op(op, inputs))) => {
                let types = vec![graph.array_type(output).clone()];
                let new = next.add_node(Operation::Op(op), inputs, types, node.site);
                rewriter.map(output, new[0]);
            }
            None => {
                let mut node = node.clone();
                node.operation = map_subgraphs(&node.operation, context, run)?;
                rewriter
                    .copy_node(&mut next, &node)
                    .ok_or_else(|| undefined_value("canonicalize"))?;
            }
        }
    }
    rewriter
        .copy_outputs(&mut next)
        .ok_or_else(|| undefined_value("canonicalize"))?;
    Ok(next)
}

/// A node to which rules are applied, its inputs already in the new graph.
struct Rule<'a> {
    graph: &'a Graph,
    inputs: &'a [Value],
    output: &'a ArrayType,
    keep_sizes_open: bool,
}

impl Rule<'_> {
    fn apply(&self, op: &Op) -> Option<Rewritten> {
        match op {
            Op::Copy | Op::Positive => self.same(self.inputs[0]),
            Op::Astype { .. } => self.same(self.inputs[0]),
            Op::BroadcastTo { .. } if !self.keep_sizes_open => self.same(self.inputs[0]),
            Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Unflatten { .. }
            | Op::Squeeze { .. }
            | Op::ExpandDims { .. }
            | Op::Atleast1d
            | Op::Atleast2d
            | Op::Atleast3d => self.reshape(op),
            Op::Transpose { axes } => self.transpose(&permutation(axes, self.ndim())?, op),
            Op::Swapaxes { axis1, axis2 } => {
                let mut order: Vec<usize> = (0..self.ndim()).collect();
                order.swap(
                    axis_index(*axis1, self.ndim())?,
                    axis_index(*axis2, self.ndim())?,
                );
                self.transpose(&order, op)
            }
            Op::Moveaxis {
                source,
                destination,
            } => {
                let mut order: Vec<usize> = (0..self.ndim()).collect();
                let moved = order.remove(axis_index(*source, self.ndim())?);
                order.insert(axis_index(*destination, self.ndim())?, moved);
                self.transpose(&order, op)
            }
            Op::Multiply if self.inputs[0] == self.inputs[1] => {
                Some(Rewritten::Op(Op::Square, vec![self.inputs[0]]))
            }
            Op::Multiply => self
                .without_one(1)
                .or_else(|| self.without_one(0))
                .or_else(|| self.number_last(op)),
            Op::Divide => self.without_one(1),
            Op::Add => self.number_last(op),
            // Of two zeros the second is taken, so their order distinguishes 0 from -0.
            Op::Maximum | Op::Minimum if !self.is_zero_or_complex(self.inputs[0]) => {
                self.number_last(op)
            }
            Op::Negative => {
                let inner = self.graph.producer(self.inputs[0])?;
                match inner.operation.op() {
                    Some(Op::Negative) => self.same(inner.inputs[0]),
                    _ => None,
                }
            }
            _ => self.axes_from_the_front(op),
        }
    }

    fn ndim(&self) -> usize {
        self.graph.array_type(self.inputs[0]).shape.len()
    }

    /// The value, if it has the type of the result.
    fn same(&self, value: Value) -> Option<Rewritten> {
        (self.graph.array_type(value) == self.output).then_some(Rewritten::Value(value))
    }

    /// All changes of shape that keep the order of elements are `reshape` to explicit sizes.
    fn reshape(&self, op: &Op) -> Option<Rewritten> {
        if self.keep_sizes_open {
            return None;
        }
        let mut from = self.inputs[0];
        if let Some(inner) = self.graph.producer(from)
            && let Some(Op::Reshape { .. }) = inner.operation.op()
        {
            from = inner.inputs[0];
        }
        if let Some(same) = self.same(from) {
            return Some(same);
        }
        let shape = self.output.shape.clone();
        let wanted = Op::Reshape { shape };
        if *op == wanted && from == self.inputs[0] {
            return None;
        }
        Some(Rewritten::Op(wanted, vec![from]))
    }

    /// All orders of axes are `transpose` with all axes counted from the front; two in a row are one.
    fn transpose(&self, order: &[usize], op: &Op) -> Option<Rewritten> {
        let (mut from, mut order) = (self.inputs[0], order.to_vec());
        if let Some(inner) = self.graph.producer(from)
            && let Some(Op::Transpose { axes }) = inner.operation.op()
            && let Some(first) = permutation(axes, self.ndim())
        {
            from = inner.inputs[0];
            order = order.iter().map(|axis| first[*axis]).collect();
        }
        if order.iter().enumerate().all(|(index, axis)| index == *axis) {
            return Some(Rewritten::Value(from));
        }
        let axes = order
            .iter()
            .map(|axis| i32::try_from(*axis).ok())
            .collect::<Option<_>>()?;
        let wanted = Op::Transpose { axes };
        if *op == wanted && from == self.inputs[0] {
            return None;
        }
        Some(Rewritten::Op(wanted, vec![from]))
    }

    /// A product with 1 is its other side.
    fn without_one(&self, place: usize) -> Option<Rewritten> {
        let is_one = match self.graph.constant(self.inputs[place])? {
            Constant::Number(Literal::Float(value)) => *value == 1.0,
            Constant::Number(Literal::Int(value)) => *value == 1,
            _ => false,
        };
        is_one.then(|| self.same(self.inputs[1 - place])).flatten()
    }

    /// Whether a value is the number 0, or one of which it is not known.
    fn is_zero_or_complex(&self, value: Value) -> bool {
        match self.graph.constant(value) {
            Some(Constant::Number(literal)) => literal.as_f64().is_none_or(|number| number == 0.0),
            _ => false,
        }
    }

    /// In sums, products, and most maxima and minima a number is the second operand.
    fn number_last(&self, op: &Op) -> Option<Rewritten> {
        let is_number =
            |value: Value| matches!(self.graph.constant(value), Some(Constant::Number(_)));
        let [a, b] = *self.inputs else { return None };
        (is_number(a) && !is_number(b)).then(|| Rewritten::Op(op.clone(), vec![b, a]))
    }

    /// Axes of reductions count from the front, in order.
    fn axes_from_the_front(&self, op: &Op) -> Option<Rewritten> {
        let mut changed = op.clone();
        match &mut changed {
            // MLX computes these in one way or in another, by the order in which several axes are named.
            Op::Logsumexp { axes, .. } | Op::Softmax { axes, .. } if axes.len() > 1 => return None,
            Op::All { axes, .. }
            | Op::Any { axes, .. }
            | Op::CountNonzero { axes, .. }
            | Op::Logsumexp { axes, .. }
            | Op::Max { axes, .. }
            | Op::Mean { axes, .. }
            | Op::Median { axes, .. }
            | Op::Min { axes, .. }
            | Op::Prod { axes, .. }
            | Op::Std { axes, .. }
            | Op::Sum { axes, .. }
            | Op::Var { axes, .. }
            | Op::Softmax { axes, .. } => {
                let places: Option<Vec<usize>> = axes
                    .iter()
                    .map(|axis| axis_index(*axis, self.ndim()))
                    .collect();
                let mut places = places?;
                places.sort_unstable();
                *axes = places
                    .iter()
                    .map(|axis| i32::try_from(*axis).ok())
                    .collect::<Option<_>>()?;
            }
            _ => return None,
        }
        (changed != *op).then(|| Rewritten::Op(changed, self.inputs.to_vec()))
    }
}

/// The order of axes counted from the front, if it names each once.
fn permutation(axes: &[i32], ndim: usize) -> Option<Vec<usize>> {
    let order: Vec<usize> = axes
        .iter()
        .map(|axis| axis_index(*axis, ndim))
        .collect::<Option<_>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    (sorted.iter().copied().eq(0..ndim)).then_some(order)
}
