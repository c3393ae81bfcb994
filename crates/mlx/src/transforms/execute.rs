//! How a transform is applied to arrays with values: by MLX.

use std::ffi::c_int;
use std::panic::Location;
use std::rc::Rc;

use super::body::{body, finish};
use super::{checks, own_rules};
use crate::array::{FlatFunction, Transform};
use crate::error::{WithOp, plain_message};
use crate::ffi::closure::LocalBody;
use crate::ffi::vector::Vector;
use crate::ffi::{Handle, NativeError, inspect, transform as native};
use crate::{Array, ArrayType, Error, Op, Result, bind};

type At = &'static Location<'static>;

/// Applies a transform whose functions and inputs have been checked.
pub(super) fn execute(
    transform: &Transform,
    functions: &[Rc<FlatFunction>],
    inputs: &[&Array],
    at: At,
) -> Result<Vec<Array>> {
    let handles: Result<Vec<&Handle>> = inputs
        .iter()
        .map(|input| input.handle(transform.name()).map(AsRef::as_ref))
        .collect();
    let handles = handles?;
    let call = || native_call(transform, functions, &handles, at);
    let results = finish(call, |fault| failure(transform, fault, &handles, at));
    // MLX forgets what depends on the functions around this one; what is read there would be cut off from them.
    let given = results.as_deref().unwrap_or_default();
    native::resume(&given.iter().collect::<Vec<_>>()).with_op(transform.name())?;
    Ok(results?.into_iter().map(Array::from_handle).collect())
}

fn native_call(
    transform: &Transform,
    functions: &[Rc<FlatFunction>],
    handles: &[&Handle],
    at: At,
) -> std::result::Result<Vec<Handle>, NativeError> {
    let name = transform.name();
    let [function, ..] = functions else {
        return Err(NativeError::from("wanted a function, got none"));
    };
    let (values, others) = match transform {
        Transform::ValueAndGrad { argnums } => {
            let argnums: Vec<c_int> = argnums.iter().copied().map(to_int).collect();
            native::value_and_grad(as_is(name, function), &argnums, &list(handles)?)?
        }
        Transform::Vjp { n_primals } => {
            let (primals, cotangents) = handles.split_at(*n_primals);
            native::vjp(
                each_paired(name, function),
                &list(primals)?,
                &list(cotangents)?,
            )?
        }
        Transform::Jvp => {
            let (primals, tangents) = handles.split_at(handles.len() / 2);
            native::jvp(as_is(name, function), &list(primals)?, &list(tangents)?)?
        }
        Transform::Vmap { in_axes, out_axes } => {
            let in_axes = checks::in_axes_of(in_axes, &types(handles)).map_err(NativeError)?;
            let out_axes = |outputs: &[Handle]| {
                let types: Vec<ArrayType> = outputs.iter().map(ArrayType::of).collect();
                checks::out_axes_of(out_axes, &types).map_err(NativeError)
            };
            let inputs = list(handles)?;
            return native::vmap(as_is(name, function), &inputs, &in_axes, out_axes)?.handles();
        }
        Transform::Checkpoint => {
            return native::checkpoint(each_paired(name, function), &list(handles)?)?.handles();
        }
        Transform::CustomFunction { .. } => {
            return own_rules::apply(transform, functions, handles, at)?.handles();
        }
    };
    let mut results = values.handles()?;
    results.extend(others.handles()?);
    Ok(results)
}

/// Returns what C calls for a function.
fn as_is(name: &'static str, function: &Rc<FlatFunction>) -> Box<LocalBody> {
    let function = Rc::clone(function);
    inside(body(name, move |arrays| function(arrays)))
}

/// Returns what C calls for a function whose outputs get a cotangent each.
///
/// MLX leaves out stopped gradients when it pairs outputs with cotangents, so that the next output would get the wrong
/// one; a copy of such an output is none.
pub(super) fn each_paired(name: &'static str, function: &Rc<FlatFunction>) -> Box<LocalBody> {
    let function = Rc::clone(function);
    let unstopped = move |output: Array| {
        let primitive = inspect::primitive_name(output.handle(name)?).with_op(name)?;
        if primitive == "StopGradient" {
            bind(Op::Copy, &[&output]).checked()
        } else {
            Ok(output)
        }
    };
    inside(body(name, move |arrays| {
        function(arrays)?.into_iter().map(unstopped).collect()
    }))
}

/// Returns a function whose inputs are known to be arguments of a transform while it runs.
fn inside(body: Box<LocalBody>) -> Box<LocalBody> {
    Box::new(move |inputs| {
        let arguments = Vector::of_handles(&inputs)?;
        native::run_inside(&arguments, || body(inputs))
    })
}

fn types(handles: &[&Handle]) -> Vec<ArrayType> {
    handles.iter().map(|handle| ArrayType::of(handle)).collect()
}

pub(super) fn list(handles: &[&Handle]) -> std::result::Result<Vector, NativeError> {
    Vector::of_handles(handles.iter().copied())
}

fn to_int(number: usize) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

#[cold]
fn failure(transform: &Transform, fault: NativeError, inputs: &[&Handle], at: At) -> Error {
    match mlx_sys::api() {
        Ok(_) => checks::wrong(transform, plain_message(&fault.0), &types(inputs), at),
        Err(error) => Error::Library(error.to_string().into()),
    }
}
