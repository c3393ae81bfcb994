//! Runs a graph on tensors: its nodes one after the other, and the graphs inside them.

use mlx_compiler::graph::{Constant, Graph, Literal, Node, Operation, Value, ValueOrigin};
use mlx_compiler::{Error, Result};

use crate::call::Call;
use crate::number::{Number, Rounding};
use crate::tensor::{Tensor, count, sizes};
use crate::{apply, gradient, n_arrays};

/// Runs a graph on tensors, with reals kept as `f64`.
///
/// # Errors
/// When inputs have other shapes or dtypes, the graph captured arrays (see [`Interpreter::constants`]), or an operation
/// fails or is not known.
///
/// ```
/// use mlx::Dtype;
/// use mlx_compiler::Graph;
/// use mlx_interpreter::{Tensor, interpret};
///
/// let graph: Graph = "graph double(x0: float32[2]) {\n  %0: float32[2] = add x0, x0\n  return %0\n}".parse()?;
/// let x = Tensor::from_f64(&[2], Dtype::Float32, &[1.0, 2.5])?;
/// assert_eq!(interpret(&graph, &[x])?[0].to_f64(), [2.0, 5.0]);
/// # Ok::<(), mlx_compiler::Error>(())
/// ```
pub fn interpret(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    Interpreter::default().run(graph, inputs)
}

/// How graphs are run.
#[derive(Clone, Debug, Default)]
pub struct Interpreter {
    /// What happens to floating-point results.
    pub rounding: Rounding,
    /// Whether fused nodes run as their kernel, by its formula, instead of as their body.
    pub kernels: bool,
    /// The arrays that the graph and those inside it captured, in the order of the text.
    pub constants: Vec<Tensor>,
}

impl Interpreter {
    /// Runs a graph on tensors.
    ///
    /// # Errors
    /// When inputs or constants have other shapes or dtypes, or an operation fails or is not known.
    pub fn run(&self, graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        graph.verify().map_err(|error| Error::Verify {
            pass: "interpret",
            error,
        })?;
        let wanted = n_arrays(graph);
        if self.constants.len() != wanted {
            return Err(Error::Unsupported(format!(
                "interpret: wanted {wanted} constants, got {}",
                self.constants.len()
            )));
        }
        let prepared = PreparedGraph::new(graph, &mut self.constants.iter())?;
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        self.run_prepared(&prepared, &inputs)
    }

    /// Runs a graph whose constants are known.
    pub(crate) fn run_prepared(
        &self,
        prepared: &PreparedGraph<'_>,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>> {
        let graph = prepared.graph;
        if inputs.len() != graph.inputs().len() {
            return Err(Error::Unsupported(format!(
                "interpret: wanted {} inputs of graph {}, got {}",
                graph.inputs().len(),
                graph.name(),
                inputs.len()
            )));
        }
        let mut values = prepared.constants.clone();
        for (value, input) in graph.inputs().iter().zip(inputs) {
            check(graph, *value, input)?;
            set(&mut values, *value, (*input).clone());
        }
        let last_uses = last_uses(graph);
        for (index, (node, inner)) in graph.nodes().iter().zip(&prepared.inner).enumerate() {
            let inputs = node
                .inputs
                .iter()
                .map(|v| get(&values, *v))
                .collect::<Result<Vec<_>>>()?;
            // Before anything of that size is computed.
            for value in &node.outputs {
                count(&sizes(&graph.array_type(*value).shape)?)?;
            }
            let outputs = self.run_node(graph, node, inner, &inputs)?;
            if outputs.len() != node.outputs.len() {
                return Err(Error::Unsupported(format!(
                    "interpret: wanted {} results of {}, got {}",
                    node.outputs.len(),
                    node.operation.name(),
                    outputs.len()
                )));
            }
            for (value, output) in node.outputs.iter().zip(outputs) {
                check(graph, *value, &output)?;
                set(&mut values, *value, output);
            }
            // What nothing needs any more.
            for value in node.inputs.iter().chain(&node.outputs) {
                let last = last_uses.get(value.index()).copied().flatten();
                if last.is_none_or(|last| last <= index) {
                    values[value.index()] = None;
                }
            }
        }
        graph
            .outputs()
            .iter()
            .map(|value| get(&values, *value).cloned())
            .collect()
    }

