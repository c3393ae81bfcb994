//! Functions written to files that any MLX reads, `.mlxfn`; and whether this thread is writing one.
//!
//! Such a file has MLX's own primitives only: while one is written, no kernel of this crate takes their place.

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::path::Path;

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::closure::{Closure, LocalBody};
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;

thread_local! {
    static IS_EXPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a function is being written on this thread.
pub(crate) fn is_exporting() -> bool {
    IS_EXPORTING.get()
}

/// Resets the flag, also when the function panicked.
struct Exporting(bool);

impl Drop for Exporting {
    fn drop(&mut self) {
        IS_EXPORTING.set(self.0);
    }
}

/// Runs `work` without kernels of this crate, as while a function is written.
pub(crate) fn without_kernels<T>(work: impl FnOnce() -> T) -> T {
    let _exporting = Exporting(IS_EXPORTING.replace(true));
    work()
}

/// A file that functions are written to, owned by this value.
struct Exporter(sys::mlx_function_exporter);

impl Drop for Exporter {
    fn drop(&mut self) {
        if !self.0.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the handle, and nothing uses it after this.
            let _ = unsafe { api.mlx_function_exporter_free(self.0) };
        }
    }
}

/// What a function is traced for: its inputs, of which the last have names, in the order of these.
pub(crate) struct Call<'a> {
    /// All inputs.
    pub(crate) inputs: Vec<&'a Handle>,
    /// The names of the last inputs.
    pub(crate) names: Vec<CString>,
}

/// Traces a function, once for each call, and writes it.
pub(crate) fn export_function(
    path: &Path,
    function: Box<LocalBody>,
    calls: &[Call<'_>],
    is_shapeless: bool,
) -> Result<(), NativeError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let path = CString::new(bytes).map_err(|_| NativeError::from("a path with a zero byte"))?;
    let (api, closure) = (api()?, Closure::local(function)?);
    let _exporting = Exporting(IS_EXPORTING.replace(true));
    let ctx = std::ptr::null_mut();
    let mut exporter = Exporter(sys::mlx_function_exporter { ctx });
    // SAFETY: path and function are alive for the call; MLX counts its own use of the function. The slot is empty.
    let status = unsafe {
        api.mlx_native_function_exporter(
            &raw mut exporter.0,
            path.as_ptr(),
            closure.raw(),
            is_shapeless,
        )
    };
    check(api, status)?;
    for Call { inputs, names } in calls {
        let inputs = Vector::of_handles(inputs.iter().copied())?;
        let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the exporter, the list and the names, not more than inputs, are alive for the call.
        let status = unsafe {
            api.mlx_native_function_exporter_apply(
                exporter.0,
                inputs.raw(),
                names.as_ptr(),
                names.len(),
            )
        };
        check(api, status)?;
    }
    Ok(())
}
