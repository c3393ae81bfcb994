//! MLX's own transforms of closures, for tests of what they make of kernels.

use std::ffi::c_int;

use super::call::{api, check};
use super::closure::Closure;
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;

/// Values, and gradients with respect to all inputs.
pub(crate) fn vjp(
    function: &Closure,
    primals: &Vector,
    cotangents: &Vector,
) -> Result<[Vec<Handle>; 2], NativeError> {
    let api = api()?;
    let (mut values, mut results) = (Vector::new()?, Vector::new()?);
    let (to, from) = (
        (values.slot(), results.slot()),
        (primals.raw(), cotangents.raw()),
    );
    // SAFETY: closure and lists are alive for the call; the slots are local lists.
    check(api, unsafe {
        api.mlx_vjp(to.0, to.1, function.raw(), from.0, from.1)
    })?;
    Ok([values.handles()?, results.handles()?])
}

/// Values, and tangents along those of all inputs.
pub(crate) fn jvp(
    function: &Closure,
    primals: &Vector,
    tangents: &Vector,
) -> Result<[Vec<Handle>; 2], NativeError> {
    let api = api()?;
    let (mut values, mut results) = (Vector::new()?, Vector::new()?);
    let (to, from) = (
        (values.slot(), results.slot()),
        (primals.raw(), tangents.raw()),
    );
    // SAFETY: closure and lists are alive for the call; the slots are local lists.
    check(api, unsafe {
        api.mlx_jvp(to.0, to.1, function.raw(), from.0, from.1)
    })?;
    Ok([values.handles()?, results.handles()?])
}

/// The function of one output over these axes of its inputs, -1 for none, to axis 0.
pub(crate) fn vmap(
    function: &Closure,
    inputs: &Vector,
    axes: &[c_int],
) -> Result<Vec<Handle>, NativeError> {
    let api = api()?;
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
    results.handles()
}
