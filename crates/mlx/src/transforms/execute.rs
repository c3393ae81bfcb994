//! How a transform is applied to arrays with values: by MLX.

use std::ffi::c_int;
use std::panic::Location;
use std::rc::Rc;

use super::body::{body, finish, run};
use super::flat::{FlatFunction, FlatRef};
use super::{Transform, checks};
use crate::error::plain_message;
use crate::ffi::closure::LocalRule;
use crate::ffi::vector::Vector;
use crate::ffi::{Fault, Handle, inspect, transform as native};
use crate::{Array, ArrayType, Error, Op, Result, bind};

type At = &'static Location<'static>;

/// Applies a transform that is done with its function when this returns.
pub(super) fn lent(
    transform: &Transform,
    function: FlatRef<'_>,
    inputs: &[&Array],
    at: At,
) -> Result<Vec<Array>> {
    let name = transform.name();
    let handles = handles(name, inputs)?;
    let call = || {
        let both = match transform {
            Transform::ValueAndGrad { argnums } => {
                let argnums: Vec<c_int> = argnums.iter().copied().map(to_int).collect();
                native::value_and_grad(&*body(name, function), &argnums, &list(&handles)?)?
            }
            Transform::Vjp { n_primals } => {
                let (primals, cotangents) = handles.split_at(*n_primals);
                let function = |arrays: &[Array]| function(arrays).and_then(unstopped);
                native::vjp(&*body(name, function), &list(primals)?, &list(cotangents)?)?
            }
            Transform::Jvp => {
                let (primals, tangents) = handles.split_at(handles.len() / 2);
                native::jvp(&*body(name, function), &list(primals)?, &list(tangents)?)?
            }
            Transform::Vmap { in_axes, out_axes } => {
                let types: Vec<ArrayType> = handles.iter().map(|one| ArrayType::of(one)).collect();
                let in_axes = checks::in_axes_of(in_axes, &types).map_err(Fault)?;
                let out_axes = |outputs: &[Handle]| {
                    let types: Vec<ArrayType> = outputs.iter().map(ArrayType::of).collect();
                    checks::out_axes_of(out_axes, &types).map_err(Fault)
                };
                let inputs = list(&handles)?;
                let results = native::vmap(&*body(name, function), &inputs, &in_axes, out_axes)?;
                return results.handles();
            }
            Transform::Checkpoint | Transform::CustomVjp => {
                return Err(Fault::from("wanted functions that it may keep"));
            }
        };
        let mut results = both.0.handles()?;
        results.extend(both.1.handles()?);
        Ok(results)
    };
    finish(call, |fault| failure(transform, fault, &handles, at)).map(arrays)
}

/// Applies a transform whose functions MLX keeps in the graph.
pub(super) fn kept(
    transform: &Transform,
    functions: &[Rc<FlatFunction>],
    inputs: &[&Array],
    at: At,
) -> Result<Vec<Array>> {
    let name = transform.name();
    let handles = handles(name, inputs)?;
    let types: Vec<ArrayType> = handles.iter().map(|one| ArrayType::of(one)).collect();
    let (first, of, checked) = (Rc::clone(&functions[0]), transform.clone(), types.clone());
    let forward = move |arrays: &[Array]| {
        let outputs = first(arrays)?;
        checks::outputs(&of, &checked, &outputs, at)?;
        unstopped(outputs)
    };
    let call = || {
        let inputs = list(&handles)?;
        let results = match functions.get(1) {
            Some(rule) => {
                native::custom_vjp(body(name, forward), gradient(Rc::clone(rule), at), &inputs)
            }
            None => native::checkpoint(body(name, forward), &inputs),
        };
        results?.handles()
    };
    finish(call, |fault| failure(transform, fault, &handles, at)).map(arrays)
}

/// Returns what C calls for the gradient of a custom vjp.
fn gradient(rule: Rc<FlatFunction>, at: At) -> Box<LocalRule> {
    Box::new(move |[primals, cotangents, outputs]| {
        let types: Vec<ArrayType> = primals.iter().map(ArrayType::of).collect();
        let all = primals.into_iter().chain(cotangents).chain(outputs);
        let checked = |arrays: &[Array]| checks::gradients(&types, rule(arrays)?, at);
        run(Transform::CustomVjp.name(), all.collect(), &checked)
    })
}

/// Returns outputs of which none is a stopped gradient itself.
///
/// MLX leaves those out when it pairs outputs with cotangents, so that the next output would get the wrong one.
fn unstopped(outputs: Vec<Array>) -> Result<Vec<Array>> {
    let one = |output: Array| {
        let handle = output.handle("vjp")?;
        let name =
            inspect::primitive_name(handle).map_err(|fault| Error::from_fault("vjp", fault))?;
        if name == "StopGradient" {
            bind(Op::Copy, &[&output]).checked()
        } else {
            Ok(output)
        }
    };
    outputs.into_iter().map(one).collect()
}

fn handles<'a>(name: &'static str, inputs: &[&'a Array]) -> Result<Vec<&'a Handle>> {
    let handles = inputs.iter().map(|input| input.handle(name));
    handles.map(|handle| handle.map(AsRef::as_ref)).collect()
}

fn list(handles: &[&Handle]) -> std::result::Result<Vector, Fault> {
    Vector::of_handles(handles.iter().copied())
}

fn arrays(handles: Vec<Handle>) -> Vec<Array> {
    handles.into_iter().map(Array::from_handle).collect()
}

fn to_int(number: usize) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

#[cold]
fn failure(transform: &Transform, fault: Fault, inputs: &[&Handle], at: At) -> Error {
    if let Err(error) = mlx_sys::api() {
        return Error::Library(error.to_string().into());
    }
    let types: Vec<ArrayType> = inputs.iter().map(|handle| ArrayType::of(handle)).collect();
    checks::wrong(transform, plain_message(&fault.0), &types, at)
}
