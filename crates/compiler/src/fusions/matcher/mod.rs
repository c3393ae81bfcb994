//! The matcher: what a value of a graph computes, behind spellings that do not matter.

pub(crate) mod affine;
pub(crate) mod last_axis;
mod result;
pub(crate) mod softmax;
pub(crate) mod statistics;

pub(crate) use result::{Match, MatchResult};

use std::cell::RefCell;
use std::collections::HashMap;

use mlx::{Array, ArrayType, Dtype, Op};

use crate::execute::Executor;
use crate::graph::{
    Constant, Graph, Node, NodeId, Value, ValueOrigin, element_count, extract_subgraph,
    values_as_f64,
};

/// A graph with what fusions query repeatedly.
pub(crate) struct Matcher<'g> {
    pub(crate) graph: &'g Graph,
    consumers: Vec<Vec<NodeId>>,
    known: Vec<bool>,
    arrays: RefCell<HashMap<Value, Option<Array>>>,
    /// Whether the graph must be valid for other sizes than it was traced with, so that equal sizes prove nothing.
    pub(crate) shapeless: bool,
}

/// A flattened product or quotient: a number times some factors, divided by others.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) number: f64,
    pub(crate) factors: Vec<Value>,
    pub(crate) divisors: Vec<Value>,
}

impl<'g> Matcher<'g> {
    pub(crate) fn new(graph: &'g Graph, shapeless: bool) -> Self {
        Self {
            consumers: graph.consumers(),
            known: graph.constant_flags(),
            arrays: RefCell::default(),
            shapeless,
            graph,
        }
    }

