//! Running a graph: its nodes one after the other by [`bind_all_at`], values dropped after their last use.

use std::rc::Rc;

use mlx::compiler_api::{TracedArray, bind_all_at};
use mlx::{Array, ArrayType, Op, with_device};

use super::control_flow::{self, ScanLayout};
use super::guards;
use crate::cpu_kernels::{self, GroupKernel};
use crate::graph::{Constant, Fused, Graph, Node, Operation, SourceLocation, Value, ValueOrigin};
use crate::{Error, Result};

/// A graph that is ready to run, with the graphs inside its nodes.
pub(crate) struct Executor {
    graph: Graph,
    /// Arrays of the constants, by value.
    constants: Vec<Option<Array>>,
    /// The values that each node is the last to use.
    last_uses: Vec<Vec<Value>>,
    /// The executors of the graphs inside each node.
    inner: Vec<Vec<Rc<Executor>>>,
    /// The kernels of fused groups, by node.
    kernels: Vec<Option<GroupKernel>>,
    mode: Mode,
}

/// What a graph is run for.
#[derive(Clone, Default)]
struct Mode {
    /// Whether recognized formulas run by their kernels, on inputs of any sizes.
    for_all_sizes: bool,
    /// Whether attributes follow from the sizes at hand, and guards are checked: of a graph as it was traced.
    resizes: bool,
    /// Whether only the types of the outputs are wanted, so that no value is read.
    for_types: bool,
    /// Whether groups run by their operations.
    has_no_kernels: bool,
    /// Whether custom operations run by what they compute.
    expands: bool,
    observer: Option<Rc<dyn Observer>>,
}

/// Receives the results of both forms of each recognized formula that runs.
pub(crate) trait Observer {
    /// Compares both results.
    ///
    /// # Errors
    /// When one of them cannot be computed.
    fn observe(
        &self,
        fused: &Fused,
        site: SourceLocation,
        body: &[Array],
        kernel: &[Array],
    ) -> mlx::Result<()>;
}

/// Evaluates the outputs of the node at a place.
type Evaluate<'a> = dyn FnMut(&[usize], &[Array]) -> mlx::Result<()> + 'a;

impl Executor {
    /// Makes a graph ready.
    ///
    /// # Errors
    /// When a constant has no value.
    pub(crate) fn new(graph: Graph) -> Result<Self> {
        Self::with_mode(graph, &Mode::default())
    }

