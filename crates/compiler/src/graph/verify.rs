//! What must hold of every graph, checked between passes in debug builds.

use mlx::{ArrayType, Op};

use super::{Graph, Node, NodeId, Operation, Value, ValueOrigin};

/// A graph is broken: a bug of the pass before, or of the text it was read from.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("verify: graph {graph}: {message}")]
pub struct VerifyError {
    /// The graph's name.
    pub graph: String,
    /// What was wanted and what came.
    pub message: String,
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text of `Display`.
impl std::fmt::Debug for VerifyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl Graph {
    /// Checks that every value is defined once and before it is used, that operations have as many inputs, outputs and
    /// inner graphs as they take, and that the types of inner graphs fit.
    ///
    /// # Errors
    /// When one of these conditions is violated; names it.
    pub fn verify(&self) -> Result<(), VerifyError> {
        let mut defined = vec![false; self.values.len()];
        for (value, source) in self.values() {
            match source {
                ValueOrigin::Input(index) => {
                    if self.inputs.get(*index) != Some(&value) {
                        return self.broken(format!("input {index} is another value"));
                    }
                    defined[value.index()] = true;
                }
                ValueOrigin::Constant(_) => defined[value.index()] = true,
                ValueOrigin::Node(id, index) => {
                    let node = self.nodes.get(id.index());
                    if node.and_then(|node| node.outputs.get(*index)) != Some(&value) {
                        return self
                            .broken(format!("output {index} of node {} is another value", id.0));
                    }
                }
            }
        }
        for (id, node) in (0..).map(NodeId).zip(&self.nodes) {
            for (place, input) in node.inputs.iter().enumerate() {
                if !self.is_defined(&defined, *input) {
                    return self.broken(format!(
                        "input {place} of node {} ({}) is used before it is defined",
                        id.0,
                        node.operation.name()
                    ));
                }
            }
            for output in &node.outputs {
                match defined.get_mut(output.index()) {
                    Some(slot @ false) => *slot = true,
                    _ => return self.broken(format!("an output of node {} is no new value", id.0)),
                }
            }
            NodeVerifier::new(self, id, node).verify()?;
        }
        match self
            .outputs
            .iter()
            .find(|v| !self.is_defined(&defined, **v))
        {
            Some(_) => self.broken("an output is not defined".to_owned()),
            None => Ok(()),
        }
    }

    fn is_defined(&self, defined: &[bool], value: Value) -> bool {
        defined.get(value.index()).copied().unwrap_or(false)
    }

    fn broken(&self, message: String) -> Result<(), VerifyError> {
        Err(VerifyError {
            graph: self.name.clone(),
            message,
        })
    }
}

/// One node, with the types of its inputs and outputs.
struct NodeVerifier<'g> {
    graph: &'g Graph,
    id: NodeId,
    node: &'g Node,
    inputs: Vec<&'g ArrayType>,
    outputs: Vec<&'g ArrayType>,
}

impl<'g> NodeVerifier<'g> {
    fn new(graph: &'g Graph, id: NodeId, node: &'g Node) -> Self {
        let types = |values: &[Value]| values.iter().map(|v| graph.array_type(*v)).collect();
        Self {
            graph,
            id,
            node,
            inputs: types(&node.inputs),
            outputs: types(&node.outputs),
        }
    }

    fn verify(&self) -> Result<(), VerifyError> {
        let all = self.inputs.as_slice();
        match &self.node.operation {
            Operation::Op(op) => self.verify_arity(op),
            Operation::Fused(fused) => {
                self.verify_inner("body", &fused.body, all)?;
                self.verify_inner("kernel", &fused.kernel, all)
            }
            Operation::FusedGroup(body) => self.verify_inner("body", body, all),
            Operation::Cond { then, otherwise } => {
                let [_, arguments @ ..] = all else {
                    return self.graph.broken("cond takes a condition".to_owned());
                };
                self.verify_inner("then", then, arguments)?;
                self.verify_inner("else", otherwise, arguments)
            }
            Operation::While {
                condition,
                body,
                n_state,
            } => self.verify_while(condition, body, *n_state),
            Operation::Scan {
                body,
                n_carry,
                n_sequences,
                length,
                ..
            } => self.verify_scan(body, *n_carry, *n_sequences, *length),
            Operation::Transform { functions, .. } => {
                functions.iter().try_for_each(|function| function.verify())
            }
        }
    }

    fn verify_arity(&self, op: &Op) -> Result<(), VerifyError> {
        let (min, max) = op.arity();
        let n = self.inputs.len();
        if (min..=max).contains(&n) {
            return Ok(());
        }
        let name = op.name();
        self.graph
            .broken(format!("{name} takes {min} to {max} inputs, got {n}"))
    }

    /// Checks a graph that takes `inputs` and gives the outputs of the node.
    fn verify_inner(
        &self,
        what: &str,
        inner: &Graph,
        inputs: &[&ArrayType],
    ) -> Result<(), VerifyError> {
        self.verify_inputs(what, inner, inputs)?;
        self.verify_outputs(what, inner, self.outputs.len())
    }

    fn verify_inputs(
        &self,
        what: &str,
        inner: &Graph,
        inputs: &[&ArrayType],
    ) -> Result<(), VerifyError> {
        let wanted: Vec<_> = inner.inputs.iter().map(|v| inner.array_type(*v)).collect();
        if wanted == inputs {
            return inner.verify();
        }
        let list = |types: &[&ArrayType]| {
            let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        self.graph.broken(format!(
            "{what} of node {} ({}) takes ({}), got ({})",
            self.id.0,
            self.node.operation.name(),
            list(&wanted),
            list(inputs)
        ))
    }

    /// Checks that the first `n` outputs of a graph are those of the node.
    fn verify_outputs(&self, what: &str, inner: &Graph, n: usize) -> Result<(), VerifyError> {
        let given: Vec<_> = inner.outputs.iter().map(|v| inner.array_type(*v)).collect();
        if given.len() >= n && given[..n] == self.outputs[..n.min(self.outputs.len())] {
            return Ok(());
        }
        self.graph.broken(format!(
            "{what} of node {} ({}) gives other types",
            self.id.0,
            self.node.operation.name()
        ))
    }

    fn verify_while(
        &self,
        condition: &Graph,
        body: &Graph,
        n_state: usize,
    ) -> Result<(), VerifyError> {
        self.verify_inputs("condition", condition, &self.inputs)?;
        self.verify_inputs("body", body, &self.inputs)?;
        if n_state != self.outputs.len() || n_state > self.inputs.len() {
            let message = format!("while_loop has {n_state} arrays of state");
            return self.graph.broken(message);
        }
        self.verify_outputs("body", body, n_state)
    }

    fn verify_scan(
        &self,
        body: &Graph,
        n_carry: usize,
        n_sequences: usize,
        length: usize,
    ) -> Result<(), VerifyError> {
        body.verify()?;
        let fits = body.inputs.len() == self.inputs.len()
            && n_carry + n_sequences <= self.inputs.len()
            && body.outputs.len() == self.outputs.len()
            && n_carry <= self.outputs.len();
        if !fits {
            let message = "the body of scan does not fit its inputs";
            return self.graph.broken(message.to_owned());
        }
        let has_length = |size: &i32| usize::try_from(*size) == Ok(length);
        let sequences = self.inputs.iter().skip(n_carry).take(n_sequences);
        for sequence in sequences {
            if !sequence.shape.first().is_some_and(has_length) {
                return self.graph.broken(format!(
                    "scan takes sequences of length {length}, got {sequence}"
                ));
            }
        }
        self.verify_outputs("body", body, n_carry)
    }
}
