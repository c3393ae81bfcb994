//! Function transforms inside a traced function: their functions become graphs, and MLX transforms those.

use std::cell::RefCell;
use std::rc::Rc;

use mlx::Array;
use mlx::compiler_api::{TracedArray, record_on_all, recorders, without_recording};
use mlx::transforms::{FlatFunction, Transform, TransformCall, apply_at};

use super::record::{Recorded, record};
use super::subgraphs::{append_node, open_tape, share_captures};
use crate::Error;
use crate::execute::Executor;
use crate::graph::Operation;

/// Records a transform as a node.
///
/// The transform is applied once to arrays without values. So MLX calls each function with the types it will have,
/// and the function is traced on those; and MLX gives the types of the outputs.
pub(super) fn record_transform(call: &TransformCall<'_>) -> mlx::Result<Vec<Array>> {
    let Some(recorder) = open_tape() else {
        return Err(
            mlx::Error::op(call.transform.name(), "wanted an open trace, got none").at(call.at),
        );
    };
    let traced: Vec<Traced> = call.functions.iter().map(|_| Rc::default()).collect();
    let functions: Vec<Rc<FlatFunction>> = call
        .functions
        .iter()
        .zip(&traced)
        .map(|(function, traced)| probe(function, traced))
        .collect();
    let shadows: Vec<Array> = call
        .inputs
        .iter()
        .map(|input| input.abstract_value())
        .collect();
    let inputs: Vec<&Array> = shadows.iter().collect();
    let outputs = without_recording(|| apply_at(call.transform, &functions, &inputs, call.at))?;
    record_rules(call, &inputs, &outputs, &traced)?;
    let mut recorded = Vec::new();
    for slot in traced {
        match slot.borrow_mut().take() {
            Some(one) => {
                if let Some(read) = one.size_read {
                    // A size that the inner function read is frozen into the outer one too.
                    recorder.reads_size(read.op, read.at);
                }
                recorded.push(one);
            }
            None => {
                let message = "wanted each function to be called, got one that was not";
                return Err(mlx::Error::op(call.transform.name(), message).at(call.at));
            }
        }
    }
    let (graphs, captures) = share_captures(recorded);
    let operation = Operation::Transform {
        transform: call.transform.clone(),
        functions: graphs.into_iter().map(Rc::new).collect(),
        n_captures: captures.len(),
    };
    let mut all = call.inputs.to_vec();
    all.extend(&captures);
    append_node(&recorder, operation, &all, &outputs, call.at).map_err(Error::into_mlx)
}

/// Where the trace of a function is kept once the transform has called it.
type Traced = Rc<RefCell<Option<Recorded<()>>>>;

/// Returns a function that traces another when it is called, and gives outputs of the right types.
fn probe(function: &Rc<FlatFunction>, traced: &Traced) -> Rc<FlatFunction> {
    let (function, traced) = (Rc::clone(function), Rc::clone(traced));
    let open = recorders();
    Rc::new(move |inputs: &[Array]| {
        // The outer trace is open for the inner one, which may capture its arrays.
        let recorded = record_on_all(&open, || {
            record_function(&function, &inputs.iter().collect::<Vec<_>>())
        })?;
        let executor = Executor::for_types(recorded.graph.clone()).map_err(Error::into_mlx)?;
        let shadows: Vec<Array> = recorded
            .captures
            .iter()
            .map(Array::abstract_value)
            .collect();
        let all: Vec<&Array> = inputs.iter().chain(&shadows).collect();
        let outputs = executor.run(&all)?;
        *traced.borrow_mut() = Some(recorded);
        Ok(outputs)
    })
}

/// Traces the rules of a function with its own gradient or tangents.
///
/// MLX calls them only when these are taken, so the types of their arguments are put together here. A rule for vmap
/// stays as it is, and runs when the graph does: what it gets depends on the axis.
fn record_rules(
    call: &TransformCall<'_>,
    inputs: &[&Array],
    outputs: &[Array],
    traced: &[Traced],
) -> mlx::Result<()> {
    let Transform::CustomFunction { vjp, jvp, .. } = call.transform else {
        return Ok(());
    };
    let outputs: Vec<&Array> = outputs.iter().collect();
    let of_vjp = vjp.then(|| [inputs, &outputs, &outputs].concat());
    let of_jvp = jvp.then(|| [inputs, inputs].concat());
    let rules = call.functions.iter().zip(traced).skip(1);
    for ((rule, slot), inputs) in rules.zip(of_vjp.into_iter().chain(of_jvp)) {
        *slot.borrow_mut() = Some(record_function(rule, &inputs)?);
    }
    Ok(())
}

fn record_function(function: &Rc<FlatFunction>, inputs: &[&Array]) -> mlx::Result<Recorded<()>> {
    let types = inputs
        .iter()
        .map(|array| mlx::compiler_api::type_of(array))
        .collect::<mlx::Result<Vec<_>>>()?;
    let recorded = record("function", &types, |arrays| {
        Ok((function(arrays).map_err(Error::Mlx)?, ()))
    });
    recorded.map_err(Error::into_mlx)
}
