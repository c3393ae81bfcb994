//! MLX's own transforms of functions over arrays, for tests of what they make of kernels.

use crate::ffi::closure::Closure;
use crate::ffi::vector::Vector;
use crate::ffi::{Handle, NativeError, testing};
use crate::{Array, Result};

/// A function as MLX's transforms take it.
fn closure(function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static) -> Closure {
    let fault = |error: crate::Error| NativeError(error.to_string());
    let body = move |inputs: Vec<Handle>| {
        let inputs: Vec<Array> = inputs.into_iter().map(Array::from_handle).collect();
        let outputs = function(&inputs).map_err(fault)?;
        outputs
            .iter()
            .map(|output| output.typed().map_err(fault)?.duplicate())
            .collect()
    };
    Closure::new(Box::new(body)).unwrap()
}

fn vector(arrays: &[&Array]) -> Vector {
    Vector::of_handles(arrays.iter().map(|array| array.typed().unwrap())).unwrap()
}

fn arrays(handles: Vec<Handle>) -> Vec<Array> {
    handles.into_iter().map(Array::from_handle).collect()
}

/// Values, and gradients with respect to all inputs.
pub(super) fn vjp(
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
    primals: &[&Array],
    cotangents: &[&Array],
) -> std::result::Result<[Vec<Array>; 2], NativeError> {
    let results = testing::vjp(&closure(function), &vector(primals), &vector(cotangents))?;
    Ok(results.map(arrays))
}

/// Values, and tangents along those of all inputs.
pub(super) fn jvp(
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
    primals: &[&Array],
    tangents: &[&Array],
) -> std::result::Result<[Vec<Array>; 2], NativeError> {
    let results = testing::jvp(&closure(function), &vector(primals), &vector(tangents))?;
    Ok(results.map(arrays))
}

/// The function of one output over these axes of its inputs, -1 for none, to axis 0.
pub(super) fn vmap(
    function: impl Fn(&[Array]) -> Result<Vec<Array>> + Send + Sync + 'static,
    inputs: &[&Array],
    axes: &[i32],
) -> std::result::Result<Vec<Array>, NativeError> {
    testing::vmap(&closure(function), &vector(inputs), axes).map(arrays)
}
