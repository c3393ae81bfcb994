//! The stages of compiling, as types: [`Traced`], [`Lowered`], [`Compiled`]. Each prints as text.

mod sized;

use std::fmt;
use std::rc::Rc;

use mlx::compiler_api::{TracedArray, recorders};
use mlx::tree::{self, Arguments, Function, Structure};
use mlx::{Array, ArrayType, Device, Tree};

use crate::analysis;
use crate::execute::Executable;
use crate::graph::Graph;
use crate::memory::{Mode, memory, rematerialize};
use crate::passes::{self, Context, Tuner};
use crate::report::{Difference, Form, PassGraph};
use crate::sharding::{Mesh, Rules, ShardedGraph, TracedNames};
use crate::sizes::SizedForms;
use crate::trace::{Recorded, SizeRead, record_with_keys};
use crate::{CompileOptions, Error, Profile, Report, Result, shapeless};
use sized::Specialized;

/// A function that has been traced: its graph, as it was written.
pub struct Traced<Output> {
    graph: Rc<Graph>,
    /// What the function returned, with arrays of the right types in it.
    template: Output,
    size_read: Option<SizeRead>,
    /// Whether a constant represents an argument of a transform around the trace.
    captures_transforming: bool,
    /// How many of the last inputs are random keys, which a call takes from its thread.
    n_keys: usize,
    names: TracedNames,
    /// Whether it is of one rank: sizes in it are those of its parts, and it has no terms of them.
    is_sharded: bool,
}

/// A function whose formulas have been recognized and whose kernels have been chosen.
pub struct Lowered<Output> {
    traced: Rc<Graph>,
    optimized: Rc<Graph>,
    graph: Rc<Graph>,
    report: Report,
    template: Output,
    options: CompileOptions,
    /// As of [`Traced`].
    n_keys: usize,
}

/// A function that is ready to be called with arrays of the types it was traced with.
pub struct Compiled<Output> {
    lowered: Lowered<Output>,
    executable: Executable,
    /// What runs for sizes that come again, of a shapeless function.
    sizes: Option<SizedForms<Specialized>>,
    /// Whether comparisons of sizes must come out as they did in the trace.
    is_guarded: bool,
}

