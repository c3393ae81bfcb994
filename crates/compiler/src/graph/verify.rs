//! What must hold of every graph, checked between passes in debug builds.

use super::{Graph, Node, NodeId, Operation, Source, Value};

/// A graph is broken: a bug of the pass before, or of the text it was read from.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("verify: graph {graph}: {message}")]
pub struct VerifyError {
    /// The graph's name.
    pub graph: String,
    /// What was wanted and what came.
    pub message: String,
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
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
    /// When something does not hold; says what.
    pub fn verify(&self) -> Result<(), VerifyError> {
        let mut defined = vec![false; self.values.len()];
        for (value, source) in self.values() {
            match source {
                Source::Input(index) => {
                    if self.inputs.get(*index) != Some(&value) {
                        return self.broken(format!("input {index} is another value"));
                    }
                    defined[value.index()] = true;
                }
                Source::Constant(_) => defined[value.index()] = true,
                Source::Node(id, index) => {
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
            self.verify_node(id, node)?;
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

    fn verify_node(&self, id: NodeId, node: &Node) -> Result<(), VerifyError> {
        let name = node.operation.name();
        let types = |values: &[Value]| -> Vec<_> {
            values.iter().map(|value| self.array_type(*value)).collect()
        };
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        let signature = |graph: &Graph, what: &str, from: &[&mlx::ArrayType]| {
            let wanted: Vec<_> = graph.inputs.iter().map(|v| graph.array_type(*v)).collect();
            if wanted == from {
                graph.verify()
            } else {
                let list = |types: &[&mlx::ArrayType]| {
                    let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
                    texts.join(", ")
                };
                self.broken(format!(
                    "{what} of node {} ({name}) takes ({}), got ({})",
                    id.0,
                    list(&wanted),
                    list(from)
                ))
            }
        };
        let results = |graph: &Graph, what: &str, n: usize| {
            let given: Vec<_> = graph.outputs.iter().map(|v| graph.array_type(*v)).collect();
            if given.len() >= n && given[..n] == outputs[..n.min(outputs.len())] {
                Ok(())
            } else {
                self.broken(format!(
                    "{what} of node {} ({name}) gives other types",
                    id.0
                ))
            }
        };
        match &node.operation {
            Operation::Op(op) => {
                let (least, most) = op.arity();
                if !(least..=most).contains(&inputs.len()) {
                    return self.broken(format!(
                        "{name} takes {least} to {most} inputs, got {}",
                        inputs.len()
                    ));
                }
                Ok(())
            }
            Operation::Fused(fused) => {
                for (what, graph) in [("body", &fused.body), ("kernel", &fused.kernel)] {
                    signature(graph, what, &inputs)?;
                    results(graph, what, outputs.len())?;
                }
                Ok(())
            }
            Operation::Region(body) => {
                signature(body, "body", &inputs)?;
                results(body, "body", outputs.len())
            }
            Operation::Cond { then, otherwise } => {
                let [_, arguments @ ..] = inputs.as_slice() else {
                    return self.broken("cond takes a condition".to_owned());
                };
                for (what, graph) in [("then", then), ("else", otherwise)] {
                    signature(graph, what, arguments)?;
                    results(graph, what, outputs.len())?;
                }
                Ok(())
            }
            Operation::While {
                condition,
                body,
                n_state,
            } => {
                signature(condition, "condition", &inputs)?;
                signature(body, "body", &inputs)?;
                if *n_state != outputs.len() || *n_state > inputs.len() {
                    return self.broken(format!("while_loop has {n_state} arrays of state"));
                }
                results(body, "body", *n_state)
            }
            Operation::Scan {
                body,
                n_carry,
                n_sequences,
                length,
                ..
            } => {
                body.verify()?;
                let fits = body.inputs.len() == inputs.len()
                    && n_carry + n_sequences <= inputs.len()
                    && body.outputs.len() == outputs.len()
                    && *n_carry <= outputs.len();
                if !fits {
                    return self.broken("the body of scan does not fit its inputs".to_owned());
                }
                let has_length = |size: &i32| usize::try_from(*size) == Ok(*length);
                let sequences = inputs.iter().skip(*n_carry).take(*n_sequences);
                for sequence in sequences {
                    if !sequence.shape.first().is_some_and(has_length) {
                        return self.broken(format!(
                            "scan takes sequences of length {length}, got {sequence}"
                        ));
                    }
                }
                results(body, "body", *n_carry)
            }
            Operation::Transform { functions, .. } => {
                functions.iter().try_for_each(|function| function.verify())
            }
        }
    }
}
