//! The graph: what a function computes, as a list of nodes in an order in which they can run.
//!
//! Every value is an input, a constant, or an output of a node, and is defined before it is used. Nodes have no
//! effects. A graph stores shapes and dtypes of all its values, as MLX inferred them while the function was traced.

mod constant;
mod draw;
mod fill;
mod fusion;
mod node;
mod parse;
mod print;
mod rewriter;
mod sizes;
mod transform;
mod verify;

pub(crate) use constant::values_as_f64;
pub use constant::{Constant, Literal};
pub use fusion::Fusion;
pub(crate) use node::CallSite;
pub use node::{Fused, Node, Operation, SourceLocation};
pub(crate) use parse::MAX_NESTING;
pub use parse::ParseError;
pub(crate) use rewriter::{GraphRewriter, extract_subgraph, nodes_between};
pub(crate) use sizes::{Guard, SizeFacts, SizeTerm};
pub use verify::VerifyError;

use mlx::ArrayType;

/// A value of a [`Graph`]: an input, a constant, or an output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

/// The place of a node in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

impl Value {
    /// Returns the number of the value in its graph, from 0: its place among [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl NodeId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The origin of a value.
#[derive(Clone, Debug)]
pub enum ValueOrigin {
    /// The function's input of this number.
    Input(usize),
    /// A number, or an array that the function captured.
    Constant(Constant),
    /// Output of this number of a node.
    Node(NodeId, usize),
}

/// Returns the number of elements of an array of this shape.
pub(crate) fn element_count(shape: &[i32]) -> usize {
    shape.iter().fold(1, |product: usize, size| {
        product.saturating_mul(usize::try_from(*size).unwrap_or(0))
    })
}

/// Type and origin of a value.
#[derive(Clone, Debug)]
pub(crate) struct ValueDef {
    pub(crate) array_type: ArrayType,
    pub(crate) origin: ValueOrigin,
}

/// What a function computes: inputs, constants, nodes in running order, outputs.
///
/// Prints as text, which [`parse`](str::parse) reads back; as a DOT or Mermaid diagram by [`to_dot`](Self::to_dot) and
/// [`to_mermaid`](Self::to_mermaid).
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) values: Vec<ValueDef>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<Value>,
    /// Of a graph as it was traced.
    pub(crate) sizes: SizeFacts,
}

