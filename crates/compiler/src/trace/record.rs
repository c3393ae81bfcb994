//! Recording one function: inputs without values, its outputs, and what it captured of enclosing traces.

use std::cell::Cell;
use std::rc::Rc;

use mlx::compiler_api::{Recorder, TracedArray, record_on, recorders, with_random_keys};
use mlx::{Array, ArrayType, Dtype};

use super::tape::{SizeRead, Tape};
use crate::graph::{Graph, MAX_NESTING};
use crate::{Error, Result};

/// The maximum depth of traces inside one another, so that graphs with formulas and fused groups read back.
const MAX_DEPTH: usize = MAX_NESTING - 2;

/// A function that was traced: its graph and its auxiliary output.
pub(crate) struct Recorded<T> {
    pub(crate) graph: Graph,
    /// Arrays of enclosing traces that the function uses; they are the last inputs of the graph.
    pub(crate) captures: Vec<Array>,
    /// The auxiliary output: what the function returned apart from the arrays that are the graph's outputs.
    pub(crate) aux: T,
    /// Where the function first read the size of an array.
    pub(crate) size_read: Option<SizeRead>,
    /// Whether the function captured an array that represents an argument of a transform around the trace.
    pub(crate) captures_transforming: bool,
}

impl<T> Recorded<T> {
    /// Drops the auxiliary output.
    pub(crate) fn without_aux(self) -> Recorded<()> {
        Recorded {
            graph: self.graph,
            captures: self.captures,
            aux: (),
            size_read: self.size_read,
            captures_transforming: self.captures_transforming,
        }
    }
}

/// Traces `function` on inputs of these types.
///
/// It returns its outputs and an auxiliary output. Arrays of enclosing traces become further inputs of the graph.
#[track_caller]
pub(crate) fn record<T>(
    name: &str,
    types: &[ArrayType],
    function: impl FnOnce(&[Array]) -> Result<(Vec<Array>, T)>,
) -> Result<Recorded<T>> {
    record_on_tape(&Rc::new(Tape::new(name)), types, function)
}

/// Traces `function` as [`record`] does, with a further input for each random key that it asks for without having one.
///
/// Returns the number of those inputs too, which are the last ones.
#[track_caller]
pub(crate) fn record_with_keys<T>(
    name: &str,
    types: &[ArrayType],
    function: impl FnOnce(&[Array]) -> Result<(Vec<Array>, T)>,
) -> Result<(Recorded<T>, usize)> {
    let tape = Rc::new(Tape::new(name));
    let recorder: Rc<dyn Recorder> = tape.clone();
    let drawn = Cell::new(0);
    let key = || {
        drawn.set(drawn.get() + 1);
        let key = ArrayType::new(2, Dtype::Uint32);
        Array::new_tracer(&recorder, tape.add_input(key.clone()), &key)
    };
    let recorded = with_random_keys(&key, || record_on_tape(&tape, types, function))??;
    Ok((recorded, drawn.get()))
}

/// Traces a body of control flow as [`record`] does: there, random numbers want a key, because the body is one graph for
/// all rounds.
#[track_caller]
pub(crate) fn record_rounds<T>(
    op: &'static str,
    name: &str,
    types: &[ArrayType],
    function: impl FnOnce(&[Array]) -> Result<(Vec<Array>, T)>,
) -> Result<Recorded<T>> {
    let refused = || {
        let message = "wanted a random key in what is run in rounds or on a condition, got none; split one for each round";
        Array::failed(mlx::Error::op(op, message))
    };
    with_random_keys(&refused, || record(name, types, function))?
}

/// Traces `function` on a new tape.
#[track_caller]
fn record_on_tape<T>(
    tape: &Rc<Tape>,
    types: &[ArrayType],
    function: impl FnOnce(&[Array]) -> Result<(Vec<Array>, T)>,
) -> Result<Recorded<T>> {
    if recorders().len() >= MAX_DEPTH {
        let message = format!(
            "wanted at most {MAX_DEPTH} functions inside one another, got more; a function that calls itself \
             never ends while it is traced"
        );
        return Err(mlx::Error::op("trace", message).into());
    }
    let recorder: Rc<dyn Recorder> = tape.clone();
    let _closed = CloseGuard(tape);
    let inputs: Vec<Array> = types
        .iter()
        .map(|array_type| {
            let node = tape.add_input(array_type.clone());
            Array::new_tracer(&recorder, node, array_type)
        })
        .collect();
    let (outputs, aux) = record_on(&recorder, || function(&inputs))?;
    for output in &outputs {
        tape.add_output(&recorder, output).map_err(Error::Mlx)?;
    }
    Ok(tape.finish(aux))
}

/// Ends a trace, also when the function panics, so that arrays that escaped are errors.
struct CloseGuard<'a>(&'a Rc<Tape>);

impl Drop for CloseGuard<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
