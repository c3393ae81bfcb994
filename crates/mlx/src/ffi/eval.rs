//! Running what was built, and waiting for it.

use std::ffi::c_int;

use mlx_sys::Api;

use super::call::{api, check};
use super::handle::Handle;
use super::stream::StreamHandle;
use super::vector::Vector;
use crate::error::NativeError;

/// Computes these arrays and waits for them.
pub(crate) fn eval<'a>(handles: impl IntoIterator<Item = &'a Handle>) -> Result<(), NativeError> {
    run(handles, |api, outputs| {
        // SAFETY: the list is alive for the call.
        unsafe { api.mlx_native_eval(outputs.raw()) }
    })
}

/// Starts computing these arrays and returns.
pub(crate) fn async_eval<'a>(
    handles: impl IntoIterator<Item = &'a Handle>,
) -> Result<(), NativeError> {
    run(handles, |api, outputs| {
        // SAFETY: the list is alive for the call.
        unsafe { api.mlx_async_eval(outputs.raw()) }
    })
}

fn run<'a>(
    handles: impl IntoIterator<Item = &'a Handle>,
    start: impl Fn(&Api, &Vector) -> c_int,
) -> Result<(), NativeError> {
    let api = api()?;
    let handles: Vec<&Handle> = handles.into_iter().collect();
    if let Some(fault) = handles.iter().find_map(|handle| handle.failure()) {
        return Err(fault.clone());
    }
    let mut pending = Vec::new();
    for &handle in &handles {
        if !handle.is_available()? {
            pending.push(handle);
        }
    }
    let outputs = Vector::of_handles(handles)?;
    let Err(fault) = check(api, start(api, &outputs)) else {
        return Ok(());
    };
    // What was not begun may be tried again; what was, has ended after this and holds nothing good.
    if let Ok(stream) = StreamHandle::current() {
        let _ = stream.synchronize();
    }
    for handle in pending {
        if handle.is_available()? {
            handle.set_failure(&fault);
        }
    }
    Err(fault)
}

/// Waits until this array, whose computation was started, is there.
pub(crate) fn wait(handle: &Handle) -> Result<(), NativeError> {
    let api = api()?;
    // SAFETY: the handle is alive for the call.
    let status = unsafe { api._mlx_array_wait(handle.raw()) };
    check(api, status)
}
