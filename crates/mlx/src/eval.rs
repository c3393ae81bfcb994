//! Running what was built: `eval`, `async_eval`, `synchronize`.

use std::rc::Rc;

use crate::error::WithOp;
use crate::ffi::{self, Handle};
use crate::{Array, Result};

/// Computes these arrays together and waits for them.
///
/// An array whose computation failed keeps that error. One that was only needed on the way to it, and that is used
/// later, may hold zeros instead of values: MLX does not say which step failed.
///
/// # Errors
/// When one of them, or anything they depend on, could not be built or computed, or is being traced.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::Array::new([1.0_f32, 2.0]);
/// let (a, b) = (x.exp(), x.sum(()));
/// mlx::eval([&a, &b])?;
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn eval<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<()> {
    let handles = handles("eval", arrays)?;
    ffi::eval::eval(handles.iter().map(|handle| handle.as_ref())).with_op("eval")
}

/// Starts computing these arrays and returns; reading one waits for it.
///
/// # Errors
/// When one of them could not be built, or is being traced. An error of the computation itself is reported by the
/// next call that waits on the same stream.
#[track_caller]
pub fn async_eval<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<()> {
    let handles = handles("async_eval", arrays)?;
    let started = ffi::eval::async_eval(handles.iter().map(|handle| handle.as_ref()));
    started.with_op("async_eval")
}

/// Waits until everything given to this thread's stream is done.
///
/// # Errors
/// When something on the stream failed.
#[track_caller]
pub fn synchronize() -> Result<()> {
    crate::Stream::current().and_then(|stream| stream.synchronize())
}

#[track_caller]
fn handles<'a>(
    op: &'static str,
    arrays: impl IntoIterator<Item = &'a Array>,
) -> Result<Vec<Rc<Handle>>> {
    arrays
        .into_iter()
        .map(|array| array.handle(op).map(Rc::clone))
        .collect()
}
