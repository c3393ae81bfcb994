//! Running what was built, and waiting for it.

use super::call::{Fault, api, check};
use super::handle::Handle;
use super::vector::Vector;

/// Computes these arrays and waits for them.
pub(crate) fn eval<'a>(handles: impl IntoIterator<Item = &'a Handle>) -> Result<(), Fault> {
    let api = api()?;
    let outputs = Vector::of_handles(handles)?;
    // SAFETY: the list is alive for the call.
    let status = unsafe { api.mlx_eval(outputs.raw()) };
    check(api, status)
}

/// Starts computing these arrays and returns.
pub(crate) fn async_eval<'a>(handles: impl IntoIterator<Item = &'a Handle>) -> Result<(), Fault> {
    let api = api()?;
    let outputs = Vector::of_handles(handles)?;
    // SAFETY: the list is alive for the call.
    let status = unsafe { api.mlx_async_eval(outputs.raw()) };
    check(api, status)
}

/// Waits until this array, whose computation was started, is there.
pub(crate) fn wait(handle: &Handle) -> Result<(), Fault> {
    let api = api()?;
    // SAFETY: the handle is alive for the call.
    let status = unsafe { api._mlx_array_wait(handle.raw()) };
    check(api, status)
}
