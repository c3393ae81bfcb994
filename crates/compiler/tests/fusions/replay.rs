//! A graph run again through its operations, so that it can be changed on the way.

use std::collections::HashMap;

use mlx::{Array, Dtype, Op, bind_all};
use mlx_compiler::graph::{Constant, Graph, Literal, Value, ValueOrigin};

/// The operations of a graph, to be changed and run.
#[derive(Clone)]
pub struct Steps {
    graph: Graph,
    pub nodes: Vec<Step>,
    /// The numbers among the constants, with their dtypes.
    pub numbers: Vec<(Value, Literal, Dtype)>,
    pub outputs: Vec<Value>,
}

/// One operation.
#[derive(Clone)]
pub struct Step {
    pub op: Op,
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
}

impl Steps {
    pub fn of(graph: &Graph) -> Self {
        let nodes = graph.nodes().iter().map(|node| Step {
            op: node.operation.op().unwrap().clone(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
        });
        let numbers = graph.values().filter_map(|(value, source)| match source {
            ValueOrigin::Constant(Constant::Number(literal)) => {
                Some((value, *literal, graph.array_type(value).dtype))
            }
            _ => None,
        });
        Self {
            nodes: nodes.collect(),
            numbers: numbers.collect(),
            outputs: graph.outputs().to_vec(),
            graph: graph.clone(),
        }
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// All values that are defined before a node.
    pub fn values_before(&self, node: usize) -> Vec<Value> {
        let mut values = self.graph.inputs().to_vec();
        values.extend(self.nodes[..node].iter().flat_map(|step| &step.outputs));
        values
    }

    /// Runs all operations; whatever fails is in the arrays, or the error.
    pub fn run(&self, inputs: &[Array]) -> mlx::Result<Vec<Array>> {
        let mut arrays: HashMap<Value, Array> = HashMap::new();
        for (value, source) in self.graph.values() {
            if let ValueOrigin::Constant(Constant::Array(array)) = source {
                arrays.insert(value, array.clone());
            }
        }
        for (value, literal, dtype) in &self.numbers {
            arrays.insert(*value, literal.to_array(*dtype));
        }
        arrays.extend(
            self.graph
                .inputs()
                .iter()
                .copied()
                .zip(inputs.iter().cloned()),
        );
        for step in &self.nodes {
            let inputs: Vec<&Array> = step.inputs.iter().map(|input| &arrays[input]).collect();
            let outputs = bind_all(step.op.clone(), &inputs)?;
            if outputs.len() != step.outputs.len() {
                return Err(mlx::Error::op("replay", "wanted as many outputs as before"));
            }
            arrays.extend(step.outputs.iter().copied().zip(outputs));
        }
        self.outputs
            .iter()
            .map(|output| arrays[output].clone().checked())
            .collect()
    }
}
