//! Functions written to files that any MLX reads, `.mlxfn`; and whether this thread is writing one.
//!
//! Such a file has MLX's own primitives only: while one is written, no kernel of this crate takes their place.

use std::cell::Cell;
use std::ffi::CString;
use std::path::Path;

use super::call::{api, check};
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

/// Traces a function and writes it.
pub(crate) fn export_function(
    path: &Path,
    function: Box<LocalBody>,
    inputs: &[&Handle],
    is_shapeless: bool,
) -> Result<(), NativeError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let path = CString::new(bytes).map_err(|_| NativeError::from("a path with a zero byte"))?;
    let (api, closure) = (api()?, Closure::local(function)?);
    let inputs = Vector::of_handles(inputs.iter().copied())?;
    let _exporting = Exporting(IS_EXPORTING.replace(true));
    // SAFETY: path, function and list are alive for the call, which keeps none of them.
    let status = unsafe {
        api.mlx_export_function(path.as_ptr(), closure.raw(), inputs.raw(), is_shapeless)
    };
    check(api, status)
}
