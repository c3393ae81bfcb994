//! Captures of GPU work for Xcode, on Apple silicon: Python's `mx.metal`. The other names of that module are in
//! [`memory`](crate::memory) and [`Device`](crate::Device).

use std::path::Path;

use crate::error::WithOp;
use crate::ffi::metal as native;
use crate::{Error, Result};

/// Begins a capture of all GPU work, which goes to the file `path` (`.gputrace`), where none may be yet.
///
/// Metal wants the environment variable `MTL_CAPTURE_ENABLED=1`. End it with [`stop_capture`].
///
/// # Errors
/// On other backends, when Metal refuses, or the path has a NUL.
#[track_caller]
pub fn start_capture(path: impl AsRef<Path>) -> Result<()> {
    const OP: &str = "metal.start_capture";
    let path = path.as_ref();
    let Some(text) = path.to_str() else {
        return Err(Error::op(
            OP,
            format!("wanted a path of UTF-8, got {path:?}"),
        ));
    };
    available(OP)?;
    native::start_capture(text).with_op(OP)
}

/// Ends the capture.
///
/// # Errors
/// On other backends.
#[track_caller]
pub fn stop_capture() -> Result<()> {
    const OP: &str = "metal.stop_capture";
    available(OP)?;
    native::stop_capture().with_op(OP)
}

/// Returns whether there is a Metal backend; there is none where the native libraries cannot be loaded.
pub fn is_available() -> bool {
    native::is_available().unwrap_or(false)
}

#[track_caller]
fn available(op: &'static str) -> Result<()> {
    match native::is_available().with_op(op)? {
        true => Ok(()),
        false => Err(Error::op(op, "wanted the Metal backend, got another")),
    }
}