    pub(crate) fn array_type(&self, value: Value) -> &'g ArrayType {
        self.graph.array_type(value)
    }

    pub(crate) fn shape(&self, value: Value) -> &'g [i32] {
        &self.graph.array_type(value).shape
    }

    pub(crate) fn dtype(&self, value: Value) -> Dtype {
        self.graph.array_type(value).dtype
    }

    pub(crate) fn ndim(&self, value: Value) -> usize {
        self.shape(value).len()
    }

    /// The node that makes a value, when it is a primitive with one output.
    pub(crate) fn node(&self, value: Value) -> Option<(&'g Op, &'g Node)> {
        let node = self.graph.producer(value)?;
        match (node.operation.op(), node.outputs.as_slice()) {
            (Some(op), [_]) => Some((op, node)),
            _ => None,
        }
    }

    /// The inputs of the node that makes a value, when it is this operation, which has no attributes.
    pub(crate) fn inputs(&self, value: Value, op: &Op) -> Option<&'g [Value]> {
        let (found, node) = self.node(value)?;
        (found == op).then_some(node.inputs.as_slice())
    }

    /// The input of a unary operation.
    pub(crate) fn unary(&self, value: Value, op: &Op) -> Option<Value> {
        self.inputs(value, op)?.first().copied()
    }

    /// The two inputs of a binary operation.
    pub(crate) fn binary(&self, value: Value, op: &Op) -> Option<[Value; 2]> {
        self.inputs(value, op)?.try_into().ok()
    }

    /// Both orders of the inputs of a binary operation that commutes.
    pub(crate) fn both_orders(&self, value: Value, op: &Op) -> Vec<[Value; 2]> {
        match self.binary(value, op) {
            Some([a, b]) if a == b => vec![[a, b]],
            Some([a, b]) => vec![[a, b], [b, a]],
            None => Vec::new(),
        }
    }

    /// The nodes that use a value.
    pub(crate) fn consumers(&self, value: Value) -> &[NodeId] {
        &self.consumers[value.index()]
    }

    /// The only node that uses a value, if it is one and the value is not returned.
    pub(crate) fn sole_consumer(&self, value: Value) -> Option<&'g Node> {
        match self.consumers(value) {
            [user] if !self.is_output(value) => Some(self.graph.node(*user)),
            _ => None,
        }
    }

    pub(crate) fn is_output(&self, value: Value) -> bool {
        self.graph.outputs.contains(&value)
    }

    /// Whether a value depends on no input.
    pub(crate) fn is_constant(&self, value: Value) -> bool {
        self.known[value.index()]
    }

    /// Strips casts from one floating dtype to another, some of which may round.
    pub(crate) fn strip_casts(&self, value: Value) -> Value {
        match self.cast(value) {
            Some(inner) => self.strip_casts(inner),
            None => value,
        }
    }

    /// What a value is a cast of, both floating.
    pub(crate) fn cast(&self, value: Value) -> Option<Value> {
        let (Op::Astype { dtype }, node) = self.node(value)? else {
            return None;
        };
        let inner = node.inputs[0];
        (dtype.is_floating() && self.dtype(inner).is_floating()).then_some(inner)
    }

    /// Strips casts to a wider floating dtype, which preserve all values.
    pub(crate) fn strip_upcasts(&self, value: Value) -> Value {
        match self.cast(value) {
            Some(inner) if self.dtype(inner).size() < self.dtype(value).size() => {
                self.strip_upcasts(inner)
            }
            _ => value,
        }
    }

    /// The cast to a floating dtype that is the only user of a value.
    pub(crate) fn cast_after(&self, value: Value) -> Option<(Value, Dtype)> {
        let user = self.sole_consumer(value)?;
        match user.operation.op()? {
            Op::Astype { dtype } if dtype.is_floating() => Some((user.outputs[0], *dtype)),
            _ => None,
        }
    }

    /// The values of an array that depends on no input, computed at most once.
    pub(crate) fn constant_array(&self, value: Value) -> Option<Array> {
        if !self.is_constant(value) {
            return None;
        }
        if let Some(array) = self.arrays.borrow().get(&value) {
            return array.clone();
        }
        let array = mlx::compiler_api::without_recording(|| {
            let part = extract_subgraph(self.graph, &[], &[value])?;
            let array = Executor::new(part)
                .ok()?
                .run(&[])
                .ok()?
                .into_iter()
                .next()?;
            array.eval().ok()?;
            Some(array)
        });
        self.arrays.borrow_mut().insert(value, array.clone());
        array
    }

    /// The elements of an array that depends on no input, as `f64`, when there are at most `most`.
    pub(crate) fn constant_values(&self, value: Value, max_elements: usize) -> Option<Vec<f64>> {
        if element_count(self.shape(value)) > max_elements {
            return None;
        }
        let array = self.constant_array(value)?;
        mlx::compiler_api::without_recording(|| values_as_f64(&array))
    }

    /// The number that all elements of a value are: a literal, or a small constant array of one number.
    pub(crate) fn number(&self, value: Value) -> Option<f64> {
        if let Some(Constant::Number(literal)) = self.graph.constant(value) {
            return literal.as_f64();
        }
        if !self.is_constant(value) {
            return None;
        }
        // A broadcast of a number is that number, however large.
        let dtype = self.dtype(value);
        if let Some((op, node)) = self.node(value)
            && let Some(number) = node.inputs.first().and_then(|input| self.number(*input))
        {
            match op {
                Op::BroadcastTo { .. } | Op::Reshape { .. } => return Some(number),
                Op::Full { .. } | Op::Astype { .. } if dtype.is_floating() => {
                    return Some(rounded(number, dtype));
                }
                _ => {}
            }
        }
        let values = self.constant_values(value, 64)?;
        let first = *values.first()?;
        values.iter().all(|v| *v == first).then_some(first)
    }

    /// Flattens a product: multiplications, divisions, signs; numbers among the factors are multiplied.
    ///
    /// Only values that nothing else uses are taken apart.
    pub(crate) fn product(&self, value: Value) -> Product {
        let mut product = Product {
            number: 1.0,
            factors: Vec::new(),
            divisors: Vec::new(),
        };
        self.collect(value, true, true, &mut product);
        product
    }

    fn collect(&self, value: Value, in_numerator: bool, is_root: bool, product: &mut Product) {
        if let Some(number) = self.number(value) {
            product.number *= if in_numerator { number } else { 1.0 / number };
            return;
        }
        let open = is_root || self.sole_consumer(value).is_some();
        match self.node(value) {
            Some((Op::Multiply, node)) if open => {
                for input in &node.inputs {
                    self.collect(*input, in_numerator, false, product);
                }
            }
            Some((Op::Divide, node)) if open => {
                self.collect(node.inputs[0], in_numerator, false, product);
                self.collect(node.inputs[1], !in_numerator, false, product);
            }
            Some((Op::Negative, node)) if open => {
                product.number = -product.number;
                self.collect(node.inputs[0], in_numerator, false, product);
            }
            Some((Op::Reciprocal, node)) if open => {
                self.collect(node.inputs[0], !in_numerator, false, product);
            }
            _ if in_numerator => product.factors.push(value),
            _ => product.divisors.push(value),
        }
    }

    /// The other term and the number, when a value is a sum of something and a number.
    pub(crate) fn plus_number(&self, value: Value) -> Option<(Value, f64)> {
        for [term, number] in self.both_orders(value, &Op::Add) {
            if let Some(number) = self.number(number) {
                return Some((term, number));
            }
        }
        let [term, number] = self.binary(value, &Op::Subtract)?;
        Some((term, -self.number(number)?))
    }

    /// Whether a value is a vector over the last axis of `like`, broadcast over all others.
    pub(crate) fn is_vector_for(&self, value: Value, like: Value) -> bool {
        let (shape, like) = (self.shape(value), self.shape(like));
        match (shape.split_last(), like.last()) {
            (Some((last, rest)), Some(dim)) => {
                let is_one_row = rest.iter().all(|n| *n == 1) && shape.len() <= like.len();
                last == dim && is_one_row && (rest.is_empty() || !self.shapeless)
            }
            _ => false,
        }
    }

    /// Strips broadcasts that only repeat a vector along other axes than the last.
    pub(crate) fn strip_broadcast(&self, value: Value) -> Value {
        match self.node(value) {
            Some((Op::BroadcastTo { .. }, node))
                if self.shape(node.inputs[0]).last() == self.shape(value).last() =>
            {
                self.strip_broadcast(node.inputs[0])
            }
            _ => value,
        }
    }

    /// Whether `value` depends on `on`.
    pub(crate) fn depends(&self, value: Value, on: Value) -> bool {
        let mut seen = std::collections::HashSet::new();
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            if value == on {
                return true;
            }
            if value < on && !matches!(self.graph.origin(value), ValueOrigin::Node(..)) {
                continue;
            }
            if seen.insert(value)
                && let Some(node) = self.graph.producer(value)
            {
                open.extend(&node.inputs);
            }
        }
        false
    }
}

/// Whether two numbers are equal up to the rounding of `float32`.
pub(crate) fn approx_eq(a: f64, b: f64) -> bool {
    a.is_finite() && b.is_finite() && (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

/// Whether a number is another rounded to `dtype`, or its inverse is: constants of half precision are rounded.
pub(crate) fn approx_eq_in(a: f64, b: f64, dtype: Dtype) -> bool {
    let same = |a: f64, b: f64| dtype.size() < 4 && a == rounded(b, dtype);
    approx_eq(a, b) || same(a, b) || same(1.0 / a, 1.0 / b)
}

/// The number rounded to `dtype`.
#[allow(clippy::cast_possible_truncation)]
fn rounded(number: f64, dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float32 => f64::from(number as f32),
        Dtype::Float16 => half::f16::from_f64(number).to_f64(),
        Dtype::Bfloat16 => half::bf16::from_f64(number).to_f64(),
        _ => number,
    }
}
