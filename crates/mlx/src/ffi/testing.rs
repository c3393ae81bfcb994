//! MLX's own transforms of functions over arrays, for tests of what they make of kernels.

use std::ffi::c_int;

use super::call::{api, check};
use super::closure::Closure;
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;
use crate::{Array, Result};

/// A function as MLX's transforms take it.
fn closure(function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static) -> Closure {
    let fault = |error: crate::Error| NativeError(error.to_string());
    let body = move |inputs: Vec<Handle>| {
        let inputs: Vec<Array> = inputs.into_iter().map(Array::from_handle).collect();
        let outputs = function(&inputs).map_err(fault)?;
        outputs
            .iter()
            .map(|output| output.typed().map_err(fault)?.duplicate())
            .collect()
    };
    Closure::new(Box::new(body)).unwrap()
}

fn vector(arrays: &[&Array]) -> Vector {
    Vector::of_handles(arrays.iter().map(|array| array.typed().unwrap())).unwrap()
}

fn arrays(vector: &Vector) -> std::result::Result<Vec<Array>, NativeError> {
    let handles = vector.handles()?.into_iter();
    Ok(handles.map(Array::from_handle).collect())
}

/// Values, and gradients with respect to all inputs.
pub(crate) fn vjp(
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
    primals: &[&Array],
    cotangents: &[&Array],
) -> std::result::Result<[Vec<Array>; 2], NativeError> {
    let (api, function) = (api()?, closure(function));
    let (primals, cotangents) = (vector(primals), vector(cotangents));
    let (mut values, mut results) = (Vector::new()?, Vector::new()?);
    let (to, from) = (
        (values.slot(), results.slot()),
        (primals.raw(), cotangents.raw()),
    );
    // SAFETY: closure and lists are alive for the call; the slots are local lists.
    check(api, unsafe {
        api.mlx_vjp(to.0, to.1, function.raw(), from.0, from.1)
    })?;
    Ok([arrays(&values)?, arrays(&results)?])
}

/// Values, and tangents along those of all inputs.
pub(crate) fn jvp(
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
    primals: &[&Array],
    tangents: &[&Array],
) -> std::result::Result<[Vec<Array>; 2], NativeError> {
    let (api, function) = (api()?, closure(function));
    let (primals, tangents) = (vector(primals), vector(tangents));
    let (mut values, mut results) = (Vector::new()?, Vector::new()?);
    let (to, from) = (
        (values.slot(), results.slot()),
        (primals.raw(), tangents.raw()),
    );
    // SAFETY: closure and lists are alive for the call; the slots are local lists.
    check(api, unsafe {
        api.mlx_jvp(to.0, to.1, function.raw(), from.0, from.1)
    })?;
    Ok([arrays(&values)?, arrays(&results)?])
}

/// The function of one output over these axes of its inputs, -1 for none, to axis 0.
pub(crate) fn vmap(
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
    inputs: &[&Array],
    axes: &[c_int],
) -> std::result::Result<Vec<Array>, NativeError> {
    let (api, function, inputs) = (api()?, closure(function), vector(inputs));
    let (mut traced_in, mut traced_out) = (Vector::new()?, Vector::new()?);
    let (to, len) = ((traced_in.slot(), traced_out.slot()), axes.len());
    let (fun, from, at) = (function.raw(), inputs.raw(), axes.as_ptr());
    // SAFETY: closure and lists are alive for the call; the slots are local lists.
    check(api, unsafe {
        api.mlx_detail_vmap_trace(to.0, to.1, fun, from, at, len)
    })?;
    let mut results = Vector::new()?;
    let (to, traced, out) = (results.slot(), (traced_in.raw(), traced_out.raw()), [0]);
    // SAFETY: lists and axes are alive for the call; the slot is a local list.
    let status = unsafe {
        api.mlx_detail_vmap_replace(
            to,
            from,
            traced.0,
            traced.1,
            at,
            len,
            out.as_ptr(),
            out.len(),
        )
    };
    check(api, status)?;
    arrays(&results)
}
