//! Rewriting: a graph copied into another with changes, or a part of it as a graph of its own.

use std::collections::{BTreeSet, HashMap};

use super::{Graph, Node, NodeId, Value, ValueOrigin};

/// Copies parts of one graph into another, and keeps which value became which.
pub(crate) struct GraphRewriter<'a> {
    pub(crate) from: &'a Graph,
    values: HashMap<Value, Value>,
}

impl<'a> GraphRewriter<'a> {
    pub(crate) fn new(from: &'a Graph) -> Self {
        Self {
            from,
            values: HashMap::new(),
        }
    }

    /// Maps a value of the old graph to one of the new graph.
    pub(crate) fn map(&mut self, old: Value, new: Value) {
        self.values.insert(old, new);
    }

    /// Returns the value in the new graph that a value of the old one is mapped to. A constant is copied at its first
    /// use.
    ///
    /// `None` for a value whose node has been neither copied nor mapped, which running order rules out.
    pub(crate) fn lookup(&mut self, into: &mut Graph, old: Value) -> Option<Value> {
        if let Some(new) = self.values.get(&old) {
            return Some(*new);
        }
        match self.from.origin(old) {
            ValueOrigin::Constant(constant) => {
                let new = into.add_constant(self.from.array_type(old).clone(), constant.clone());
                self.values.insert(old, new);
                Some(new)
            }
            _ => None,
        }
    }

    /// Returns the values in the new graph that several values of the old one are mapped to.
    pub(crate) fn lookup_all(&mut self, into: &mut Graph, old: &[Value]) -> Option<Vec<Value>> {
        old.iter().map(|value| self.lookup(into, *value)).collect()
    }

    /// Adds the inputs of the old graph to the new one.
    pub(crate) fn copy_inputs(&mut self, into: &mut Graph) {
        for &input in &self.from.inputs {
            let new = into.add_input(self.from.array_type(input).clone());
            self.map(input, new);
        }
    }

    /// Copies a node as it is.
    pub(crate) fn copy_node(&mut self, into: &mut Graph, node: &Node) -> Option<()> {
        let inputs = self.lookup_all(into, &node.inputs);
        let types = node
            .outputs
            .iter()
            .map(|output| self.from.array_type(*output).clone())
            .collect();
        let outputs = into.add_node(node.operation.clone(), inputs?, types, node.site);
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.map(*old, new);
        }
        Some(())
    }

    /// Adds the outputs of the old graph to the new one.
    pub(crate) fn copy_outputs(&mut self, into: &mut Graph) -> Option<()> {
        for &output in &self.from.outputs {
            let new = self.lookup(into, output)?;
            into.outputs.push(new);
        }
        Some(())
    }

    /// Copies all of `self.from`, a function of `arguments`, into a graph and returns its outputs there.
    pub(crate) fn inline(&mut self, into: &mut Graph, arguments: &[Value]) -> Option<Vec<Value>> {
        let from = self.from;
        for (&input, &argument) in from.inputs.iter().zip(arguments) {
            self.map(input, argument);
        }
        for node in &from.nodes {
            self.copy_node(into, node)?;
        }
        self.lookup_all(into, &from.outputs)
    }
}

/// Returns the part of a graph that computes `outputs` from `inputs`, as a graph of its own.
///
/// `None` when an output depends on an input of the graph that is not among `inputs`.
pub(crate) fn extract_subgraph(
    graph: &Graph,
    inputs: &[Value],
    outputs: &[Value],
) -> Option<Graph> {
    let mut part = Graph::new(&graph.name);
    let mut rewriter = GraphRewriter::new(graph);
    for input in inputs {
        let new = part.add_input(graph.array_type(*input).clone());
        rewriter.map(*input, new);
    }
    for id in nodes_between(graph, inputs, outputs) {
        rewriter.copy_node(&mut part, graph.node(id))?;
    }
    for output in outputs {
        let new = rewriter.lookup(&mut part, *output)?;
        part.outputs.push(new);
    }
    Some(part)
}

/// Returns the nodes that `outputs` depend on, up to `inputs`, in running order.
pub(crate) fn nodes_between(graph: &Graph, inputs: &[Value], outputs: &[Value]) -> Vec<NodeId> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<Value> = outputs.to_vec();
    while let Some(value) = open.pop() {
        if inputs.contains(&value) {
            continue;
        }
        if let ValueOrigin::Node(id, _) = graph.origin(value)
            && seen.insert(*id)
        {
            open.extend(&graph.node(*id).inputs);
        }
    }
    seen.into_iter().collect()
}