    pub(crate) fn run_node(
        &self,
        graph: &Graph,
        node: &Node,
        inner: &[PreparedGraph<'_>],
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>> {
        let graph_at = |k: usize| {
            inner.get(k).ok_or_else(|| {
                Error::Unsupported(format!(
                    "interpret: wanted a graph in {}",
                    node.operation.name()
                ))
            })
        };
        match &node.operation {
            Operation::Op(op) => {
                let types: Vec<_> = node
                    .outputs
                    .iter()
                    .map(|v| graph.array_type(*v).clone())
                    .collect();
                let call = Call {
                    name: op.name(),
                    inputs,
                    types: &types,
                    rounding: self.rounding,
                };
                // The error of MLX's `erf` is small relative to 1, not to small results.
                let absolute = matches!(op, mlx::Op::Erf);
                let results = apply(op, &call)?.into_iter();
                Ok(results
                    .map(|result| result.with_rounding(self.rounding, absolute))
                    .collect())
            }
            Operation::Fused(_) => self.run_prepared(graph_at(usize::from(self.kernels))?, inputs),
            Operation::FusedGroup(_) => self.run_prepared(graph_at(0)?, inputs),
            Operation::Cond { .. } => {
                let (predicate, arguments) = inputs.split_first().ok_or_else(|| missing("cond"))?;
                self.run_prepared(
                    graph_at(usize::from(!predicate.at(0).is_true()))?,
                    arguments,
                )
            }
            Operation::While { n_state, .. } => {
                self.run_while(graph_at(0)?, graph_at(1)?, *n_state, inputs)
            }
            Operation::Scan {
                n_carry,
                n_sequences,
                length,
                reverse,
                ..
            } => {
                let layout = Layout {
                    n_carry: *n_carry,
                    n_sequences: *n_sequences,
                    length: *length,
                    reverse: *reverse,
                };
                self.run_scan(graph_at(0)?, &layout, inputs)
            }
            Operation::Transform {
                transform,
                n_captures,
                ..
            } => gradient::run(self, transform, inner, *n_captures, inputs),
        }
    }

    fn run_while(
        &self,
        condition: &PreparedGraph<'_>,
        body: &PreparedGraph<'_>,
        n_state: usize,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>> {
        let (state, captures) = inputs
            .split_at_checked(n_state)
            .ok_or_else(|| missing("while_loop"))?;
        let mut state: Vec<Tensor> = state.iter().map(|&x| x.clone()).collect();
        loop {
            let arguments: Vec<&Tensor> = state.iter().chain(captures.iter().copied()).collect();
            let holds = self.run_prepared(condition, &arguments)?;
            if !holds.first().is_some_and(|holds| holds.at(0).is_true()) {
                return Ok(state);
            }
            state = self.run_prepared(body, &arguments)?;
        }
    }

    fn run_scan(
        &self,
        body: &PreparedGraph<'_>,
        layout: &Layout,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>> {
        let (carry, rest) = inputs
            .split_at_checked(layout.n_carry)
            .ok_or_else(|| missing("scan"))?;
        let (sequences, captures) = rest
            .split_at_checked(layout.n_sequences)
            .ok_or_else(|| missing("scan"))?;
        let mut carry: Vec<Tensor> = carry.iter().map(|&x| x.clone()).collect();
        let mut results: Vec<Vec<Tensor>> = Vec::new();
        for step in 0..layout.length {
            let row = if layout.reverse {
                layout.length - 1 - step
            } else {
                step
            };
            let elements = sequences
                .iter()
                .map(|x| element(x, row))
                .collect::<Result<Vec<_>>>()?;
            let arguments: Vec<&Tensor> = carry
                .iter()
                .chain(&elements)
                .chain(captures.iter().copied())
                .collect();
            let mut outputs = self.run_prepared(body, &arguments)?;
            let made = outputs.split_off(layout.n_carry.min(outputs.len()));
            if !made.is_empty() {
                results.push(made);
            }
            carry = outputs;
        }
        if layout.reverse {
            results.reverse();
        }
        let n_results = results.first().map_or(0, Vec::len);
        for k in 0..n_results {
            let steps: Vec<&Tensor> = results.iter().filter_map(|step| step.get(k)).collect();
            carry.push(stacked(&steps)?);
        }
        Ok(carry)
    }
}

struct Layout {
    n_carry: usize,
    n_sequences: usize,
    length: usize,
    reverse: bool,
}

/// A graph with the values of its constants, and the graphs inside its nodes.
pub(crate) struct PreparedGraph<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) constants: Vec<Option<Tensor>>,
    pub(crate) inner: Vec<Vec<PreparedGraph<'g>>>,
}

impl<'g> PreparedGraph<'g> {
    pub(crate) fn new<'t>(
        graph: &'g Graph,
        arrays: &mut impl Iterator<Item = &'t Tensor>,
    ) -> Result<Self> {
        let mut constants = Vec::new();
        for (value, source) in graph.values() {
            let array_type = graph.array_type(value);
            constants.push(match source {
                ValueOrigin::Constant(Constant::Number(literal)) => {
                    let numbers = vec![number(*literal)];
                    Some(Tensor::new(
                        &sizes(&array_type.shape)?,
                        array_type.dtype,
                        numbers,
                    )?)
                }
                ValueOrigin::Constant(Constant::Array(_) | Constant::Missing) => {
                    let tensor = arrays.next().ok_or_else(|| missing("a constant"))?;
                    check(graph, value, tensor)?;
                    Some(tensor.clone())
                }
                _ => None,
            });
        }
        let mut inner = Vec::new();
        for node in graph.nodes() {
            let mut graphs = Vec::new();
            for (_, graph) in node.operation.graphs() {
                graphs.push(PreparedGraph::new(graph, arrays)?);
            }
            inner.push(graphs);
        }
        Ok(Self {
            graph,
            constants,
            inner,
        })
    }
}

pub(crate) fn number(literal: Literal) -> Number {
    match literal {
        Literal::Bool(x) => Number::Bool(x),
        Literal::Int(x) => Number::Int(x),
        Literal::Unsigned(x) => Number::Unsigned(x),
        Literal::Float(x) => Number::Float(x),
        Literal::Complex(re, im) => Number::Complex(re.into(), im.into()),
    }
}

pub(crate) fn missing(what: &str) -> Error {
    Error::Unsupported(format!(
        "interpret: wanted more inputs of {what}, got no more"
    ))
}

/// Refuses a tensor of another type than in the graph.
pub(crate) fn check(graph: &Graph, value: Value, tensor: &Tensor) -> Result<()> {
    let (wanted, got) = (graph.array_type(value), tensor.array_type());
    if *wanted == got {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "interpret: graph {} wanted {wanted}, got {got}",
        graph.name()
    )))
}

