//! Captures of work on Metal.

use std::ffi::CString;

use super::call::{api, check};
use crate::error::NativeError;

/// Begins a capture that goes to a file.
pub(crate) fn start_capture(path: &str) -> Result<(), NativeError> {
    let api = api()?;
    let path = CString::new(path).map_err(|_| NativeError::from("wanted a path without NUL"))?;
    // SAFETY: the text is alive for the call, and C copies it.
    check(api, unsafe { api.mlx_metal_start_capture(path.as_ptr()) })
}

/// Ends the capture.
pub(crate) fn stop_capture() -> Result<(), NativeError> {
    let api = api()?;
    // SAFETY: takes nothing.
    check(api, unsafe { api.mlx_metal_stop_capture() })
}

/// Returns whether there is a Metal backend.
pub(crate) fn is_available() -> Result<bool, NativeError> {
    let api = api()?;
    let mut available = false;
    // SAFETY: `available` is written before return.
    check(api, unsafe { api.mlx_metal_is_available(&mut available) })?;
    Ok(available)
}
