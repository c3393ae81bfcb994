//! How much memory a graph needs, before it runs: what MLX will allocate, write over and free, in its order.
//!
//! The graph is built on lazy arrays that are never computed; MLX tells its primitives ([`tape`]); which of them share memory, take
//! over an input's or allocate is known by name ([`simulate`]).

mod layout;
mod rematerialize;
mod simulate;
mod tape;

use std::cmp::Reverse;
use std::fmt;
use std::rc::Rc;

use mlx::compiler_api::{CompiledClosure, TracedArray, graph_text, without_recording};
use mlx::{Array, ArrayType, Op, zeros_with};

use crate::execute::Executor;
use crate::graph::{Constant, Graph, Operation, SourceLocation, ValueOrigin, element_count};
use crate::{Error, Result};

pub use rematerialize::Rematerialization;
pub(crate) use rematerialize::rematerialize;
use simulate::{Nodes, Seen, simulate};
use tape::Tape;

/// How many of the largest values are listed.
const LISTED: usize = 10;

/// How much memory a compiled function needs at its worst moment, and for what.
///
/// Holds for one call on the CPU that is evaluated by the thread that waits for it. Scratch memory of kernels, which MLX does not
/// count, is not in it. A GPU may keep memory longer, until it has done what it was given.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Bytes in use at the worst moment, inputs and constants included.
    pub peak_bytes: usize,
    /// Bytes of inputs and constants, which are in use all the time.
    pub held_bytes: usize,
    /// Bytes in use after each operation of MLX's has allocated its results, inputs and constants included.
    pub timeline: Vec<Moment>,
    /// The place of the worst moment in the timeline.
    pub worst: usize,
    /// The largest values at the worst moment that the function computed, the largest first.
    pub largest: Vec<LargeValue>,
}

/// A moment of a call.
#[derive(Clone, Debug)]
pub struct Moment {
    /// The operation of the graph that runs.
    pub operation: String,
    /// Its line.
    pub site: SourceLocation,
    /// Bytes in use, inputs and constants included.
    pub bytes: usize,
}

/// A value that a function computes.
#[derive(Clone, Debug)]
pub struct LargeValue {
    /// Its bytes.
    pub bytes: usize,
    /// Shape and dtype.
    pub array_type: ArrayType,
    /// The operation that gives it.
    pub operation: String,
    /// Its line.
    pub site: SourceLocation,
}

/// A graph, and what was seen when MLX's evaluation of it was simulated.
struct Analysis<'a> {
    graph: &'a Graph,
    seen: Seen,
    held: usize,
}

/// What a graph tells of its nodes.
struct GraphNodes<'a> {
    graph: &'a Graph,
    origins: Vec<Vec<Option<usize>>>,
}

impl Nodes for GraphNodes<'_> {
    fn op(&self, node: usize) -> Option<&Op> {
        self.graph.nodes.get(node)?.operation.op()
    }

    fn origins(&self, node: usize) -> &[Option<usize>] {
        self.origins.get(node).map_or(&[], Vec::as_slice)
    }
}

/// Returns how much memory a graph needs.
///
/// # Errors
/// When it has control flow that reads values, or a constant has no value.
pub(crate) fn memory(graph: &Graph, mode: Mode) -> Result<Memory> {
    Ok(Analysis::of(graph, mode)?.memory())
}

/// How a graph runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Replayed by MLX, which joins equal operations.
    Replayed,
    /// Node by node.
    Interpreted,
    /// Node by node, for all sizes.
    ForAllSizes,
}

impl<'a> Analysis<'a> {
    fn of(graph: &'a Graph, mode: Mode) -> Result<Self> {
        if let Some(name) = reader_of_values(graph) {
            return Err(Error::Unsupported(format!(
                "memory: wanted operations that are known before they run, got {name}, which reads values"
            )));
        }
        let executor = Rc::new(match mode {
            Mode::ForAllSizes => Executor::for_all_sizes(graph.clone())?,
            _ => Executor::new(graph.clone())?,
        });
        let text = without_recording(|| lazy_text(graph, &executor))?;
        let mut tape = Tape::read(&text)?;
        if mode == Mode::Replayed {
            let text = without_recording(|| replayed_text(graph, &executor))?;
            let mut replayed = Tape::read(&text)?;
            replayed.name_results(&tape);
            tape = replayed;
        }
        let nodes = GraphNodes {
            graph,
            origins: (0..graph.nodes.len())
                .map(|node| executor.origins(node))
                .collect(),
        };
        Ok(Self {
            graph,
            seen: simulate(&tape, &nodes),
            held: held_bytes(graph),
        })
    }

    fn operation(&self, node: Option<usize>) -> (String, SourceLocation) {
        match node.and_then(|node| self.graph.nodes.get(node)) {
            Some(node) => (node.operation.name().to_owned(), node.site),
            None => ("constant".to_owned(), SourceLocation::default()),
        }
    }

    fn memory(&self) -> Memory {
        let moments = self.seen.moments.iter();
        let timeline = moments.map(|moment| {
            let (operation, site) = self.operation(moment.node);
            Moment {
                operation,
                site,
                bytes: self.held + moment.bytes,
            }
        });
        let mut live: Vec<_> = self.seen.at_peak.iter().collect();
        live.sort_by_key(|live| Reverse(live.bytes));
        let largest = live.into_iter().take(LISTED).map(|live| {
            let (operation, site) = self.operation(live.node);
            LargeValue {
                bytes: live.bytes,
                array_type: live.array_type.clone(),
                operation,
                site,
            }
        });
        Memory {
            peak_bytes: self.held + self.seen.peak,
            held_bytes: self.held,
            timeline: timeline.collect(),
            worst: self.seen.worst,
            largest: largest.collect(),
        }
    }
}

