//! The passes: each rewrites a graph into an equivalent one.

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

use crate::graph::Graph;
use crate::report::{PassGraph, Report};
use crate::{CompileOptions, Error, Result};

/// What passes may read and write besides the graph.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a CompileOptions,
    pub(crate) report: &'a mut Report,
    /// The graph after each pass, when the options ask for that.
    pub(crate) kept: Vec<PassGraph>,
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
    let mapped = operation.map_graphs(&mut |graph| match pass(graph, context) {
        Ok(graph) => graph,
        Err(error) => {
            failed.get_or_insert(error);
            graph.clone()
        }
    });
    failed.map_or(Ok(mapped), Err)
}

/// A small graph in canonical form and without dead code, for printing.
fn canonicalized(graph: &Graph) -> Graph {
    let options = CompileOptions::default();
    let mut report = Report::default();
    let mut context = Context {
        options: &options,
        report: &mut report,
        kept: Vec::new(),
    };
    let tidy = canonicalize::run(graph, &mut context)
        .and_then(|graph| cse::run(&graph, &mut context))
        .and_then(|graph| dce::run(&graph, &mut context));
    tidy.unwrap_or_else(|_| graph.clone())
}
