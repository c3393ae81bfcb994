//! Nodes with graphs inside: how they are appended to the open trace, and how their graphs share captured arrays.

use std::rc::Rc;

use mlx::compiler_api::{Recorder, TracedArray, recorders};
use mlx::{Array, ArrayType};

use super::record::Recorded;
use super::tape::Tape;
use crate::graph::{CallSite, Graph, Operation};
use crate::{Error, Result};

/// Returns the tape that records on this thread, if a function is being traced.
pub(crate) fn open_tape() -> Option<Rc<dyn Recorder>> {
    recorders()
        .pop()
        .filter(|recorder| recorder.as_any().is_some_and(|any| any.is::<Tape>()))
}

/// Appends a node with inner graphs to the open trace and returns its outputs, of the types of `shadows`.
pub(crate) fn append_node(
    recorder: &Rc<dyn Recorder>,
    operation: Operation,
    inputs: &[&Array],
    shadows: &[Array],
    at: CallSite,
) -> Result<Vec<Array>> {
    let tape = recorder.as_any().and_then(|any| any.downcast_ref::<Tape>());
    let Some(tape) = tape else {
        return Err(Error::Unsupported(format!(
            "{}: wanted a trace of this crate, got another one",
            operation.name()
        )));
    };
    let types: mlx::Result<Vec<ArrayType>> =
        shadows.iter().map(mlx::compiler_api::type_of).collect();
    let nodes = tape.add_node(operation, inputs, types?, at)?;
    Ok(nodes
        .into_iter()
        .zip(shadows)
        .map(|(node, shadow)| Array::new_tracer_like(recorder, node, shadow, false))
        .collect())
}

/// Gives graphs that were traced one by one the same inputs: their own, then the captures of all of them.
///
/// Returns the graphs and the captures.
pub(crate) fn share_captures<T>(recorded: Vec<Recorded<T>>) -> (Vec<Graph>, Vec<Array>) {
    let mut all: Vec<Array> = Vec::new();
    for one in &recorded {
        for capture in &one.captures {
            if !all.iter().any(|known| known.is_same_tracer(capture)) {
                all.push(capture.clone());
            }
        }
    }
    let graphs = recorded
        .into_iter()
        .map(|one| with_captures(one, &all))
        .collect();
    (graphs, all)
}

/// Makes `all` captures the last inputs of a graph, which uses some of them.
fn with_captures<T>(recorded: Recorded<T>, all: &[Array]) -> Graph {
    let mut graph = recorded.graph;
    let own = graph.inputs.len() - recorded.captures.len();
    let captured = graph.inputs.split_off(own);
    let mut inputs = graph.inputs.clone();
    for capture in all {
        let mut captures = recorded.captures.iter();
        let found = captures.position(|known| known.is_same_tracer(capture));
        match (found, mlx::compiler_api::type_of(capture)) {
            (Some(index), _) => inputs.push(captured[index]),
            (None, Ok(array_type)) => {
                graph.add_input(array_type);
                inputs.extend(graph.inputs.pop());
            }
            // A capture has a type: it was recorded as an input.
            (None, Err(_)) => {}
        }
    }
    graph.set_inputs(inputs);
    graph
}
