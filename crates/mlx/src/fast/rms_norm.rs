//! RMS normalization: `x * rsqrt(mean(x^2) + eps) * weight`.

use super::backend::{FastOp, record_backend};
use super::inputs::{cast, check_floating, check_vector, is_empty, reject};
use crate::op::Op;
use crate::{Array, Dtype, Result, bind, keepdims};

const NAME: &str = "fast.rms_norm";

/// Normalizes the last axis of `x` by its root mean square.
///
/// Computes `x * rsqrt(mean(x^2) + eps) * weight`, the mean and the normalized values in `float32`. `x` is
/// `[..., dim]`, `weight` is `[dim]` or `None` for all ones. The result has the shape of `x` and the dtype of `x`
/// and `weight` together: `float16` with a `float32` weight gives `float32`. Nothing runs until
/// [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when `x` is a scalar, `weight` is not `[dim]`, or they are not floating together.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([[3.0, 4.0]]);
/// let y = mlx::fast::rms_norm(&x, None, 0.0).to_vec::<f32>()?;
/// assert!((y[0] - 3.0 / 12.5_f32.sqrt()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn rms_norm<'a>(x: &Array, weight: impl Into<Option<&'a Array>>, eps: f32) -> Array {
    let weight = weight.into();
    match check(x, weight) {
        Err(error) => Array::failed(error),
        // Kernels divide by the size of the last axis.
        Ok(dtype) if is_empty(x).is_ok_and(|is_empty| is_empty) => cast(x, dtype),
        Ok(_) => {
            let mut inputs = vec![x];
            inputs.extend(weight);
            record_backend(FastOp::RmsNorm, bind(Op::RmsNorm { eps }, &inputs))
        }
    }
}

/// Normalizes the last axis by its root mean square, in plain operations: see [`rms_norm`](super::rms_norm).
#[track_caller]
pub fn composed<'a>(x: &Array, weight: impl Into<Option<&'a Array>>, eps: f32) -> Array {
    Array::from_result(formula(x, weight.into(), eps))
}

#[track_caller]
fn formula(x: &Array, weight: Option<&Array>, eps: f32) -> Result<Array> {
    let dtype = check(x, weight)?;
    let wide = cast(x, Dtype::Float32);
    let scale = (wide.square().mean(keepdims(-1)) + eps).rsqrt();
    let normalized = cast(&(wide * scale), dtype);
    Ok(match weight {
        Some(weight) => normalized * cast(weight, dtype),
        None => normalized,
    })
}

/// Checks the inputs and returns the dtype of the result.
#[track_caller]
fn check(x: &Array, weight: Option<&Array>) -> Result<Dtype> {
    let mut inputs = vec![x];
    inputs.extend(weight);
    if x.ndim()? == 0 {
        return reject(
            NAME,
            "x must have at least 1 axis, got a scalar".to_owned(),
            &inputs,
        );
    }
    if let Some(weight) = weight {
        check_vector(NAME, "weight", weight, x, &inputs)?;
    }
    let dtypes: Result<Vec<Dtype>> = inputs.iter().map(|input| input.dtype()).collect();
    check_floating(NAME, &dtypes?, &inputs)
}
