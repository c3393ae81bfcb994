//! Control flow that a graph can hold: `cond`, `while_loop`, `scan`, and function transforms.

mod cond;
mod scan;
mod transform;
mod while_loop;

pub use cond::cond;
pub use scan::{ScanOptions, scan};
pub use while_loop::while_loop;

pub(crate) use cond::run as run_cond;
pub(crate) use scan::{Layout as ScanLayout, run as run_scan};
pub(crate) use transform::{record_call as record_transform, run as run_transform};
pub(crate) use while_loop::run as run_while;

use std::panic::Location;
use std::rc::Rc;

use mlx::trace::recorders;
use mlx::{Array, ArrayType, Op, Recorder, bind};

use crate::graph::{Graph, Operation};
use crate::trace::{Recorded, Tape};
use crate::{Error, Result};

/// Returns the tape that records on this thread, if a function is being traced.
fn open_tape() -> Option<Rc<dyn Recorder>> {
    recorders()
        .pop()
        .filter(|recorder| recorder.as_any().is_some_and(|any| any.is::<Tape>()))
}

/// A line of the program.
type At = &'static Location<'static>;

/// Computes what no transform is working on: what vmap stands in for has no values, and what a gradient goes through is
/// kept anyway.
fn eval_settled<'a>(arrays: impl IntoIterator<Item = &'a Array>, at: At) -> mlx::Result<()> {
    let settled = arrays.into_iter().filter(|array| !array.is_transforming());
    mlx::eval(settled).map_err(|error| error.at(at))
}

/// Reads a condition; nothing when it has a value for each element that vmap goes over, and so none to be read.
fn holds(condition: &Array, at: At) -> mlx::Result<Option<bool>> {
    if !condition.is_transforming() {
        let value = condition.item::<bool>().map_err(|error| error.at(at));
        return value.map(Some);
    }
    // A gradient's condition can be read. Of a copy: an array that was read in vain stays an error.
    Ok(bind(Op::Copy, &[condition]).item::<bool>().ok())
}

/// Appends a node with inner graphs to the open trace and returns its outputs.
fn append(
    recorder: &Rc<dyn Recorder>,
    operation: Operation,
    inputs: &[&Array],
    shadows: &[Array],
    at: At,
) -> Result<Vec<Array>> {
    let tape = recorder.as_any().and_then(|any| any.downcast_ref::<Tape>());
    let Some(tape) = tape else {
        return Err(Error::Unsupported(format!(
            "{}: wanted a trace of this crate, got another one",
            operation.name()
        )));
    };
    let types: mlx::Result<Vec<ArrayType>> = shadows.iter().map(mlx::trace::type_of).collect();
    let nodes = tape.add_node(operation, inputs, types?, at)?;
    Ok(nodes
        .into_iter()
        .zip(shadows)
        .map(|(node, shadow)| Array::traced_like(recorder, node, shadow, false))
        .collect())
}

/// Gives graphs that were traced one by one the same inputs: their own, then the captures of all of them.
///
/// Returns the graphs and the captures.
fn share_captures<T>(recorded: Vec<Recorded<T>>) -> (Vec<Graph>, Vec<Array>) {
    let mut all: Vec<Array> = Vec::new();
    for one in &recorded {
        for capture in &one.captures {
            if !all.iter().any(|known| known.is_same_traced(capture)) {
                all.push(capture.clone());
            }
        }
    }
    let graphs = recorded
        .into_iter()
        .map(|one| {
            let mut graph = one.graph;
            let own = graph.inputs.len() - one.captures.len();
            let captured = graph.inputs.split_off(own);
            let mut inputs = graph.inputs.clone();
            for capture in &all {
                let found = one.captures.iter().position(|c| c.is_same_traced(capture));
                match (found, mlx::trace::type_of(capture)) {
                    (Some(place), _) => inputs.push(captured[place]),
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
        })
        .collect();
    (graphs, all)
}
