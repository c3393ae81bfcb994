//! Layer normalization: `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias`.

use super::backend::{FastOp, record_backend};
use super::inputs::{cast, check_floating, check_vector, is_empty, reject};
use crate::op::Op;
use crate::{Array, Dtype, Result, bind, keepdims};

const NAME: &str = "fast.layer_norm";

/// Normalizes the last axis of `x` to mean 0 and variance 1, then scales and shifts it.
///
/// Computes `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias`, with mean, variance and normalized values in
/// `float32`. `x` is `[..., dim]`; `weight` and `bias` are `[dim]`, or `None` for ones and zeros. The result has the
/// shape of `x` and the dtype of `x`, `weight` and `bias` together; without a weight, that of `x`, whatever the
/// bias is, as in Python MLX. Nothing runs until [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when `x` is a scalar, `weight` or `bias` is not `[dim]`, or the dtypes are not
/// floating together.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([[1.0, 3.0]]);
/// let y = mlx::fast::layer_norm(&x, None, &mlx::array!([0.0, 10.0]), 0.0);
/// assert_eq!(y.to_vec::<f32>()?, [-1.0, 11.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn layer_norm<'a, 'b>(
    x: &Array,
    weight: impl Into<Option<&'a Array>>,
    bias: impl Into<Option<&'b Array>>,
    eps: f32,
) -> Array {
    Array::from_result(fused(x, weight.into(), bias.into(), eps))
}

/// Normalizes the last axis to mean 0 and variance 1, in plain operations: see [`layer_norm`](super::layer_norm).
#[track_caller]
pub fn composed<'a, 'b>(
    x: &Array,
    weight: impl Into<Option<&'a Array>>,
    bias: impl Into<Option<&'b Array>>,
    eps: f32,
) -> Array {
    Array::from_result(formula(x, weight.into(), bias.into(), eps))
}

#[track_caller]
fn fused(x: &Array, weight: Option<&Array>, bias: Option<&Array>, eps: f32) -> Result<Array> {
    let dtype = check(x, weight, bias)?;
    if is_empty(x)? {
        // Kernels divide by the size of the last axis.
        return Ok(cast(x, dtype));
    }
    let op = Op::LayerNorm {
        weight: weight.is_some(),
        bias: bias.is_some(),
        eps,
    };
    Ok(record_backend(
        FastOp::LayerNorm,
        bind(op, &inputs(x, weight, bias)),
    ))
}

#[track_caller]
fn formula(x: &Array, weight: Option<&Array>, bias: Option<&Array>, eps: f32) -> Result<Array> {
    let dtype = check(x, weight, bias)?;
    let wide = cast(x, Dtype::Float32);
    let centred = &wide - wide.mean(keepdims(-1));
    let scale = (centred.square().mean(keepdims(-1)) + eps).rsqrt();
    let mut result = cast(&(centred * scale), dtype);
    if let Some(weight) = weight {
        result *= cast(weight, dtype);
    }
    if let Some(bias) = bias {
        result += cast(bias, dtype);
    }
    Ok(result)
}

/// Checks the inputs and returns the dtype of the result.
#[track_caller]
fn check(x: &Array, weight: Option<&Array>, bias: Option<&Array>) -> Result<Dtype> {
    let inputs = inputs(x, weight, bias);
    if x.ndim()? == 0 {
        return reject(
            NAME,
            "x must have at least 1 axis, got a scalar".to_owned(),
            &inputs,
        );
    }
    let mut dtypes = vec![x.dtype()?];
    if let Some(weight) = weight {
        check_vector(NAME, "weight", weight, x, &inputs)?;
        dtypes.push(weight.dtype()?);
    }
    if let Some(bias) = bias {
        check_vector(NAME, "bias", bias, x, &inputs)?;
        // MLX lets the bias take part in promotion only beside a weight.
        if weight.is_some() {
            dtypes.push(bias.dtype()?);
        }
    }
    check_floating(NAME, &dtypes, &inputs)
}

fn inputs<'a>(x: &'a Array, weight: Option<&'a Array>, bias: Option<&'a Array>) -> Vec<&'a Array> {
    let mut inputs = vec![x];
    inputs.extend(weight);
    inputs.extend(bias);
    inputs
}
