//! What will compute an array, without running it; and numbers that are unique in the process.

use std::ffi::CStr;

use mlx_sys as sys;

use super::call::{Fault, api, check, loaded};
use super::handle::Handle;

/// An `mlx_string` owned by this value.
struct Text(sys::mlx_string);

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: this value owns the string, and nothing uses it after this; an empty one may be freed too.
        let _ = unsafe { loaded().mlx_string_free(self.0) };
    }
}

/// Returns the name of the primitive that will compute this array: `RMSNorm`; empty when it needs none.
pub(crate) fn primitive_name(handle: &Handle) -> Result<String, Fault> {
    let api = api()?;
    // SAFETY: takes nothing; the new (empty) string is owned by `name`.
    let mut name = Text(unsafe { api.mlx_string_new() });
    // SAFETY: the handle is alive for the call; the slot is a string of ours, which C fills.
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

/// Returns a number that no other call in this process returns, never 0.
pub(crate) fn next_id() -> Result<u64, Fault> {
    // SAFETY: takes nothing and counts atomically.
    Ok(unsafe { api()?.mlx_native_next_id() })
}