impl Graph {
    /// Returns a graph without anything in it.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            values: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            sizes: SizeFacts::default(),
        }
    }

    /// Returns the name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the inputs in the function's order.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// Returns the outputs in the function's order; one value may be several of them.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Returns the nodes in an order in which they can run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the node of this number.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Returns shape and dtype of a value.
    pub fn array_type(&self, value: Value) -> &ArrayType {
        &self.values[value.index()].array_type
    }

    /// Returns the origin of a value.
    pub fn origin(&self, value: Value) -> &ValueOrigin {
        &self.values[value.index()].origin
    }

    /// Returns the origin of a value.
    #[deprecated(note = "renamed to origin")]
    pub fn source(&self, value: Value) -> &ValueOrigin {
        self.origin(value)
    }

    /// Returns all values with their origins.
    pub fn values(&self) -> impl Iterator<Item = (Value, &ValueOrigin)> {
        (0..).map(Value).zip(self.values.iter().map(|d| &d.origin))
    }

    /// Returns the node that computes a value, unless it is an input or a constant.
    pub fn producer(&self, value: Value) -> Option<&Node> {
        match self.origin(value) {
            ValueOrigin::Node(id, _) => Some(self.node(*id)),
            _ => None,
        }
    }

    /// Returns the constant that a value is.
    pub fn constant(&self, value: Value) -> Option<&Constant> {
        match self.origin(value) {
            ValueOrigin::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// Returns how often each operation occurs, by name, those of inner graphs included.
    ///
    /// A fused node counts as one, by its name; a fused group as what is in it.
    pub fn op_frequencies(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        self.count_ops(&mut counts);
        counts
    }

    fn count_ops(&self, counts: &mut std::collections::BTreeMap<String, usize>) {
        for node in &self.nodes {
            match &node.operation {
                Operation::FusedGroup(body) => body.count_ops(counts),
                operation => {
                    *counts.entry(operation.name().to_owned()).or_insert(0) += 1;
                    if !matches!(operation, Operation::Fused(_)) {
                        for (_, inner) in operation.graphs() {
                            inner.count_ops(counts);
                        }
                    }
                }
            }
        }
    }

    /// Returns the number of nodes, those of inner graphs included.
    pub fn op_count(&self) -> usize {
        self.op_frequencies().values().sum()
    }

    pub(crate) fn add_input(&mut self, array_type: ArrayType) -> Value {
        let value = self.define(array_type, ValueOrigin::Input(self.inputs.len()));
        self.inputs.push(value);
        value
    }

    pub(crate) fn add_constant(&mut self, array_type: ArrayType, constant: Constant) -> Value {
        self.define(array_type, ValueOrigin::Constant(constant))
    }

    /// Puts the inputs into another order; all of them must be listed.
    pub(crate) fn set_inputs(&mut self, inputs: Vec<Value>) {
        for (index, input) in inputs.iter().enumerate() {
            self.values[input.index()].origin = ValueOrigin::Input(index);
        }
        self.inputs = inputs;
    }

    /// Returns shapes and dtypes of the outputs.
    pub fn output_types(&self) -> Vec<ArrayType> {
        self.outputs
            .iter()
            .map(|output| self.array_type(*output).clone())
            .collect()
    }

    /// Returns shapes and dtypes of the inputs.
    pub fn input_types(&self) -> Vec<ArrayType> {
        self.inputs
            .iter()
            .map(|input| self.array_type(*input).clone())
            .collect()
    }

    /// Appends a node and returns its outputs.
    pub(crate) fn add_node(
        &mut self,
        operation: Operation,
        inputs: Vec<Value>,
        types: Vec<ArrayType>,
        site: SourceLocation,
    ) -> Vec<Value> {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let outputs: Vec<Value> = types
            .into_iter()
            .enumerate()
            .map(|(index, array_type)| self.define(array_type, ValueOrigin::Node(id, index)))
            .collect();
        self.nodes.push(Node {
            operation,
            inputs,
            outputs: outputs.clone(),
            site,
        });
        outputs
    }

    fn define(&mut self, array_type: ArrayType, origin: ValueOrigin) -> Value {
        let value = Value(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(ValueDef { array_type, origin });
        value
    }

    /// Returns the nodes that use each value, in order; being an output of the graph is no use.
    pub(crate) fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut consumers = vec![Vec::new(); self.values.len()];
        for (id, node) in (0..).map(NodeId).zip(&self.nodes) {
            for input in &node.inputs {
                let list: &mut Vec<NodeId> = &mut consumers[input.index()];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        consumers
    }

    /// Returns, for each value, whether it depends on no input, so that it can be computed once.
    pub(crate) fn constant_flags(&self) -> Vec<bool> {
        let mut is_constant: Vec<bool> = self
            .values
            .iter()
            .map(|definition| matches!(definition.origin, ValueOrigin::Constant(_)))
            .collect();
        for node in &self.nodes {
            // What other processes give is not known, whatever this one gives.
            let all = !node.operation.communicates()
                && node.inputs.iter().all(|input| is_constant[input.index()]);
            for output in &node.outputs {
                is_constant[output.index()] = all;
            }
        }
        is_constant
    }
}

/// The name of [`SourceLocation`] before.
#[deprecated(note = "renamed to SourceLocation")]
pub type Site = SourceLocation;

/// The name of [`ValueOrigin`] before.
#[deprecated(note = "renamed to ValueOrigin")]
pub type Source = ValueOrigin;