/// Returns the last node that uses each value; the number of nodes for what is returned, none for what nothing uses.
fn last_uses(graph: &Graph) -> Vec<Option<usize>> {
    let mut last_uses = vec![None; graph.values().count()];
    let nodes = graph.nodes().iter().enumerate();
    let uses = nodes.flat_map(|(index, node)| node.inputs.iter().map(move |value| (value, index)));
    let returned = graph
        .outputs()
        .iter()
        .map(|value| (value, graph.nodes().len()));
    for (value, index) in uses.chain(returned) {
        if let Some(last) = last_uses.get_mut(value.index()) {
            *last = Some(index);
        }
    }
    last_uses
}

pub(crate) fn get(values: &[Option<Tensor>], value: Value) -> Result<&Tensor> {
    values
        .get(value.index())
        .and_then(Option::as_ref)
        .ok_or_else(|| {
            Error::Unsupported("interpret: wanted a value that is defined, got none".to_owned())
        })
}

pub(crate) fn set(values: &mut [Option<Tensor>], value: Value, tensor: Tensor) {
    if let Some(slot) = values.get_mut(value.index()) {
        *slot = Some(tensor);
    }
}

/// One element along the first axis, without it.
fn element(x: &Tensor, row: usize) -> Result<Tensor> {
    let shape = x.shape().get(1..).ok_or_else(|| missing("scan"))?;
    let size: usize = shape.iter().product();
    x.pick(shape, &(row * size..(row + 1) * size).collect::<Vec<_>>())
}

pub(crate) fn stacked(steps: &[&Tensor]) -> Result<Tensor> {
    let first = steps.first().ok_or_else(|| missing("scan"))?;
    let mut shape = vec![steps.len()];
    shape.extend(first.shape());
    let numbers = steps
        .iter()
        .flat_map(|step| step.numbers().iter().copied())
        .collect();
    Tensor::rounded(&shape, first.dtype(), numbers, Rounding::Exact)
}