    /// Makes the graph of a shapeless function ready, which keeps recognized formulas with both of their forms.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn for_all_sizes(graph: Graph) -> Result<Self> {
        let mode = Mode {
            for_all_sizes: true,
            resizes: true,
            ..Mode::default()
        };
        Self::with_mode(graph, &mode)
    }

    /// Makes a graph as it was traced ready for inputs of other sizes: attributes follow from these, and a run fails where a
    /// comparison of sizes comes out in another way, for which there is [`guards::take_failure`].
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn resizing(graph: Graph) -> Result<Self> {
        let mode = Mode {
            resizes: true,
            ..Mode::default()
        };
        Self::with_mode(graph, &mode)
    }

    /// Makes a graph ready for abstract evaluation: it is run for the types of its outputs, and reads no value.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn for_types(graph: Graph) -> Result<Self> {
        let mode = Mode {
            for_types: true,
            ..Mode::default()
        };
        Self::with_mode(graph, &mode)
    }

    /// Makes a graph ready whose groups run by their operations and not by kernels.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn without_kernels(graph: Graph) -> Result<Self> {
        let mode = Mode {
            has_no_kernels: true,
            ..Mode::default()
        };
        Self::with_mode(graph, &mode)
    }

    /// Makes a graph ready whose custom operations run by what they compute in operations of MLX's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn expanding(graph: Graph) -> Result<Self> {
        let mode = Mode {
            has_no_kernels: true,
            expands: true,
            ..Mode::default()
        };
        Self::with_mode(graph, &mode)
    }

    /// Makes a graph ready, of which each recognized formula runs in both forms, for `observer`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn observed(graph: Graph, observer: Rc<dyn Observer>) -> Result<Self> {
        let mode = Mode {
            observer: Some(observer),
            ..Mode::default()
        };
        Self::with_mode(graph, &mode)
    }

    fn with_mode(graph: Graph, mode: &Mode) -> Result<Self> {
        let inner_mode = Mode {
            for_all_sizes: false,
            ..mode.clone()
        };
        let inner = |node: &Node| -> Result<Vec<Rc<Executor>>> {
            let graphs = node.operation.graphs().into_iter();
            graphs
                .map(|(_, graph)| Self::with_mode(graph.clone(), &inner_mode).map(Rc::new))
                .collect()
        };
        Ok(Self {
            constants: constant_arrays(&graph)?,
            last_uses: last_uses(&graph, mode.resizes),
            inner: graph.nodes.iter().map(inner).collect::<Result<_>>()?,
            kernels: graph
                .nodes
                .iter()
                .map(|node| match mode.has_no_kernels {
                    true => None,
                    false => group_kernel(&graph, node),
                })
                .collect(),
            graph,
            mode: mode.clone(),
        })
    }

    /// Whether only the types of the outputs are wanted.
    pub(super) fn is_for_types(&self) -> bool {
        self.mode.for_types
    }

    /// Returns the arrays of the constants, each with the number of its value.
    pub(crate) fn constants(&self) -> impl Iterator<Item = (usize, &Array)> {
        let numbered = self.constants.iter().enumerate();
        numbered.filter_map(|(value, array)| Some((value, array.as_ref()?)))
    }

    /// Returns the input that each output of a node's kernel starts as; nothing for a node without a kernel.
    pub(crate) fn origins(&self, node: usize) -> Vec<Option<usize>> {
        let kernel = self.kernels.get(node).and_then(Option::as_ref);
        kernel.map_or(Vec::new(), |group| group.kernel.origins().to_vec())
    }

    /// Runs the graph on its inputs and returns its outputs, lazy as far as no control flow reads values.
    pub(crate) fn run(&self, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
        self.run_with(inputs, &mut |_, _| {})
    }

    /// Runs the graph as [`run`](Self::run) does and shows the results of each node.
    pub(crate) fn run_with(
        &self,
        inputs: &[&Array],
        each: &mut dyn FnMut(usize, &[Array]),
    ) -> mlx::Result<Vec<Array>> {
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
            self.step(index, node, &mut values, each)?;
        }
        self.check_guards(self.graph.nodes.len(), &values)?;
        self.graph
            .outputs
            .iter()
            .map(|value| get(&values, *value).cloned())
            .collect()
    }

    /// Runs one node, shows its results, and drops what it was the last to use.
    fn step(
        &self,
        index: usize,
        node: &Node,
        values: &mut [Option<Array>],
        each: &mut dyn FnMut(usize, &[Array]),
    ) -> mlx::Result<()> {
        self.check_guards(index, values)?;
        let outputs = match node.site.device {
            None => self.run_node(index, node, values)?,
            Some(device) => with_device(device, || self.run_node(index, node, values))??,
        };
        if outputs.len() < node.outputs.len() {
            let message = format!(
                "wanted {} results, got {}",
                node.outputs.len(),
                outputs.len()
            );
            return Err(mlx::Error::op(node.operation.name(), message));
        }
        each(index, &outputs);
        for (value, output) in node.outputs.iter().zip(outputs) {
            values[value.index()] = Some(output);
        }
        for value in &self.last_uses[index] {
            values[value.index()] = None;
        }
        Ok(())
    }

    /// Runs the graph with each node evaluated by `evaluate` before the next one, which is told the node's place: in a
    /// program also the nodes in it, whose places come after its own.
    pub(crate) fn run_stepwise(
        &self,
        inputs: Vec<Array>,
        place: &mut Vec<usize>,
        evaluate: &mut Evaluate<'_>,
    ) -> mlx::Result<()> {
        let mut values = self.constants.clone();
        for (value, input) in self.graph.inputs.iter().zip(inputs) {
            values[value.index()] = Some(input);
        }
        for (index, node) in self.graph.nodes.iter().enumerate() {
            place.push(index);
            if is_program(node) {
                let own = self.own_inputs(index, node, &values)?;
                self.inner[index][0].run_stepwise(own, place, evaluate)?;
            }
            // What the node is the last to use is dropped before it is evaluated, which may then write into it.
            self.step(index, node, &mut values, &mut |_, _| {})?;
            let outputs: Vec<Array> = node
                .outputs
                .iter()
                .filter_map(|value| values[value.index()].clone())
                .collect();
            evaluate(place, &outputs)?;
            place.pop();
        }
        Ok(())
    }

    /// Returns what a program is applied to, in memory of its own where it may be written into.
    fn own_inputs(
        &self,
        index: usize,
        node: &Node,
        values: &[Option<Array>],
    ) -> mlx::Result<Vec<Array>> {
        let n_inputs = self.kernels[index]
            .as_ref()
            .map_or(node.inputs.len(), |group| group.n_inputs);
        let inputs = node.inputs.iter().enumerate().map(|(number, value)| {
            let input = get(values, *value)?;
            Ok(match number < n_inputs {
                true => in_own_memory(input),
                false => input.clone(),
            })
        });
        let inputs: Vec<Array> = inputs.collect::<mlx::Result<_>>()?;
        mlx::eval(&inputs)?;
        Ok(inputs)
    }

    /// Refuses sizes for which a comparison comes out in another way, of those before a node.
    fn check_guards(&self, index: usize, values: &[Option<Array>]) -> mlx::Result<()> {
        match self.mode.resizes {
            true => guards::check(&self.graph, index, values),
            false => Ok(()),
        }
    }

    /// Applies an operation, with the attributes that it has for the sizes at hand.
    fn run_op(
        &self,
        index: usize,
        op: &Op,
        values: &[Option<Array>],
        inputs: &[&Array],
    ) -> mlx::Result<Vec<Array>> {
        let at = self.graph.nodes[index].site.at;
        let at = at.unwrap_or(std::panic::Location::caller());
        let mut op = op.clone();
        if self.mode.resizes {
            guards::resize(&self.graph, index, values, &mut op)?;
        }
        bind_all_at(op, inputs, at)
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
            Operation::Op(op @ Op::Custom(_)) if self.mode.expands => {
                let expanded = mlx::cpu::expand(op, &inputs);
                expanded.unwrap_or_else(|| bind_all_at(op.clone(), &inputs, at))
            }
            Operation::Op(op) => self.run_op(index, op, values, &inputs),
            Operation::Fused(fused) => self.run_fused(node, fused, inner, &inputs),
            Operation::FusedGroup(_) => match &self.kernels[index] {
                Some(group) => group.kernel.apply(&inputs[..group.n_inputs]),
                None => inner[0].run(&inputs),
            },
            Operation::Cond { .. } => control_flow::run_cond(&inputs, &inner[0], &inner[1], at),
            Operation::While { n_state, .. } => {
                control_flow::run_while(&inputs, *n_state, &inner[0], &inner[1], at)
            }
            Operation::Scan {
                n_carry,
                n_sequences,
                length,
                reverse,
                ..
            } => {
                let layout = ScanLayout {
                    n_carry: *n_carry,
                    n_sequences: *n_sequences,
                    length: *length,
                    reverse: *reverse,
                };
                control_flow::run_scan(&inputs, layout, &inner[0], at)
            }
            Operation::Transform {
                transform,
                n_captures,
                ..
            } => control_flow::run_transform(transform, &inputs, *n_captures, inner, at),
        }
    }

    /// Runs a recognized formula by its body, unless it is to run for all sizes.
    fn run_fused(
        &self,
        node: &Node,
        fused: &Fused,
        inner: &[Rc<Executor>],
        inputs: &[&Array],
    ) -> mlx::Result<Vec<Array>> {
        let (body, kernel) = (&inner[0], &inner[1]);
        if self.mode.for_all_sizes {
            return if self.has_traced_types(node, inputs) {
                kernel.run(inputs)
            } else {
                run_resized(kernel, body, inputs)
            };
        }
        let outputs = body.run(inputs)?;
        if let Some(observer) = &self.mode.observer {
            observer.observe(fused, node.site, &outputs, &kernel.run(inputs)?)?;
        }
        Ok(outputs)
    }

    /// Whether the inputs of a node are what they were when the function was traced: always, unless it is shapeless.
    fn has_traced_types(&self, node: &Node, inputs: &[&Array]) -> bool {
        let types = node
            .inputs
            .iter()
            .map(|value| self.graph.array_type(*value));
        inputs
            .iter()
            .zip(types)
            .all(|(input, wanted)| input.matches_type(wanted))
    }
}

