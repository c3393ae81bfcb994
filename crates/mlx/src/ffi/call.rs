//! How a call's status becomes a `Result`, with the text MLX left for it.

use std::ffi::{CStr, c_int};
use std::sync::OnceLock;

use mlx_sys::Api;

/// The name that the CPU backend's files still use.
pub(crate) use crate::error::NativeError as Fault;
use crate::error::NativeError;
use crate::op::FINGERPRINT;

/// Returns the loaded library, set up, where this thread may use it: not in a child of fork, nor while the thread's own
/// storage is being destroyed.
pub(crate) fn api() -> Result<&'static Api, NativeError> {
    static FITS: OnceLock<bool> = OnceLock::new();
    match mlx_sys::api() {
        Ok(api) => {
            let fits = FITS.get_or_init(|| {
                // SAFETY: returns a constant.
                let fits = unsafe { api.mlx_native_op_table() } == FINGERPRINT;
                if fits {
                    // Before this thread enters: set-up decides which thread is MLX's main thread.
                    crate::SET_UP(api);
                }
                fits
            });
            if !fits {
                return Err(Fault(format!(
                    "the native library was built with another table of operations: run `{}`",
                    mlx_sys::SET_UP
                )));
            }
            // SAFETY: takes nothing.
            if unsafe { api.mlx_native_enter() } != 0 {
                return Err(take_error(api));
            }
            Ok(api)
        }
        Err(error) => Err(NativeError(error.to_string())),
    }
}

/// Returns the loaded library where a handle exists, which only the library can have made.
pub(crate) fn loaded() -> &'static Api {
    match mlx_sys::api() {
        Ok(api) => api,
        // A handle exists, so the library was loaded; the result is kept for the whole process.
        Err(_) => unreachable!("a native handle without the native library"),
    }
}

/// Returns the loaded library to give a handle back to; none in a child of fork, where a lock of MLX may be held forever by
/// a thread that does not exist there.
pub(crate) fn loaded_to_free() -> Option<&'static Api> {
    let api = loaded();
    // SAFETY: reads a flag.
    let is_forked = unsafe { api.mlx_native_is_forked() };
    (!is_forked).then_some(api)
}

/// Turns a status into a `Result`, taking this thread's error text.
pub(crate) fn check(api: &Api, status: c_int) -> Result<(), NativeError> {
    if status == 0 {
        return Ok(());
    }
    let fault = take_error(api);
    // A callback panicked below this call: the C frames have returned, so unwinding may continue.
    if let Some(panic) = super::closure::take_panic() {
        std::panic::resume_unwind(panic);
    }
    Err(fault)
}

/// Takes the text of the first error since the last one taken on this thread.
#[cold]
pub(crate) fn take_error(api: &Api) -> NativeError {
    // SAFETY: the text is valid until the next clear on this thread, and is copied before it.
    let text = unsafe { api.mlx_native_error() };
    let fault = if text.is_null() {
        NativeError::from("the native library failed without a message")
    } else {
        // SAFETY: not null, and the library ends its texts with a zero.
        NativeError(
            unsafe { CStr::from_ptr(text) }
                .to_string_lossy()
                .into_owned(),
        )
    };
    // SAFETY: only empties this thread's slot; the text was copied above.
    unsafe { api.mlx_native_error_clear() };
    fault
}