/// Arrays of the inputs' types that are never computed.
fn lazy_inputs(graph: &Graph) -> Vec<Array> {
    let types = graph.input_types().into_iter();
    types
        .map(|input| zeros_with(input.shape, input.dtype))
        .collect()
}

/// Has the graph replayed by MLX on lazy arrays and returns MLX's text of that.
fn replayed_text(graph: &Graph, executor: &Rc<Executor>) -> Result<String> {
    let inputs = lazy_inputs(graph);
    let executor = Rc::clone(executor);
    let run = move |inputs: &[Array]| executor.run(&inputs.iter().collect::<Vec<_>>());
    let outputs = CompiledClosure::new(run)?.call(&inputs.iter().collect::<Vec<_>>())?;
    let numbered = inputs.iter().enumerate();
    let names: Vec<(&Array, String)> = numbered
        .map(|(number, input)| (input, tape::input_name(number)))
        .collect();
    Ok(graph_text(&outputs.iter().collect::<Vec<_>>(), &names)?)
}

/// Builds the graph on lazy arrays and returns MLX's text of it.
fn lazy_text(graph: &Graph, executor: &Executor) -> Result<String> {
    let inputs = lazy_inputs(graph);
    let mut results: Vec<(Array, String)> = Vec::new();
    let outputs = executor.run_with(&inputs.iter().collect::<Vec<_>>(), &mut |node, outputs| {
        let named = outputs.iter().enumerate();
        results
            .extend(named.map(|(index, output)| (output.clone(), tape::result_name(node, index))));
    })?;
    let mut names: Vec<(&Array, String)> = results
        .iter()
        .map(|(array, name)| (array, name.clone()))
        .collect();
    // What is given comes last: an operation may return its input.
    let constants = executor.constants();
    names.extend(constants.map(|(value, array)| (array, tape::given_name(value))));
    let numbered = inputs.iter().enumerate();
    names.extend(numbered.map(|(number, input)| (input, tape::input_name(number))));
    Ok(graph_text(&outputs.iter().collect::<Vec<_>>(), &names)?)
}

/// The name of an operation that reads values while it runs.
fn reader_of_values(graph: &Graph) -> Option<&str> {
    graph.nodes.iter().find_map(|node| match &node.operation {
        Operation::Cond { .. } | Operation::While { .. } | Operation::Scan { .. } => {
            Some(node.operation.name())
        }
        operation => {
            let inner = operation.graphs().into_iter();
            inner
                .filter_map(|(_, graph)| reader_of_values(graph))
                .next()
        }
    })
}

/// Bytes of inputs and of arrays that the function captured, each once.
fn held_bytes(graph: &Graph) -> usize {
    let of = |array_type: &ArrayType| element_count(&array_type.shape) * array_type.dtype.size();
    let inputs: usize = graph.input_types().iter().map(of).sum();
    let mut captured = Vec::new();
    collect_captured(graph, &mut captured);
    captured.sort_unstable();
    captured.dedup();
    inputs + captured.iter().map(|(_, bytes)| bytes).sum::<usize>()
}

fn collect_captured(graph: &Graph, captured: &mut Vec<(usize, usize)>) {
    for (value, origin) in graph.values() {
        if let ValueOrigin::Constant(Constant::Array(array)) = origin {
            let array_type = graph.array_type(value);
            let bytes = element_count(&array_type.shape) * array_type.dtype.size();
            captured.push((array.buffer_id().unwrap_or_default(), bytes));
        }
    }
    for node in &graph.nodes {
        if !matches!(node.operation, Operation::Fused(_)) {
            for (_, inner) in node.operation.graphs() {
                collect_captured(inner, captured);
            }
        }
    }
}

impl Memory {
    /// Refuses a peak above a limit.
    ///
    /// # Errors
    /// When it is; with the largest values and their lines.
    pub(crate) fn check(&self, limit: usize) -> Result<()> {
        if self.peak_bytes <= limit {
            return Ok(());
        }
        let values: Vec<String> = self.largest.iter().map(ToString::to_string).collect();
        Err(Error::Memory {
            limit,
            peak: self.peak_bytes,
            held: self.held_bytes,
            largest: values.join("; "),
        })
    }
}

/// Bytes as people write them.
struct Size(usize);

impl fmt::Display for Size {
    #[allow(clippy::cast_precision_loss)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1024 => write!(f, "{} bytes", self.0),
            1024..1_048_576 => write!(f, "{:.1} KiB", self.0 as f64 / 1024.0),
            bytes => write!(f, "{:.1} MiB", bytes as f64 / 1_048_576.0),
        }
    }
}

impl fmt::Display for LargeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, array_type) = (Size(self.bytes), &self.array_type);
        write!(
            f,
            "{bytes} {array_type} of {} at {}",
            self.operation, self.site
        )
    }
}

/// The worst moment, and the largest values at it, a line each.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peak, held) = (Size(self.peak_bytes), Size(self.held_bytes));
        write!(f, "peak {peak}, of which inputs and constants {held}")?;
        if let Some(moment) = self.timeline.get(self.worst) {
            write!(f, "; in {} at {}", moment.operation, moment.site)?;
        }
        for value in &self.largest {
            write!(f, "\n  {value}")?;
        }
        Ok(())
    }
}