/// Runs a recognized formula on inputs of other sizes than it was traced with, by its kernel where that does the same.
///
/// The body may broadcast what the kernel refuses, or refuse what the kernel would take; it is built to detect
/// that, and not computed.
fn run_resized(kernel: &Executor, body: &Executor, inputs: &[&Array]) -> mlx::Result<Vec<Array>> {
    let composed = body.run(inputs)?;
    let Ok(fused) = kernel.run(inputs) else {
        return Ok(composed);
    };
    let mut pairs = fused.iter().zip(&composed);
    let is_same = pairs.all(|(fused, composed)| {
        mlx::compiler_api::type_of(composed).is_ok_and(|wanted| fused.matches_type(&wanted))
    });
    Ok(if is_same { fused } else { composed })
}

/// Refuses arrays of other types than a graph has for them; `what` they are, for the message.
pub(crate) fn check_types(
    op: &str,
    what: &str,
    arrays: &[&Array],
    wanted: &[ArrayType],
) -> mlx::Result<()> {
    for (index, (array, wanted)) in arrays.iter().zip(wanted).enumerate() {
        if !array.matches_type(wanted) {
            let got = mlx::compiler_api::type_of(array)?;
            let message = format!("wanted {wanted} as {what} {index}, got {got}");
            return Err(mlx::Error::op(op, message));
        }
    }
    Ok(())
}

