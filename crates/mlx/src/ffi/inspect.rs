//! What will compute an array, without running it; and numbers that are unique in the process.

use std::ffi::CStr;

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;

/// An `mlx_string` owned by this value.
struct Text(sys::mlx_string);

impl Drop for Text {
    fn drop(&mut self) {
        if let Some(api) = loaded_to_free() {
            // SAFETY: this value owns the string, and nothing uses it after this; an empty one may be freed too.
            let _ = unsafe { api.mlx_string_free(self.0) };
        }
    }
}

/// Returns the name of the primitive that will compute this array: `RMSNorm`; empty when it needs none.
pub(crate) fn primitive_name(handle: &Handle) -> Result<String, NativeError> {
    let api = api()?;
    // SAFETY: takes nothing; the new (empty) string is owned by `name`.
    let mut name = Text(unsafe { api.mlx_string_new() });
    // SAFETY: the handle is alive for the call; the slot is a local string, which C fills.
    let status = unsafe { api.mlx_native_primitive_name(&mut name.0, handle.raw()) };
    check(api, status)?;
    // SAFETY: the string is alive; the pointer is used before it is dropped.
    let data = unsafe { api.mlx_string_data(name.0) };
    if data.is_null() {
        return Ok(String::new());
    }
    // SAFETY: not null, and a C++ string's text ends with a zero.
    Ok(unsafe { CStr::from_ptr(data) }
        .to_string_lossy()
        .into_owned())
}

/// Returns arrays with the values of `inputs` that are computed after `dependencies`.
pub(crate) fn depends(
    inputs: &[&Handle],
    dependencies: &[&Handle],
) -> Result<Vec<Handle>, NativeError> {
    let inputs = Vector::of_handles(inputs.iter().copied())?;
    let dependencies = Vector::of_handles(dependencies.iter().copied())?;
    let (api, mut all) = (api()?, Vector::empty());
    // SAFETY: the lists are alive for the call; the slot is empty and owned by this function.
    let status = unsafe { api.mlx_depends(all.slot(), inputs.raw(), dependencies.raw()) };
    check(api, status)?;
    all.handles()
}

/// Returns the number of distinct operations that these arrays wait for.
pub(crate) fn graph_size(handles: &[&Handle]) -> Result<usize, NativeError> {
    match handles {
        [] => Ok(0),
        [one] => graph_size_of(one),
        [first, others @ ..] => {
            // Of one array that waits for all of them, so that what they share is counted once.
            let (first, others) = (
                Vector::of_handles([*first])?,
                Vector::of_handles(others.iter().copied())?,
            );
            let (api, mut all) = (api()?, Vector::empty());
            // SAFETY: the lists are alive for the call; the slot is empty and owned by this function.
            let status = unsafe { api.mlx_depends(all.slot(), first.raw(), others.raw()) };
            check(api, status)?;
            all.handles()?.first().map_or(Ok(0), graph_size_of)
        }
    }
}

fn graph_size_of(handle: &Handle) -> Result<usize, NativeError> {
    let (api, mut size) = (api()?, 0);
    // SAFETY: the handle is alive for the call, `size` is a local variable.
    let status = unsafe { api.mlx_native_graph_size(&mut size, handle.raw()) };
    check(api, status)?;
    Ok(size)
}

/// Returns whether the array depends on an argument of a function that MLX is transforming on this thread.
pub(crate) fn is_tracer(handle: &Handle) -> Result<bool, NativeError> {
    let (api, mut out) = (api()?, false);
    // SAFETY: the handle is alive for the call, `out` is a local variable.
    let status = unsafe { api.mlx_native_is_tracer(&mut out, handle.raw()) };
    check(api, status)?;
    Ok(out)
}

/// Returns a number that no other call in this process returns, never 0.
pub(crate) fn next_id() -> Result<u64, NativeError> {
    // SAFETY: takes nothing and counts atomically.
    Ok(unsafe { api()?.mlx_native_next_id() })
}
