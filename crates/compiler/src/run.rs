//! Running a graph: its nodes one after the other by [`bind_all_at`], values dropped when nobody needs them any more.

use std::rc::Rc;

use mlx::{Array, bind_all_at, with_device};

use crate::control;
use crate::graph::{Constant, Graph, Node, Operation, Source, Value};
use crate::region::{self, RegionKernel};
use crate::{Error, Result, report};

/// A graph that is ready to run, with the graphs inside its nodes.
pub(crate) struct Plan {
    graph: Graph,
    /// Arrays of the constants, by value.
    constants: Vec<Option<Array>>,
    /// What a node is the last to use.
    last_uses: Vec<Vec<Value>>,
    /// The plans of the graphs inside each node.
    inner: Vec<Vec<Rc<Plan>>>,
    /// The kernels of regions, by node.
    kernels: Vec<Option<RegionKernel>>,
    /// Whether recognized formulas run by their kernels, on inputs of whatever sizes.
    for_all_sizes: bool,
}

impl Plan {
    /// Makes a graph ready.
    ///
    /// # Errors
    /// When a constant has no value.
    pub(crate) fn new(graph: Graph) -> Result<Self> {
        let constants = graph
            .values()
            .map(|(value, source)| match source {
                Source::Constant(Constant::Number(literal)) => {
                    Ok(Some(literal.to_array(graph.array_type(value).dtype)))
                }
                Source::Constant(Constant::Array(array)) => Ok(Some(array.clone())),
                Source::Constant(Constant::Missing) => Err(Error::Unsupported(format!(
                    "run: wanted values for all constants of graph {}, got none for one of {}",
                    graph.name(),
                    graph.array_type(value)
                ))),
                _ => Ok(None),
            })
            .collect::<Result<Vec<_>>>()?;
        let inner = graph.nodes.iter().map(inner_plans).collect::<Result<_>>()?;
        Ok(Self {
            last_uses: last_uses(&graph),
            kernels: graph
                .nodes
                .iter()
                .map(|node| region_kernel(&graph, node))
                .collect(),
            constants,
            inner,
            graph,
            for_all_sizes: false,
        })
    }

    /// Makes the graph of a shapeless function ready, which keeps recognized formulas with both of their forms.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn for_all_sizes(graph: Graph) -> Result<Self> {
        Ok(Self {
            for_all_sizes: true,
            ..Self::new(graph)?
        })
    }

    /// Runs the graph on its inputs and returns its outputs, lazy as far as no control flow reads values.
    pub(crate) fn run(&self, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
        if inputs.len() != self.graph.inputs.len() {
            let message = format!(
                "wanted {} arrays, got {}",
                self.graph.inputs.len(),
                inputs.len()
            );
            return Err(mlx::Error::op(self.graph.name(), message));
        }
        let mut values = self.constants.clone();
        for (value, input) in self.graph.inputs.iter().zip(inputs) {
            values[value.index()] = Some((*input).clone());
        }
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let outputs = match node.site.device {
                None => self.run_node(index, node, &values)?,
                Some(device) => with_device(device, || self.run_node(index, node, &values))??,
            };
            if outputs.len() < node.outputs.len() {
                let message = format!(
                    "wanted {} results, got {}",
                    node.outputs.len(),
                    outputs.len()
                );
                return Err(mlx::Error::op(node.operation.name(), message));
            }
            for (value, output) in node.outputs.iter().zip(outputs) {
                values[value.index()] = Some(output);
            }
            for value in &self.last_uses[index] {
                values[value.index()] = None;
            }
        }
        self.graph
            .outputs
            .iter()
            .map(|value| get(&values, *value).cloned())
            .collect()
    }

    fn run_node(
        &self,
        index: usize,
        node: &Node,
        values: &[Option<Array>],
    ) -> mlx::Result<Vec<Array>> {
        let inputs: Vec<&Array> = node
            .inputs
            .iter()
            .map(|value| get(values, *value))
            .collect::<mlx::Result<_>>()?;
        let inner = &self.inner[index];
        let at = node.site.at.unwrap_or(std::panic::Location::caller());
        match &node.operation {
            Operation::Op(op) => bind_all_at(op.clone(), &inputs, at),
            Operation::Fused(fused) => {
                if self.for_all_sizes {
                    let (formula, kernel) = (&inner[0], &inner[1]);
                    return if self.has_traced_types(node, &inputs) {
                        kernel.run(&inputs)
                    } else {
                        resized(kernel, formula, &inputs)
                    };
                }
                let outputs = inner[0].run(&inputs)?;
                if report::is_observing() {
                    report::observe(fused, node.site, &outputs, &inner[1].run(&inputs)?)?;
                }
                Ok(outputs)
            }
            Operation::Region(_) => match &self.kernels[index] {
                Some(region) => region.kernel.apply(&inputs[..region.n_inputs]),
                None => inner[0].run(&inputs),
            },
            Operation::Cond { .. } => control::run_cond(&inputs, &inner[0], &inner[1], at),
            Operation::While { n_state, .. } => {
                control::run_while(&inputs, *n_state, &inner[0], &inner[1], at)
            }
            Operation::Scan {
                n_carry,
                n_sequences,
                length,
                reverse,
                ..
            } => {
                let layout = control::ScanLayout {
                    n_carry: *n_carry,
                    n_sequences: *n_sequences,
                    length: *length,
                    reverse: *reverse,
                };
                control::run_scan(&inputs, layout, &inner[0], at)
            }
            Operation::Transform {
                transform,
                n_captures,
                ..
            } => control::run_transform(transform, &inputs, *n_captures, inner, at),
        }
    }
}