impl Graph {
    /// Runs the graph on MLX, node by node, as it is: recognized formulas by their bodies.
    ///
    /// For a graph that was read from a text. A function is called faster by [`jit`](crate::jit()).
    ///
    /// # Errors
    /// When the graph is not valid, the number or types of inputs differ, a constant is missing, an operation fails, or
    /// an output has another type than in the graph.
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
        let executor = Executor::new(self.clone())?;
        check_types(self.name(), "input", inputs, &self.input_types())?;
        let outputs = mlx::compiler_api::without_recording(|| executor.run(inputs))?;
        let arrays: Vec<&Array> = outputs.iter().collect();
        check_types(self.name(), "output", &arrays, &self.output_types())?;
        Ok(outputs)
    }
}

/// The arrays of a graph's constants, by value.
fn constant_arrays(graph: &Graph) -> Result<Vec<Option<Array>>> {
    graph
        .values()
        .map(|(value, source)| match source {
            ValueOrigin::Constant(Constant::Number(literal)) => {
                Ok(Some(literal.to_array(graph.array_type(value).dtype)))
            }
            ValueOrigin::Constant(Constant::Array(array)) => Ok(Some(array.clone())),
            ValueOrigin::Constant(Constant::Missing) => Err(Error::Unsupported(format!(
                "run: wanted values for all constants of graph {}, got none for one of {}",
                graph.name(),
                graph.array_type(value)
            ))),
            _ => Ok(None),
        })
        .collect()
}

/// Returns a copy of an array that shares no memory with it. (MLX's `copy` shares it.)
pub(crate) fn in_own_memory(array: &Array) -> Array {
    mlx::where_(Array::scalar(true), array, array)
}

/// Whether a node is a group of operations of which some are no elementwise ones.
fn is_program(node: &Node) -> bool {
    let Operation::FusedGroup(body) = &node.operation else {
        return false;
    };
    let is_elementwise = |node: &Node| node.operation.op().is_some_and(Op::is_elementwise);
    !body.nodes.iter().all(is_elementwise)
}

/// The kernel of a fused group, where there is one. On a GPU the kernel replays the group.
fn group_kernel(graph: &Graph, node: &Node) -> Option<GroupKernel> {
    match &node.operation {
        Operation::FusedGroup(body) if cpu_kernels::are_kernels_enabled() => {
            cpu_kernels::kernel(graph, &node.inputs, body)
        }
        _ => None,
    }
}

/// The values that each node is the last to use. Constants are kept for the next run; inputs and intermediates are
/// dropped.
fn last_uses(graph: &Graph, resizes: bool) -> Vec<Vec<Value>> {
    let mut last = vec![None; graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for value in node.inputs.iter().chain(&node.outputs) {
            last[value.index()] = Some(index);
        }
    }
    if resizes {
        guards::extend_last_uses(graph, &mut last);
    }
    for output in &graph.outputs {
        last[output.index()] = None;
    }
    let mut uses = vec![Vec::new(); graph.nodes.len()];
    for (value, source) in graph.values() {
        if let (Some(index), ValueOrigin::Input(_) | ValueOrigin::Node(..)) =
            (last[value.index()], source)
        {
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