/// Traces a function on arguments of these types; their values are not read.
///
/// # Errors
/// When an operation rejects its inputs, or the function returns an error or reads a value that is not known yet.
///
/// ```
/// use mlx::{Array, array};
///
/// # fn main() -> Result<(), mlx_compiler::Error> {
/// let traced = mlx_compiler::trace(|x: &Array| x * 2.0 + 1.0, &array!([1.0, 2.0]))?;
/// assert_eq!(traced.to_string(), "\
/// graph function(x0: float32[2]) {
///   %0: float32[2] = multiply x0, 2.0
///   %1: float32[2] = add %0, 1.0
///   return %1
/// }");
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn trace<Args, F>(function: F, args: Args::Refs<'_>) -> Result<Traced<F::Output>>
where
    Args: Arguments,
    F: Function<Args>,
{
    trace_ref(&function, args)
}

/// Traces a function that is kept.
#[track_caller]
pub(crate) fn trace_ref<Args, F>(function: &F, args: Args::Refs<'_>) -> Result<Traced<F::Output>>
where
    Args: Arguments,
    F: Function<Args> + ?Sized,
{
    let mut types = Vec::new();
    // Noted as read where the arrays are of a trace around this one: its graph has their sizes.
    Args::visit_refs(args, &mut |array| types.push(array.array_type()));
    let types: Vec<ArrayType> = types.into_iter().collect::<mlx::Result<_>>()?;
    let (recorded, n_keys) = record_with_keys("function", &types, |arrays| {
        let mut arrays = arrays.iter();
        let args = Args::map_refs(args, &mut |given| arrays.next().unwrap_or(given).clone());
        let output = function.apply(&args).map_err(Error::from_function)?;
        let outputs = tree::arrays(&output).into_iter().cloned().collect();
        let names = TracedNames::of(&args, &output);
        Ok((outputs, (output, names)))
    })?;
    let Recorded {
        graph,
        captures,
        aux: (output, names),
        size_read,
        captures_transforming,
    } = recorded;
    if let Some(capture) = captures.first() {
        let is_open = recorders().iter().any(|one| capture.is_tracer_of(one));
        let message = match is_open {
            true => "wanted no trace around this one, got arrays of another that is open",
            false => {
                "wanted arrays of this function, got one that escaped another whose trace has ended"
            }
        };
        return Err(mlx::Error::op("trace", message).into());
    }
    Ok(Traced {
        graph: Rc::new(graph),
        template: output.map(&mut Array::abstract_value),
        size_read,
        captures_transforming,
        n_keys,
        names,
        is_sharded: false,
    })
}

impl<Output: Tree> Traced<Output> {
    /// Returns the graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns whether the function captured an array that a transform around it is working on.
    pub(crate) fn captures_transforming(&self) -> bool {
        self.captures_transforming
    }

    /// Returns the names of the inputs: the number of the argument, then the path in it, as `0.layers.3.weight`.
    pub fn input_names(&self) -> &[String] {
        &self.names.inputs
    }

    /// Splits the function over the ranks of a mesh: returns that of one rank, and the whole with its report.
    ///
    /// The rank's function takes the parts that [`ShardedGraph::shard_inputs`] gives, and is lowered and compiled as any
    /// other: formulas are recognized in what the rank computes. All ranks must call it together.
    ///
    /// # Errors
    /// When a rule names an axis that the mesh does not have, or the mesh does not have the rank.
    pub fn shard(self, mesh: &Mesh, rules: &Rules, rank: usize) -> Result<(Self, ShardedGraph)> {
        let sharded = ShardedGraph::new(&self.graph, mesh, rules, &self.names)?;
        let graph = Rc::new(sharded.rank_graph(rank)?);
        let is_sharded = true;
        let of_rank = Self {
            graph,
            is_sharded,
            ..self
        };
        Ok((of_rank, sharded))
    }

    /// Recognizes formulas and chooses kernels for this thread's device.
    ///
    /// # Errors
    /// When a constant cannot be computed, or the options ask for what the function does not allow.
    pub fn lower(self, options: &CompileOptions) -> Result<Lowered<Output>> {
        if self.captures_transforming {
            return Err(Error::Unsupported(
                "lower: wanted constants, got a captured array that a transform around the function is working on; \
                 make it an argument"
                    .to_owned(),
            ));
        }
        if options.shapeless {
            if self.is_sharded {
                return Err(Error::Shapeless(
                    "wanted a whole function, got that of one rank, whose parts have the sizes of the trace"
                        .to_owned(),
                ));
            }
            shapeless::check(&self.graph, self.size_read)?;
        }
        let mut report = Report {
            ops_before: self.graph.op_frequencies(),
            ..Report::default()
        };
        let mut context = Context::new(options, &mut report);
        if options.keep_passes {
            context.kept.push(PassGraph {
                name: "trace",
                graph: Rc::clone(&self.graph),
            });
        }
        let optimized = match options.shapeless && shapeless::is_kept_as_traced(&self.graph) {
            true => Rc::clone(&self.graph),
            false => Rc::new(passes::run(passes::OPTIMIZE, &self.graph, &mut context)?),
        };
        let kept = context.kept;
        lower_optimized(optimized, report, kept, self, options)
    }
}

/// Returns a graph with its formulas recognized.
pub(crate) fn recognized(graph: &Graph, options: &CompileOptions) -> Result<Graph> {
    let mut report = Report::default();
    let mut context = Context::new(options, &mut report);
    passes::run(passes::OPTIMIZE, graph, &mut context)
}

/// Chooses kernels for a graph whose formulas have been recognized.
fn lower_optimized<Output>(
    optimized: Rc<Graph>,
    mut report: Report,
    kept: Vec<PassGraph>,
    traced: Traced<Output>,
    options: &CompileOptions,
) -> Result<Lowered<Output>> {
    let tuner = Tuner::of(options, &mut report);
    let mut context = Context::new(options, &mut report);
    (context.kept, context.tuner) = (kept, tuner);
    let is_kept = options.shapeless && shapeless::is_kept_as_traced(&optimized);
    let graph = match is_kept {
        true => optimized.as_ref().clone(),
        false => passes::run(passes::LOWER, &optimized, &mut context)?,
    };
    let (passes, tuner) = (context.kept, context.tuner);
    if let Some(tuner) = tuner {
        tuner.finish(&mut report);
    }
    if options.shapeless && !is_kept {
        shapeless::check_untraced(&graph)?;
    }
    let graph = Rc::new(within_memory(graph, is_kept, options, &mut report)?);
    report.ops_after = graph.op_frequencies();
    let mode = mode(options, &report);
    report.interpreted = analysis::interpreted(&graph);
    if mode == Mode::Interpreted {
        // MLX's replay would join what runs again with what ran before.
        report
            .interpreted
            .push("CompileOptions::rematerialize".to_owned());
    }
    report.forms.push(Form {
        traced: Rc::clone(&traced.graph),
        optimized: Rc::clone(&optimized),
        lowered: Rc::clone(&graph),
        mode,
        passes,
        size_read: traced.size_read,
        history: None,
    });
    Ok(Lowered {
        traced: traced.graph,
        optimized,
        graph,
        report,
        template: traced.template,
        options: options.clone(),
        n_keys: traced.n_keys,
    })
}

impl Lowered<Vec<Array>> {
    /// Chooses kernels for a graph that was read from a file: formulas are recognized already.
    pub(crate) fn of_optimized(
        graph: Graph,
        n_keys: usize,
        options: &CompileOptions,
    ) -> Result<Self> {
        if options.shapeless {
            let text = "wanted a function to trace, got a saved graph, of which it is not known which numbers are sizes";
            return Err(Error::Shapeless(text.to_owned()));
        }
        let graph = Rc::new(graph);
        let types = graph.output_types().into_iter();
        let traced = Traced {
            template: types
                .map(|output| mlx::zeros_with(output.shape, output.dtype))
                .collect(),
            graph: Rc::clone(&graph),
            size_read: None,
            captures_transforming: false,
            n_keys,
            names: TracedNames::default(),
            is_sharded: false,
        };
        let mut report = Report {
            ops_before: graph.op_frequencies(),
            ..Report::default()
        };
        report.add_fused_nodes(&graph);
        lower_optimized(graph, report, Vec::new(), traced, options)
    }
}

impl<Output: Tree> Lowered<Output> {
    /// Returns the graph as it runs, shared.
    pub(crate) fn shared_graph(&self) -> Rc<Graph> {
        Rc::clone(&self.graph)
    }

    /// Returns the options.
    pub(crate) fn options(&self) -> &CompileOptions {
        &self.options
    }

    /// Returns whether formulas are not recognized yet, because sizes are not known.
    pub(crate) fn is_kept_as_traced(&self) -> bool {
        Rc::ptr_eq(&self.traced, &self.optimized)
    }

    /// Returns how many of the last inputs are random keys.
    pub(crate) fn n_keys(&self) -> usize {
        self.n_keys
    }

    /// Returns the graph as it runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Returns the graph as the function was written.
    pub fn traced(&self) -> &Graph {
        &self.traced
    }

    /// Returns the graph with recognized formulas as nodes that hold both forms.
    pub fn optimized(&self) -> &Graph {
        &self.optimized
    }

    /// Returns what was recognized, what was not and why.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Makes the function ready to be called.
    ///
    /// # Errors
    /// When a constant has no value, or the function is compiled strictly and does not run as it was asked to.
    pub fn compile(self) -> Result<Compiled<Output>> {
        // What a shapeless function runs is checked when it is made for some sizes.
        let CompileOptions {
            strict, shapeless, ..
        } = self.options;
        if strict && !shapeless {
            analysis::check_strict(&self.report)?;
        }
        // MLX's replay would join what runs again with what ran before.
        let is_replayed = mode(&self.options, &self.report) == Mode::Replayed;
        let graph = self.graph.as_ref().clone();
        let executable = Executable::new(graph, &self.options, is_replayed)?;
        // A limit of memory holds for the first call with some sizes too.
        let at_once = strict || self.options.memory_limit.is_some();
        let sizes = shapeless.then(|| SizedForms::new(self.options.cache_size, at_once));
        let is_guarded = shapeless && shapeless::has_guards(&self.traced);
        Ok(Compiled {
            lowered: self,
            executable,
            sizes,
            is_guarded,
        })
    }
}

impl<Output: Tree> Compiled<Output> {
    /// Calls the function with the arrays of its arguments, in their order. Nothing is computed until it is needed,
    /// except what control flow has to read.
    ///
    /// # Errors
    /// When the arrays are not as many as the function takes, one has another type than it was traced with
    /// (`shapeless`: another dtype or number of dimensions), or an operation fails.
    #[track_caller]
    pub fn call_flat(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        self.check(inputs)?;
        let keys = self.keys();
        self.run(&with_keys(inputs, &keys))
    }

    /// Calls the function and puts its results where it returned them.
    ///
    /// # Errors
    /// As [`call_flat`](Self::call_flat).
    #[track_caller]
    pub fn call_arrays(&self, inputs: &[&Array]) -> Result<Output> {
        self.check(inputs)?;
        self.call_unchecked(inputs)
    }

    /// As [`call_arrays`](Self::call_arrays) without checking the types of the arrays.
    #[track_caller]
    pub(crate) fn call_unchecked(&self, inputs: &[&Array]) -> Result<Output> {
        let outputs = match self.lowered.n_keys {
            0 => self.run(inputs)?,
            _ => self.run(&with_keys(inputs, &self.keys()))?,
        };
        let mut outputs = outputs.into_iter();
        Ok(self
            .lowered
            .template
            .map(&mut |array| outputs.next().unwrap_or_else(|| array.clone())))
    }

    /// Runs what there is for these inputs: one form, or of a shapeless function that for their sizes once these came twice.
    #[track_caller]
    fn run(&self, inputs: &[&Array]) -> Result<Vec<Array>> {
        let form = match &self.sizes {
            None => None,
            Some(sizes) => sizes.find(inputs, |types, graph| self.specialize(types, graph))?,
        };
        let executable = form
            .as_deref()
            .map_or(&self.executable, |form| &form.executable);
        Ok(executable.call(inputs)?)
    }

    /// Returns the stage before.
    pub fn lowered(&self) -> &Lowered<Output> {
        &self.lowered
    }

    /// Returns the graph as it runs.
    pub fn graph(&self) -> &Graph {
        self.lowered.graph()
    }

    /// Returns what was recognized, what was not and why.
    pub fn report(&self) -> &Report {
        &self.lowered.report
    }

    /// Returns the report, with what is known of the CUDA graph since the function was called.
    pub(crate) fn current_report(&self) -> Report {
        let mut report = self.report().clone();
        report.cuda_graph = self.executable.program_report();
        let text = |types: Vec<ArrayType>| {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            types.join(", ")
        };
        if let Some(sizes) = &self.sizes {
            report.specialized = sizes.types().into_iter().map(text).collect();
            report.guards = self.lowered.traced.guard_texts();
            if let Some(form) = sizes.latest().filter(|_| self.is_kept_as_traced()) {
                // Nothing is recognized before the sizes are known.
                report.take_recognized(&form.report);
            }
        }
        report
    }

    /// Measures a call, and each operation in it by itself: see [`Jit::profile`](crate::Jit::profile).
    ///
    /// # Errors
    /// As [`call_flat`](Self::call_flat), and for functions that communicate with other processes.
    #[track_caller]
    pub fn profile(&self, inputs: &[&Array]) -> Result<Profile> {
        self.check(inputs)?;
        let keys = self.keys();
        let call = |inputs: &[&Array]| self.executable.call(inputs);
        analysis::profile(
            (self.graph(), self.lowered.options.shapeless),
            &with_keys(inputs, &keys),
            &call,
        )
    }

    /// Compares both forms of each recognized formula on sample inputs: see [`Report::verify`].
    ///
    /// # Errors
    /// As [`call_flat`](Self::call_flat).
    #[track_caller]
    pub fn verify(&self, inputs: &[&Array]) -> Result<Vec<Difference>> {
        self.check(inputs)?;
        let keys = self.keys();
        self.report().verify(with_keys(inputs, &keys))
    }

    /// Returns keys of this thread for the inputs that are keys.
    fn keys(&self) -> Vec<Array> {
        (0..self.lowered.n_keys)
            .map(|_| mlx::random::next_key())
            .collect()
    }

    /// Refuses arrays of other types: what was traced holds for its own only.
    #[track_caller]
    fn check(&self, inputs: &[&Array]) -> Result<()> {
        let graph = &self.lowered.traced;
        let all = graph.inputs();
        let wanted = &all[..all.len().saturating_sub(self.lowered.n_keys)];
        if wanted.len() != inputs.len() {
            let message = format!("wanted {} arrays, got {}", wanted.len(), inputs.len());
            return Err(mlx::Error::op("call", message).into());
        }
        for (index, (value, input)) in wanted.iter().zip(inputs).enumerate() {
            let wanted = graph.array_type(*value);
            if input.matches_type(wanted) {
                continue;
            }
            let got = mlx::compiler_api::type_of(input)?;
            let message = if !self.lowered.options.shapeless {
                format!("wanted {wanted} as input {index}, got {got}")
            } else if got.dtype != wanted.dtype || got.shape.len() != wanted.shape.len() {
                let (dtype, ndim) = (wanted.dtype, wanted.shape.len());
                format!("wanted {dtype} of {ndim} dimensions as input {index}, got {got}")
            } else {
                continue;
            };
            return Err(mlx::Error::op("call", message).into());
        }
        if !self.holds(inputs)? {
            let message = "wanted sizes for which comparisons come out as in the trace, got others; `jit` traces anew";
            return Err(mlx::Error::op("call", message).into());
        }
        Ok(())
    }
}

/// Returns the graph, with operations that run again where the options ask for that; refuses it where it needs more memory than
/// they allow.
///
/// What is kept as it was traced runs again in its forms only.
fn within_memory(
    graph: Graph,
    is_kept: bool,
    options: &CompileOptions,
    report: &mut Report,
) -> Result<Graph> {
    let (limit, shapeless) = (options.memory_limit, options.shapeless);
    let mut graph = graph;
    if options.rematerialize && !is_kept {
        let (next, done) = rematerialize(graph, limit.unwrap_or(0), shapeless)?;
        report.rematerialization = Some(done);
        graph = next;
    }
    if let Some(limit) = limit {
        memory(&graph, mode(options, report))?.check(limit)?;
    }
    Ok(graph)
}

/// How a function of these options runs.
fn mode(options: &CompileOptions, report: &Report) -> Mode {
    let reruns = report.rematerialization.as_ref();
    match options.shapeless {
        true => Mode::ForAllSizes,
        false if reruns.is_some_and(|done| done.operations > 0) => Mode::Interpreted,
        false => Mode::Replayed,
    }
}

/// Returns the inputs of a call, with the keys as the last of them.
fn with_keys<'a>(inputs: &[&'a Array], keys: &'a [Array]) -> Vec<&'a Array> {
    inputs.iter().copied().chain(keys).collect()
}

impl<Output> fmt::Display for Traced<Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.graph.fmt(f)
    }
}

impl<Output> fmt::Display for Lowered<Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.graph.fmt(f)
    }
}

impl<Output> fmt::Display for Compiled<Output> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lowered.fmt(f)
    }
}

/// What a compiled form is cached under.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CacheKey {
    pub(crate) structure: Structure,
    pub(crate) types: Vec<ArrayType>,
    pub(crate) device: Option<Device>,
}