impl Plan {
    /// Whether the inputs of a node are what they were when the function was traced: always, unless it is shapeless.
    fn has_traced_types(&self, node: &Node, inputs: &[&Array]) -> bool {
        let types = node
            .inputs
            .iter()
            .map(|value| self.graph.array_type(*value));
        inputs
            .iter()
            .zip(types)
            .all(|(input, wanted)| input.has_type(wanted))
    }
}

/// Runs a recognized formula on inputs of other sizes than it was traced with, by its kernel where that does the same.
///
/// The formula may broadcast what the kernel refuses, or refuse what the kernel would take; it is built to see that, and
/// not computed.
fn resized(kernel: &Plan, formula: &Plan, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
    let composed = formula.run(inputs)?;
    let Ok(fused) = kernel.run(inputs) else {
        return Ok(composed);
    };
    let mut pairs = fused.iter().zip(&composed);
    let is_same = pairs.all(|(fused, composed)| {
        mlx::trace::type_of(composed).is_ok_and(|wanted| fused.has_type(&wanted))
    });
    Ok(if is_same { fused } else { composed })
}

impl Graph {
    /// Runs the graph on MLX, node by node, as it is: recognized formulas by their bodies.
    ///
    /// For a graph that was read from a text. A function is called faster by [`jit`](crate::jit()).
    ///
    /// # Errors
    /// When the graph does not hold together, inputs are not as many or of other types, a constant is missing, an
    /// operation fails, or an output is not what the graph says.
    ///
    /// ```
    /// # fn main() -> Result<(), mlx_compiler::Error> {
    /// let graph: mlx_compiler::Graph = "\
    /// graph twice(x0: float32[2]) {
    ///   %0: float32[2] = multiply x0, 2.0
    ///   return %0
    /// }".parse()?;
    /// assert_eq!(graph.run(&[&mlx::array!([1.0, 2.0])])?[0].to_vec::<f32>()?, [2.0, 4.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.verify()
            .map_err(|error| Error::Unsupported(format!("run: {error}")))?;
        let plan = Plan::new(self.clone())?;
        for (index, (input, wanted)) in inputs.iter().zip(self.input_types()).enumerate() {
            if !input.has_type(&wanted) {
                let message = format!(
                    "wanted {wanted} as input {index}, got {}",
                    mlx::trace::type_of(input)?
                );
                return Err(mlx::Error::op(self.name(), message).into());
            }
        }
        let outputs = mlx::trace::without_recording(|| plan.run(inputs))?;
        for (index, (output, wanted)) in outputs.iter().zip(self.output_types()).enumerate() {
            if !output.has_type(&wanted) {
                let message = format!(
                    "wanted {wanted} as output {index}, got {}",
                    mlx::trace::type_of(output)?
                );
                return Err(mlx::Error::op(self.name(), message).into());
            }
        }
        Ok(outputs)
    }
}

/// The kernel of a region, where there is one. On a GPU the kernel replays the region.
fn region_kernel(graph: &Graph, node: &Node) -> Option<RegionKernel> {
    match &node.operation {
        Operation::Region(body) if region::are_kernels_enabled() => {
            region::kernel(graph, &node.inputs, body)
        }
        _ => None,
    }
}

/// Plans of the graphs inside a node; of a fused one that was not lowered, its body.
fn inner_plans(node: &Node) -> Result<Vec<Rc<Plan>>> {
    node.operation
        .graphs()
        .into_iter()
        .map(|(_, graph)| Plan::new(graph.clone()).map(Rc::new))
        .collect()
}

/// What each node is the last to use. Constants stay for the next run; inputs and intermediates go.
fn last_uses(graph: &Graph) -> Vec<Vec<Value>> {
    let mut last = vec![None; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for value in node.inputs.iter().chain(&node.outputs) {
            last[value.index()] = Some(index);
        }
    }
    for output in &graph.outputs {
        last[output.index()] = None;
    }
    let mut uses = vec![Vec::new(); graph.nodes.len()];
    for (value, source) in graph.values() {
        if let (Some(index), Source::Input(_) | Source::Node(..)) = (last[value.index()], source) {
            uses[index].push(value);
        }
    }
    uses
}

fn get(values: &[Option<Array>], value: Value) -> mlx::Result<&Array> {
    values[value.index()]
        .as_ref()
        .ok_or_else(|| mlx::Error::op("run", "wanted a value that is defined, got none: a bug"))
}
