//! Cross entropy of class indices: `logsumexp(logits) - logits[target]`.

use super::backend::{FastOp, record_backend};
use super::inputs::{cast, check_floating, is_empty, reject};
use crate::dtype::DtypeKind;
use crate::op::Op;
use crate::{Array, Dtype, Result, Size, bind, keepdims, where_, zeros};

const NAME: &str = "fast.cross_entropy";

/// Returns the negative log-likelihood of each target under the softmax of its logits.
///
/// Computes `logsumexp(logits, -1) - logits[target]`. `logits` is `[..., classes]`, floating; `targets` is `[...]`,
/// integers from 0 to `classes - 1`; the result is `float32` of the shape of `targets`. Nothing runs until
/// [`eval`](crate::eval()).
///
/// # Errors
/// The result carries an error when the shapes or dtypes do not fit. A target out of range is an error too: at once
/// when the targets are computed, else from `eval`; on a GPU, which cannot report it, the target is clamped.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let loss = mlx::fast::cross_entropy(&mlx::array!([[0.0, 0.0]]), &mlx::array!([1]));
/// assert!((loss.item::<f32>()? - 2_f32.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn cross_entropy(logits: &Array, targets: &Array) -> Array {
    Array::from_result(fused(logits, targets))
}

/// Returns the negative log-likelihood of each target, in plain operations: see
/// [`cross_entropy`](super::cross_entropy).
///
/// The sum is `float32` throughout, while MLX's own composed form on the CPU rounds it to the dtype of the logits.
#[track_caller]
pub fn composed(logits: &Array, targets: &Array) -> Array {
    Array::from_result(formula(logits, targets))
}

#[track_caller]
fn fused(logits: &Array, targets: &Array) -> Result<Array> {
    check(logits, targets)?;
    if is_empty(targets)? {
        return Ok(zeros(targets.sizes()?));
    }
    let loss = bind(Op::CrossEntropy, &[logits, targets]);
    Ok(record_backend(FastOp::CrossEntropy, loss))
}

#[track_caller]
fn formula(logits: &Array, targets: &Array) -> Result<Array> {
    let n_classes = check(logits, targets)?;
    if is_empty(targets)? {
        return Ok(zeros(targets.sizes()?));
    }
    let logits = cast(logits, Dtype::Float32);
    // Below the maximum, so that large logits do not swallow the loss. A maximum that is not finite stays where it is.
    let max = logits.max(keepdims(-1)).stop_gradient();
    let logits = &logits - where_(&max.isfinite(), &max, 0);
    let mut targets = targets.clone();
    if targets.dtype()?.kind() == DtypeKind::Signed {
        // take_along_axis would count a negative index back from the end; here it is out of range.
        let wide = cast(&targets, Dtype::Int64);
        targets = where_(&wide.less(0), n_classes.fixed(), &wide);
    }
    let taken = bind(
        Op::TakeAlongAxis { axis: -1 },
        &[&logits, &targets.expand_dims(-1)],
    );
    Ok(logits.logsumexp(-1) - taken.squeeze(-1))
}

/// Checks the inputs and returns the number of classes.
#[track_caller]
fn check(logits: &Array, targets: &Array) -> Result<Size> {
    let inputs = [logits, targets];
    let shape = logits.sizes()?;
    let Some((n_classes, rows)) = shape.split_last() else {
        let message = "logits must have at least 1 axis, got a scalar".to_owned();
        return reject(NAME, message, &inputs);
    };
    check_floating(NAME, &[logits.dtype()?], &inputs)?;
    let (targets_shape, dtype) = (targets.sizes()?, targets.dtype()?);
    if !dtype.is_integer() {
        let message = format!("targets must be integers, got {dtype}");
        return reject(NAME, message, &inputs);
    }
    if targets_shape != rows {
        let message =
            format!("targets must be {rows:?} to match logits {shape:?}, got {targets_shape:?}");
        return reject(NAME, message, &inputs);
    }
    if *n_classes == 0 && !is_empty(targets)? {
        return reject(
            NAME,
            "logits must have at least 1 class, got 0".to_owned(),
            &inputs,
        );
    }
    Ok(n_classes.clone())
}
