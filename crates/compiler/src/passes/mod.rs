//! The passes: each rewrites a graph into an equivalent one.

mod autotune;
mod canonicalize;
mod contract;
mod cpu_programs;
mod cse;
mod dce;
mod fold;
mod fuse;
mod fuse_elementwise;
mod select;

use std::rc::Rc;

pub(crate) use autotune::Tuner;
pub use autotune::{AutotuneCache, autotune_cache};

use crate::graph::Graph;
use crate::report::{PassGraph, Report};
use crate::{CompileOptions, Error, Result};

/// What passes may read and write besides the graph.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a CompileOptions,
    pub(crate) report: &'a mut Report,
    /// The graph after each pass, when the options ask for that.
    pub(crate) kept: Vec<PassGraph>,
    /// What chooses forms by their times, when the options ask for that.
    pub(crate) tuner: Option<Tuner>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(options: &'a CompileOptions, report: &'a mut Report) -> Self {
        Self {
            options,
            report,
            kept: Vec::new(),
            tuner: None,
        }
    }
}

/// A pass: a name, and a function from a graph to the next one.
pub(crate) struct Pass {
    pub(crate) name: &'static str,
    run: PassFn,
}

type PassFn = fn(&Graph, &mut Context<'_>) -> Result<Graph>;

impl Pass {
    const fn new(name: &'static str, run: PassFn) -> Self {
        Self { name, run }
    }
}

/// The passes that bring a graph into canonical form, in order.
pub(crate) const CANONICALIZE: &[Pass] = &[
    Pass::new("canonicalize", canonicalize::run),
    Pass::new("cse", cse::run),
    Pass::new("dce", dce::run),
];

/// The passes that recognize formulas, in order.
pub(crate) const OPTIMIZE: &[Pass] = &[
    Pass::new("canonicalize", canonicalize::run),
    Pass::new("cse", cse::run),
    Pass::new("dce", dce::run),
    Pass::new("fuse", fuse::run),
    Pass::new("dce", dce::run),
];

/// The passes that make what was recognized ready to run, in order.
///
/// Constants are folded here and not earlier: a causal mask is easier to match while it is computed from positions.
pub(crate) const LOWER: &[Pass] = &[
    Pass::new("select", select::run),
    Pass::new("fold", fold::run),
    Pass::new("cse", cse::run),
    Pass::new("dce", dce::run),
    Pass::new("fuse_elementwise", fuse_elementwise::run),
    Pass::new("cpu_programs", cpu_programs::run),
];

/// What a formula goes through after [`select`](mod@select) has put one of its forms in its place.
const AFTER_SELECT: &[Pass] = &[
    Pass::new("fold", fold::run),
    Pass::new("cse", cse::run),
    Pass::new("dce", dce::run),
    Pass::new("fuse_elementwise", fuse_elementwise::run),
    Pass::new("cpu_programs", cpu_programs::run),
];

/// What elementwise operations go through after [`fuse_elementwise`](mod@fuse_elementwise).
const AFTER_FUSE_ELEMENTWISE: &[Pass] = &[Pass::new("cpu_programs", cpu_programs::run)];

/// Runs passes one after the other. In debug builds the graph is verified after each.
pub(crate) fn run(passes: &[Pass], graph: &Graph, context: &mut Context<'_>) -> Result<Graph> {
    let mut graph = graph.clone();
    for pass in passes {
        graph = (pass.run)(&graph, context)?;
        if cfg!(debug_assertions) || context.options.verify {
            graph.verify().map_err(|error| Error::Verify {
                pass: pass.name,
                error,
            })?;
        }
        if context.options.keep_passes {
            context.kept.push(PassGraph {
                name: pass.name,
                graph: Rc::new(graph.clone()),
            });
        }
    }
    Ok(graph)
}

/// The error for a value that running order should have defined: a bug of the pass.
pub(crate) fn undefined_value(pass: &'static str) -> Error {
    Error::Unsupported(format!(
        "pass {pass}: wanted a value defined before its use, got none"
    ))
}

/// Applies a pass to the graphs inside a node.
fn map_subgraphs(
    operation: &crate::graph::Operation,
    context: &mut Context<'_>,
    pass: PassFn,
) -> Result<crate::graph::Operation> {
    let mut failed = None;
    let is_transform = matches!(operation, crate::graph::Operation::Transform { .. });
    // A transform runs its functions in another way than by themselves.
    let paused = is_transform.then(|| context.tuner.take()).flatten();
    if paused.is_some() {
        let name = operation.name();
        let warning = format!("nothing is timed in a function that {name} works on");
        if !context.report.autotune_warnings.contains(&warning) {
            context.report.autotune_warnings.push(warning);
        }
    }
    let mapped = operation.map_graphs(&mut |graph| match pass(graph, context) {
        Ok(graph) => graph,
        Err(error) => {
            failed.get_or_insert(error);
            graph.clone()
        }
    });
    context.tuner = context.tuner.take().or(paused);
    failed.map_or(Ok(mapped), Err)
}

/// A small graph in canonical form and without dead code, for printing.
fn canonicalized(graph: &Graph) -> Graph {
    let options = CompileOptions::default();
    let mut report = Report::default();
    let mut context = Context::new(&options, &mut report);
    let tidy = canonicalize::run(graph, &mut context)
        .and_then(|graph| cse::run(&graph, &mut context))
        .and_then(|graph| dce::run(&graph, &mut context));
    tidy.unwrap_or_else(|_| graph.clone())
}
