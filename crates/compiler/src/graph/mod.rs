//! The graph: what a function computes, as a list of nodes in an order in which they can run.
//!
//! Every value is an input, a constant, or an output of a node, and is defined before it is used. Nodes have no
//! effects. A graph knows shapes and dtypes of all its values, as MLX inferred them while the function was traced.

mod constant;
mod draw;
mod fill;
mod fusion;
mod node;
mod parse;
mod print;
mod transform;
mod verify;

pub(crate) use constant::values_as_f64;
pub use constant::{Constant, Literal};
pub use fusion::Fusion;
pub(crate) use node::CallSite;
pub use node::{Fused, Node, Operation, Site};
pub(crate) use parse::DEPTH;
pub use parse::ParseError;
pub use verify::VerifyError;

use std::collections::HashMap;

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

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
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
pub(crate) struct Definition {
    pub(crate) array_type: ArrayType,
    pub(crate) source: Source,
}

/// What a function computes: inputs, constants, nodes in running order, outputs.
///
/// Prints as text, which [`parse`](str::parse) reads back; as a DOT or Mermaid diagram by [`to_dot`](Self::to_dot) and
/// [`to_mermaid`](Self::to_mermaid).
#[derive(Clone, Debug)]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) values: Vec<Definition>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<Value>,
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

    /// Returns where a value comes from.
    pub fn source(&self, value: Value) -> &Source {
        &self.values[value.index()].source
    }

    /// Returns all values with their origins.
    pub fn values(&self) -> impl Iterator<Item = (Value, &Source)> {
        (0..).map(Value).zip(self.values.iter().map(|d| &d.source))
    }

    /// Returns the node that computes a value, unless it is an input or a constant.
    pub fn producer(&self, value: Value) -> Option<&Node> {
        match self.source(value) {
            Source::Node(id, _) => Some(self.node(*id)),
            _ => None,
        }
    }

    /// Returns the constant that a value is.
    pub fn constant(&self, value: Value) -> Option<&Constant> {
        match self.source(value) {
            Source::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// Returns how often each operation occurs, by name, those of inner graphs included.
    ///
    /// A fused node counts as one, by its name; a region as what is in it.
    pub fn op_frequencies(&self) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        self.count_ops(&mut counts);
        counts
    }

    fn count_ops(&self, counts: &mut std::collections::BTreeMap<String, usize>) {
        for node in &self.nodes {
            match &node.operation {
                Operation::Region(body) => body.count_ops(counts),
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
        let value = self.define(array_type, Source::Input(self.inputs.len()));
        self.inputs.push(value);
        value
    }

    pub(crate) fn add_constant(&mut self, array_type: ArrayType, constant: Constant) -> Value {
        self.define(array_type, Source::Constant(constant))
    }

    /// Puts the inputs into another order; all of them must be listed.
    pub(crate) fn set_inputs(&mut self, inputs: Vec<Value>) {
        for (index, input) in inputs.iter().enumerate() {
            self.values[input.index()].source = Source::Input(index);
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
        site: Site,
    ) -> Vec<Value> {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let outputs: Vec<Value> = types
            .into_iter()
            .enumerate()
            .map(|(index, array_type)| self.define(array_type, Source::Node(id, index)))
            .collect();
        self.nodes.push(Node {
            operation,
            inputs,
            outputs: outputs.clone(),
            site,
        });
        outputs
    }

    fn define(&mut self, array_type: ArrayType, source: Source) -> Value {
        let value = Value(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(Definition { array_type, source });
        value
    }

    /// Returns who uses each value: node numbers, in order; an output of the graph is not among them.
    pub(crate) fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for (id, node) in (0..).map(NodeId).zip(&self.nodes) {
            for input in &node.inputs {
                let list: &mut Vec<NodeId> = &mut users[input.index()];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        users
    }

    /// Returns, for each value, whether it depends on no input, so that it can be computed once.
    pub(crate) fn known(&self) -> Vec<bool> {
        let mut known: Vec<bool> = self
            .values
            .iter()
            .map(|definition| matches!(definition.source, Source::Constant(_)))
            .collect();
        for node in &self.nodes {
            let all = node.inputs.iter().all(|input| known[input.index()]);
            for output in &node.outputs {
                known[output.index()] = all;
            }
        }
        known
    }
}

/// Copies parts of one graph into another, value by value.
pub(crate) struct Transplant<'a> {
    pub(crate) from: &'a Graph,
    map: HashMap<Value, Value>,
}

impl<'a> Transplant<'a> {
    pub(crate) fn new(from: &'a Graph) -> Self {
        Self {
            from,
            map: HashMap::new(),
        }
    }

    /// Says which value of the new graph a value of the old one is.
    pub(crate) fn set(&mut self, old: Value, new: Value) {
        self.map.insert(old, new);
    }

    /// Returns the value in the new graph, copying a constant there when it is the first use.
    ///
    /// # Panics
    /// Never for a value whose node has been copied or set, which running order ensures.
    pub(crate) fn get(&mut self, into: &mut Graph, old: Value) -> Option<Value> {
        if let Some(new) = self.map.get(&old) {
            return Some(*new);
        }
        match self.from.source(old) {
            Source::Constant(constant) => {
                let new = into.add_constant(self.from.array_type(old).clone(), constant.clone());
                self.map.insert(old, new);
                Some(new)
            }
            _ => None,
        }
    }

    /// Makes the old graph's inputs inputs of the new one.
    pub(crate) fn inputs(&mut self, into: &mut Graph) {
        for &input in &self.from.inputs {
            let new = into.add_input(self.from.array_type(input).clone());
            self.set(input, new);
        }
    }

    /// Copies a node as it is.
    pub(crate) fn node(&mut self, into: &mut Graph, node: &Node) -> Option<()> {
        let inputs: Option<Vec<Value>> = node
            .inputs
            .iter()
            .map(|input| self.get(into, *input))
            .collect();
        let types = node
            .outputs
            .iter()
            .map(|output| self.from.array_type(*output).clone())
            .collect();
        let outputs = into.add_node(node.operation.clone(), inputs?, types, node.site);
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.set(*old, new);
        }
        Some(())
    }

    /// Makes the old graph's outputs outputs of the new one.
    pub(crate) fn outputs(&mut self, into: &mut Graph) -> Option<()> {
        for &output in &self.from.outputs {
            let new = self.get(into, output)?;
            into.outputs.push(new);
        }
        Some(())
    }

    /// Copies all of `self.from`, a function of `arguments`, into a graph and returns its outputs there.
    pub(crate) fn inline(&mut self, into: &mut Graph, arguments: &[Value]) -> Option<Vec<Value>> {
        let from = self.from;
        for (&input, &argument) in from.inputs.iter().zip(arguments) {
            self.set(input, argument);
        }
        for node in &from.nodes {
            self.node(into, node)?;
        }
        from.outputs
            .iter()
            .map(|output| self.get(into, *output))
            .collect()
    }
}

/// Returns the part of a graph that computes `outputs` from `inputs`, as a graph of its own.
///
/// `None` when an output depends on an input of the graph that is not among `inputs`.
pub(crate) fn slice(graph: &Graph, inputs: &[Value], outputs: &[Value]) -> Option<Graph> {
    let mut part = Graph::new(&graph.name);
    let mut copy = Transplant::new(graph);
    for input in inputs {
        let new = part.add_input(graph.array_type(*input).clone());
        copy.set(*input, new);
    }
    for id in nodes_between(graph, inputs, outputs) {
        copy.node(&mut part, graph.node(id))?;
    }
    for output in outputs {
        let new = copy.get(&mut part, *output)?;
        part.outputs.push(new);
    }
    Some(part)
}

/// Returns the nodes that `outputs` depend on, without going behind `inputs`, in running order.
pub(crate) fn nodes_between(graph: &Graph, inputs: &[Value], outputs: &[Value]) -> Vec<NodeId> {
    let mut seen = std::collections::BTreeSet::new();
    let mut open: Vec<Value> = outputs.to_vec();
    while let Some(value) = open.pop() {
        if inputs.contains(&value) {
            continue;
        }
        if let Source::Node(id, _) = graph.source(value)
            && seen.insert(*id)
        {
            open.extend(&graph.node(*id).inputs);
        }
    }
    seen.into_iter().collect()
}
