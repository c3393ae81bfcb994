//! How an operation is applied: to handles by calling MLX, to traced arrays by recording it.

use std::panic::Location;
use std::rc::Rc;

use crate::array::{OpCall, Recorder, State, Traced, trace};
use crate::ffi::stream::StreamOf;
use crate::ffi::{Handle, NativeError, table};
use crate::shape::{Shape, Size};
use crate::{Array, ArrayType, Error, Op, Result, validate, workaround};

/// Applies an operation that has one output.
///
/// Nothing runs until [`eval`](crate::eval). An operation that rejects its inputs gives an array that carries
/// the error; so does one whose input carries one.
#[track_caller]
pub fn bind(op: Op, inputs: &[&Array]) -> Array {
    bind_sized(op, &[], inputs)
}

/// Applies an operation that has one output, of whose attributes these are sizes of traced arrays, with their places.
#[track_caller]
pub(crate) fn bind_sized(op: Op, sizes: &[(usize, Size)], inputs: &[&Array]) -> Array {
    match bind_all_sized(op, sizes, inputs, Location::caller()) {
        Ok(mut outputs) if outputs.len() == 1 => outputs.remove(0),
        Ok(outputs) => Array::failed(Error::op(
            "bind",
            format!("wanted one output, got {}", outputs.len()),
        )),
        Err(error) => Array::failed(error),
    }
}

/// Applies an operation whose first attributes are a shape.
#[track_caller]
pub(crate) fn bind_shape(
    shape: impl Into<Shape>,
    op: impl FnOnce(Vec<i32>) -> Op,
    inputs: &[&Array],
) -> Array {
    let (numbers, sizes) = shape.into().into_parts();
    bind_sized(op(numbers), &sizes, inputs)
}

/// Applies an operation whose first attributes are where slices start and stop.
#[track_caller]
pub(crate) fn bind_slice(
    start: &[Size],
    stop: &[Size],
    op: impl FnOnce(Vec<i32>, Vec<i32>) -> Op,
    inputs: &[&Array],
) -> Array {
    let numbers = |sizes: &[Size]| sizes.iter().map(Size::number).collect();
    let all = start.iter().chain(stop).cloned().enumerate();
    let sizes: Vec<(usize, Size)> = all.filter(|(_, size)| size.is_traced()).collect();
    bind_sized(op(numbers(start), numbers(stop)), &sizes, inputs)
}

/// Applies an operation and returns all its outputs.
///
/// # Errors
/// When the operation rejects its inputs, or an input carries an error.
#[track_caller]
pub fn bind_all(op: Op, inputs: &[&Array]) -> Result<Vec<Array>> {
    bind_all_at(op, inputs, Location::caller())
}

/// Applies an operation as [`bind_all`] does, with an explicit source location.
///
/// # Errors
/// When the operation rejects its inputs, or an input carries an error.
pub fn bind_all_at(
    op: Op,
    inputs: &[&Array],
    at: &'static Location<'static>,
) -> Result<Vec<Array>> {
    bind_all_sized(op, &[], inputs, at)
}

/// Applies an operation as [`bind_all_at`] does, of whose attributes these are sizes of traced arrays, with their places.
pub(crate) fn bind_all_sized(
    op: Op,
    sizes: &[(usize, Size)],
    inputs: &[&Array],
    at: &'static Location<'static>,
) -> Result<Vec<Array>> {
    let result = apply(op, sizes, inputs, at);
    if result.is_err() {
        // Other sizes may be no error, after which the function may go on in another way.
        let op = "an operation that fails";
        for input in inputs {
            input.note_size_kept(op, at);
        }
        for (_, size) in sizes {
            size.note_read(op, at);
        }
    }
    result
}

fn apply(
    op: Op,
    sizes: &[(usize, Size)],
    inputs: &[&Array],
    at: &'static Location<'static>,
) -> Result<Vec<Array>> {
    let mut owner = None;
    // What depends on sizes of inputs depends on them.
    let mut known = sizes.is_empty();
    let mut handles = Vec::with_capacity(inputs.len());
    for input in inputs {
        match &input.state {
            State::Ready(handle) => {
                if let Some(fault) = handle.failure() {
                    return Err(Error::native_at("eval", fault, Vec::new(), at));
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
    let fail = |error: NativeError| failure(&op, &error, &handles, at);
    validate::check(&op, &handles).map_err(fail)?;
    let stream = StreamOf::op(&op).map_err(fail)?;
    let outputs = match workaround::replace(&op, &handles, stream.raw()).map_err(fail)? {
        Some(outputs) => outputs,
        None => table::call(&op, &table::raws(&handles), stream.raw()).map_err(fail)?,
    };
    let outputs = workaround::fresh_outputs(&op, &handles, outputs, stream.raw()).map_err(fail)?;
    validate::check_results(&op, &outputs).map_err(fail)?;
    let recorder = match (trace::current(), owner) {
        (Some(current), _) => current,
        (None, Some(owner)) => owner.open().pop().unwrap_or_else(|| Rc::clone(owner)),
        (None, None) => {
            for (_, size) in sizes {
                size.note_read("size", at);
            }
            return Ok(outputs
                .into_vec()
                .into_iter()
                .map(Array::from_handle)
                .collect());
        }
    };
    check_owners(&op, inputs, &recorder, &handles, at)?;
    if let (Op::Unstack { axis }, Some(input)) = (&op, inputs.first()) {
        // How many there are is seen by the caller.
        input.axis_size(*axis)?.fixed_at(at);
    }
    let types: Vec<ArrayType> = outputs.as_slice().iter().map(ArrayType::of).collect();
    let nodes = recorder.record(&OpCall {
        op: &op,
        inputs,
        outputs: &types,
        sizes,
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

/// Refuses traced inputs whose function has ended, and those of a trace that `recorder` is not part of.
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
            let fault = NativeError::from("inputs belong to two different traces");
            return Err(failure(op, &fault, handles, at));
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

#[cold]
fn failure(
    op: &Op,
    error: &NativeError,
    inputs: &[&Handle],
    at: &'static Location<'static>,
) -> Error {
    let inputs = inputs.iter().map(|handle| ArrayType::of(handle)).collect();
    Error::native_at(op.name(), error, inputs, at)
}
