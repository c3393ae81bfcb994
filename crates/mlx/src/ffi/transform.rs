//! MLX's transforms of closures: gradients, products with Jacobians, vectorization, checkpoints.

use std::ffi::c_int;

use mlx_sys as sys;

use super::call::{api, check, loaded, loaded_to_free};
use super::closure::{Closure, LocalBody};
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;

/// A list of results and a second one: values and gradients, values and tangents.
pub(crate) type Pair = (Vector, Vector);

/// Outputs, and gradients of the first with respect to the inputs `argnums`, in ascending order of these.
pub(crate) fn value_and_grad(
    body: Box<LocalBody>,
    argnums: &[c_int],
    inputs: &Vector,
) -> Result<Pair, NativeError> {
    let (api, closure) = (api()?, Closure::local(body)?);
    let ctx = std::ptr::null_mut();
    let mut gradient = Gradient(sys::mlx_closure_value_and_grad { ctx });
    let (fun, len) = (closure.raw(), argnums.len());
    // SAFETY: closure and numbers are alive for the call; the slot is empty, so a new handle is made for us.
    let status = unsafe { api.mlx_value_and_grad(&mut gradient.0, fun, argnums.as_ptr(), len) };
    check(api, status)?;
    pair(|values, gradients| {
        // SAFETY: closure and list are alive for the call; the slots are empty and owned by this function.
        unsafe { api.mlx_closure_value_and_grad_apply(values, gradients, gradient.0, inputs.raw()) }
    })
}

/// Outputs, and the products of `cotangents` with the Jacobian.
pub(crate) fn vjp(
    body: Box<LocalBody>,
    primals: &Vector,
    cotangents: &Vector,
) -> Result<Pair, NativeError> {
    let (api, closure) = (api()?, Closure::local(body)?);
    pair(|values, products| {
        let (fun, at, along) = (closure.raw(), primals.raw(), cotangents.raw());
        // SAFETY: closure and lists are alive for the call; the slots are empty and owned by this function.
        unsafe { api.mlx_vjp(values, products, fun, at, along) }
    })
}

/// Outputs, and the products of the Jacobian with `tangents`.
pub(crate) fn jvp(
    body: Box<LocalBody>,
    primals: &Vector,
    tangents: &Vector,
) -> Result<Pair, NativeError> {
    let (api, closure) = (api()?, Closure::local(body)?);
    pair(|values, products| {
        let (fun, at, along) = (closure.raw(), primals.raw(), tangents.raw());
        // SAFETY: closure and lists are alive for the call; the slots are empty and owned by this function.
        unsafe { api.mlx_jvp(values, products, fun, at, along) }
    })
}

/// The function over these axes of its inputs, -1 for none.
///
/// `out_axes` says where the axis goes in each output, which it gets as for one element; at least one input has an
/// axis, all are in range.
pub(crate) fn vmap(
    body: Box<LocalBody>,
    inputs: &Vector,
    in_axes: &[c_int],
    out_axes: impl FnOnce(&[Handle]) -> Result<Vec<c_int>, NativeError>,
) -> Result<Vector, NativeError> {
    let (api, closure) = (api()?, Closure::local(body)?);
    let (axes, n_axes) = (in_axes.as_ptr(), in_axes.len());
    let (traced, outputs) = pair(|traced, outputs| {
        let (fun, from) = (closure.raw(), inputs.raw());
        // SAFETY: closure, list and axes are alive for the call; the slots are empty and owned by this function.
        unsafe { api.mlx_detail_vmap_trace(traced, outputs, fun, from, axes, n_axes) }
    })?;
    let out_axes = out_axes(&outputs.handles()?)?;
    let mut results = Vector::empty();
    // SAFETY: lists and axes are alive for the call; the slot is empty and owned by this function.
    let status = unsafe {
        api.mlx_native_vmap_replace(
            results.slot(),
            inputs.raw(),
            traced.raw(),
            outputs.raw(),
            axes,
            n_axes,
            out_axes.as_ptr(),
            out_axes.len(),
        )
    };
    check(api, status)?;
    Ok(results)
}

/// Runs a function of a transform on `inputs`; what depends on them is known to, until it has ended.
///
/// # Errors
/// When it fails.
pub(crate) fn run_inside(
    inputs: &Vector,
    function: impl FnOnce() -> Result<Vector, NativeError>,
) -> Result<Vector, NativeError> {
    struct End(Option<Vector>);
    impl Drop for End {
        fn drop(&mut self) {
            let outputs = self.0.take().unwrap_or_else(Vector::empty);
            // SAFETY: the list is alive for the call, or empty; the function has begun on this thread.
            let _ = unsafe { loaded().mlx_native_transform_end(outputs.raw()) };
        }
    }
    let api = api()?;
    // SAFETY: the list is alive for the call, and C copies it.
    check(api, unsafe { api.mlx_native_transform_begin(inputs.raw()) })?;
    let mut end = End(None);
    let outputs = function()?;
    end.0 = Some(Vector::of_handles(&outputs.handles()?)?);
    Ok(outputs)
}

/// Says that a transform has given `results`, which a function of another transform goes on with.
pub(crate) fn resume(results: &[&Handle]) -> Result<(), NativeError> {
    let (api, results) = (api()?, Vector::of_handles(results.iter().copied())?);
    // SAFETY: the list is alive for the call.
    check(api, unsafe {
        api.mlx_native_transform_resume(results.raw())
    })
}

/// Outputs, whose gradient runs the function again instead of keeping what it computed. `body` must give outputs.
pub(crate) fn checkpoint(body: Box<LocalBody>, inputs: &Vector) -> Result<Vector, NativeError> {
    let (api, closure) = (api()?, Closure::local(body)?);
    let mut checkpointed = Closure::empty();
    // SAFETY: the closure is alive for the call, and MLX counts its further uses; the slot is empty and owned by this function.
    let status = unsafe { api.mlx_native_checkpoint(checkpointed.slot(), closure.raw()) };
    check(api, status)?;
    checkpointed.call(inputs)
}

/// Makes a call that gives two lists.
fn pair(
    call: impl FnOnce(*mut sys::mlx_vector_array, *mut sys::mlx_vector_array) -> c_int,
) -> Result<Pair, NativeError> {
    let (mut first, mut second) = (Vector::empty(), Vector::empty());
    check(api()?, call(first.slot(), second.slot()))?;
    Ok((first, second))
}

/// An `mlx_closure_value_and_grad` owned by this value.
struct Gradient(sys::mlx_closure_value_and_grad);

impl Drop for Gradient {
    fn drop(&mut self) {
        if !self.0.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the handle, and nothing uses it after this.
            let _ = unsafe { api.mlx_closure_value_and_grad_free(self.0) };
        }
    }
}
