//! Functions that run as one recorded graph on CUDA.

use std::ffi::CStr;

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::closure::Closure;
use super::vector::Vector;
use crate::error::NativeError;

/// A function with the graphs that were recorded of it.
///
/// Recording, the types that were recorded, and what makes a call the function's own are the native library's affair.
pub(crate) struct Program {
    raw: sys::mlx_native_program,
}

impl Program {
    /// Returns the program of a function of this thread; `None` where programs are not recorded.
    pub(crate) fn of(function: &Closure) -> Result<Option<Self>, NativeError> {
        if !sys::loaded().is_ok_and(|loaded| loaded.backend.is_cuda()) {
            return Ok(None);
        }
        let api = api()?;
        let ctx = std::ptr::null_mut();
        let mut raw = sys::mlx_native_program { ctx };
        // SAFETY: the closure is alive for the call, which counts a further use of it; the slot is empty.
        let status = unsafe { api.mlx_native_program_new(&mut raw, function.raw()) };
        check(api, status)?;
        Ok(Some(Self { raw }))
    }

    /// Runs the function.
    pub(crate) fn call(&self, inputs: &Vector) -> Result<Vector, NativeError> {
        let api = api()?;
        let mut results = Vector::empty();
        // SAFETY: program and list are alive for the call; the slot is empty, so a new list is made for us.
        let status = unsafe { api.mlx_native_program_call(results.slot(), self.raw, inputs.raw()) };
        check(api, status)?;
        Ok(results)
    }

    /// Returns what runs, in words; empty while nothing has been recorded.
    pub(crate) fn report(&self) -> Result<String, NativeError> {
        let api = api()?;
        // SAFETY: the program is alive, and the text is until the next such call of this thread.
        let text = unsafe { CStr::from_ptr(api.mlx_native_program_report(self.raw)) };
        Ok(text.to_string_lossy().into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.raw.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the handle; calls that have not been computed count further uses.
            let _ = unsafe { api.mlx_native_program_free(self.raw) };
        }
    }
}
