//! Running what was built: `eval`, `async_eval`, `synchronize`.

use std::rc::Rc;

use crate::array::State;
use crate::error::WithOp;
use crate::ffi::{self, Handle};
use crate::{Array, ArrayList, Result};

/// Computes these arrays together and waits for them: `eval(&x)`, `eval((&a, &b))`, `eval(&model)`; see [`ArrayList`].
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
pub fn eval(arrays: impl ArrayList) -> Result<()> {
    let handles = handles("eval", &arrays.into_arrays())?;
    ffi::eval::eval(handles.iter().map(|handle| handle.as_ref())).with_op("eval")
}

/// Starts computing these arrays and returns; reading one waits for it.
///
/// # Errors
/// When one of them could not be built, or is being traced. An error of the computation itself is reported by the
/// next call that waits on the same stream.
#[track_caller]
pub fn async_eval(arrays: impl ArrayList) -> Result<()> {
    let handles = handles("async_eval", &arrays.into_arrays())?;
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

/// Returns arrays with the values of `inputs` that are computed after all of `dependencies`.
///
/// In a function that is being traced, what depends on what is the graph's business, and `inputs` come back as they are.
///
/// # Errors
/// When an array could not be built.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (x, first) = (mlx::array!([1.0]), mlx::array!([2.0]).exp());
/// let after = mlx::depends(&x, &first)?;
/// assert_eq!(after[0].item::<f32>()?, 1.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn depends(inputs: impl ArrayList, dependencies: impl ArrayList) -> Result<Vec<Array>> {
    let (inputs, dependencies) = (inputs.into_arrays(), dependencies.into_arrays());
    let is_traced = |array: &Array| matches!(array.state, State::Traced(_));
    if inputs.is_empty() || inputs.iter().chain(&dependencies).any(is_traced) {
        return Ok(inputs);
    }
    let (inputs, dependencies) = (
        handles("depends", &inputs)?,
        handles("depends", &dependencies)?,
    );
    let inputs: Vec<&Handle> = inputs.iter().map(AsRef::as_ref).collect();
    let dependencies: Vec<&Handle> = dependencies.iter().map(AsRef::as_ref).collect();
    let depending = ffi::inspect::depends(&inputs, &dependencies).with_op("depends")?;
    Ok(depending.into_iter().map(Array::from_handle).collect())
}

#[track_caller]
fn handles(op: &'static str, arrays: &[Array]) -> Result<Vec<Rc<Handle>>> {
    arrays
        .iter()
        .map(|array| array.handle(op).map(Rc::clone))
        .collect()
}
