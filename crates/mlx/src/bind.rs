//! How an operation is applied: to handles by calling MLX, to traced arrays by recording it.

use std::panic::Location;
use std::rc::Rc;

use crate::array::State;
use crate::compiled::Watch;
use crate::error::plain_message;
use crate::ffi::table::Outputs;
use crate::ffi::{Fault, Handle, stream};
use crate::trace::{self, Call, Recorder, Traced};
use crate::{Array, ArrayType, Error, Op, Result, guard};

/// Applies an operation that has one output.
///
/// Nothing runs until [`eval`](crate::eval). An operation that rejects its inputs gives an array that carries
/// the error; so does one whose input carries one.
#[track_caller]
pub fn bind(op: Op, inputs: &[&Array]) -> Array {
    match bind_all(op, inputs) {
        Ok(mut outputs) if outputs.len() == 1 => outputs.remove(0),
        Ok(outputs) => Array::failed(Error::op(
            "bind",
            format!("wanted one output, got {}", outputs.len()),
        )),
        Err(error) => Array::failed(error),
    }
}

/// Applies an operation and returns all its outputs.
///
/// # Errors
/// When the operation rejects its inputs, or an input carries an error.
#[track_caller]
pub fn bind_all(op: Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    bind_all_at(op, inputs, Location::caller())
}

/// Applies an operation as [`bind_all`] does, in the name of another line of the program.
///
/// # Errors
/// When the operation rejects its inputs, or an input carries an error.
pub fn bind_all_at(
    op: Op,
    inputs: &[&Array],
    at: &'static Location<'static>,
) -> Result<Vec<Array>> {
    let mut owner = None;
    let mut known = true;
    let mut handles = Vec::with_capacity(inputs.len());
    for input in inputs {
        match &input.state {
            State::Ready(handle) => {
                if let Some(fault) = handle.failure() {
                    return Err(Error::fault_at("eval", fault, at));
                }
                handles.push(handle.as_ref());
            }
            State::Traced(traced) => {
                owner.get_or_insert(&traced.recorder);
                known &= traced.known;
                handles.push(traced.shadow.as_ref());
            }
            State::Failed(error) => return Err(error.as_ref().clone()),
        }
    }
    let outputs = execute(&op, &handles).map_err(|fault| failure(&op, fault, &handles, at))?;
    let recorder = match (trace::current(), owner) {
        (Some(current), _) => current,
        (None, Some(owner)) => owner.open().pop().unwrap_or_else(|| Rc::clone(owner)),
        (None, None) => {
            return Ok(outputs
                .into_vec()
                .into_iter()
                .map(Array::from_handle)
                .collect());
        }
    };
    check_owners(&op, inputs, &recorder, &handles, at)?;
    let types: Vec<ArrayType> = outputs.as_slice().iter().map(ArrayType::of).collect();
    let nodes = recorder.record(&Call {
        op: &op,
        inputs,
        outputs: &types,
        at,
    })?;
    let shadows = outputs.into_vec();
    Ok(nodes
        .into_iter()
        .zip(shadows)
        .map(|(node, shadow)| {
            let (recorder, shadow) = (Rc::clone(&recorder), Rc::new(shadow));
            Array::from_state(State::Traced(Traced {
                recorder,
                node,
                shadow,
                known,
            }))
        })
        .collect())
}

/// Refuses traced inputs whose function has ended, and those of a trace that `recorder` knows nothing of.
fn check_owners(
    op: &Op,
    inputs: &[&Array],
    recorder: &Rc<dyn Recorder>,
    handles: &[&Handle],
    at: &'static Location<'static>,
) -> Result<()> {
    for input in inputs {
        let State::Traced(traced) = &input.state else {
            continue;
        };
        if !traced.recorder.is_open() {
            return Err(Error::Traced {
                op: table_name(op),
                hint: " and has ended; it escaped its function",
                at,
            });
        }
        if !Rc::ptr_eq(&traced.recorder, recorder) && !trace::is_recording(&traced.recorder) {
            let fault = Fault::from("inputs belong to two different traces");
            return Err(failure(op, fault, handles, at));
        }
    }
    Ok(())
}

/// Returns an operation's name in the table, which lives as long as the program.
#[cold]
fn table_name(op: &Op) -> &'static str {
    let found = Op::NAMES.iter().find(|name| **name == op.name());
    found.copied().unwrap_or("host_kernel")
}

/// Applies an operation to handles on this thread's stream, with everything that keeps it from crashing.
pub(crate) fn execute(op: &Op, inputs: &[&Handle]) -> std::result::Result<Outputs, Fault> {
    let (least, most) = op.arity();
    if inputs.len() < least || inputs.len() > most {
        return Err(Fault(format!(
            "takes {} inputs, got {}",
            arity_text(least, most),
            inputs.len()
        )));
    }
    let watch = Watch::of(inputs);
    if let Some(watch) = &watch {
        watch.check(op, inputs)?;
    }
    let outputs = guard::call(op, inputs, stream::current()?)?;
    outputs
        .as_slice()
        .iter()
        .try_for_each(|output| guard::check_size(op, output))?;
    if let Some(watch) = watch {
        watch.keep(outputs.as_slice());
    }
    Ok(outputs)
}

fn arity_text(least: usize, most: usize) -> String {
    match most {
        usize::MAX => format!("at least {least}"),
        most if most == least => least.to_string(),
        most => format!("{least} to {most}"),
    }
}

#[cold]
fn failure(op: &Op, fault: Fault, inputs: &[&Handle], at: &'static Location<'static>) -> Error {
    if let Err(error) = mlx_sys::api() {
        return Error::Library(error.to_string().into());
    }
    Error::Op(std::sync::Arc::new(crate::error::OpError {
        op: op.name().to_owned(),
        message: plain_message(&fault.0),
        inputs: inputs.iter().map(|handle| ArrayType::of(handle)).collect(),
        at,
    }))
}
