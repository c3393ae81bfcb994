//! Functions written to files that any MLX reads, `.mlxfn`; and whether this thread is writing one.
//!
//! Such a file has MLX's own primitives only: while one is written, no kernel of this crate takes their place.

use std::cell::Cell;
use std::ffi::CString;
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

/// Traces a function, once for each list of inputs, and writes it.
pub(crate) fn export_function(
    path: &Path,
    function: Box<LocalBody>,
    inputs: &[Vec<&Handle>],
    is_shapeless: bool,
) -> Result<(), NativeError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let path = CString::new(bytes).map_err(|_| NativeError::from("a path with a zero byte"))?;
    let (api, closure) = (api()?, Closure::local(function)?);
    let _exporting = Exporting(IS_EXPORTING.replace(true));
    if let [inputs] = inputs {
        let inputs = Vector::of_handles(inputs.iter().copied())?;
        // SAFETY: path, function and list are alive for the call, which keeps none of them.
        let status = unsafe {
            api.mlx_export_function(path.as_ptr(), closure.raw(), inputs.raw(), is_shapeless)
        };
        return check(api, status);
    }
    // SAFETY: path and function are alive for the call; MLX counts its own use of the function.
    let raw = unsafe { api.mlx_function_exporter_new(path.as_ptr(), closure.raw(), is_shapeless) };
    let exporter = Exporter(raw);
    // Null where the file cannot be opened; the text of the failure is kept.
    check(api, i32::from(exporter.0.ctx.is_null()))?;
    for inputs in inputs {
        let inputs = Vector::of_handles(inputs.iter().copied())?;
        // SAFETY: the exporter and the list are alive for the call.
        let status = unsafe { api.mlx_function_exporter_apply(exporter.0, inputs.raw()) };
        check(api, status)?;
    }
    Ok(())
}
