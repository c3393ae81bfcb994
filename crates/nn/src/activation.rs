//! Activation functions, with the formulas, names and defaults of `mlx.nn`. `leaky_relu(&x)` has Python's default, and
//! is a layer of [`Sequential`](crate::Sequential); `leaky_relu_with` takes the setting.
//!
//! Where [`mlx::fast`] has a kernel, for values and gradients, it is used; the others are formulas in plain operations,
//! which `jit` recognizes and reports.

use mlx::fast::{self, composed};
use mlx::{Array, keepdims, where_};

/// Returns `x * (1 + erf(x / sqrt(2))) / 2`, by the kernel [`fast::gelu`].
#[track_caller]
pub fn gelu(x: &Array) -> Array {
    by_kernel(x, fast::gelu, composed::gelu)
}

/// Returns `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`, by the kernel [`fast::gelu_approx`].
#[track_caller]
pub fn gelu_approx(x: &Array) -> Array {
    by_kernel(x, fast::gelu_approx, composed::gelu_approx)
}

/// Returns `x * sigmoid(x)`, by the kernel [`fast::silu`].
#[track_caller]
#[doc(alias = "swish")]
pub fn silu(x: &Array) -> Array {
    by_kernel(x, fast::silu, composed::silu)
}

/// Kernels take floating numbers; of others the formula makes `float32`, as in Python.
#[track_caller]
fn by_kernel(x: &Array, kernel: fn(&Array) -> Array, formula: fn(&Array) -> Array) -> Array {
    match x.dtype() {
        Ok(dtype) if !dtype.is_floating() => formula(x),
        _ => kernel(x),
    }
}

/// Returns `max(x, 0)`.
#[track_caller]
pub fn relu(x: &Array) -> Array {
    x.maximum(0.0)
}

/// Returns `max(x, 0)^2`.
#[track_caller]
pub fn relu2(x: &Array) -> Array {
    relu(x).square()
}

/// Returns `min(max(x, 0), 6)`.
#[track_caller]
pub fn relu6(x: &Array) -> Array {
    relu(x).minimum(6.0)
}

/// Returns `max(0.01 * x, x)`.
#[track_caller]
pub fn leaky_relu(x: &Array) -> Array {
    leaky_relu_with(x, 0.01)
}

/// Returns `max(negative_slope * x, x)`.
#[track_caller]
pub fn leaky_relu_with(x: &Array, negative_slope: f32) -> Array {
    (x * negative_slope).maximum(x)
}

/// Returns `x` where it is positive and `alpha * x` elsewhere; `alpha` broadcasts to `x`.
#[track_caller]
pub fn prelu(x: &Array, alpha: &Array) -> Array {
    x.maximum(0.0) + alpha * x.minimum(0.0)
}

/// Returns `x` where it is positive and `exp(x) - 1` elsewhere.
#[track_caller]
pub fn elu(x: &Array) -> Array {
    elu_with(x, 1.0)
}

/// Returns `x` where it is positive and `alpha * (exp(x) - 1)` elsewhere.
#[track_caller]
pub fn elu_with(x: &Array, alpha: f32) -> Array {
    // The minimum keeps the exponential, which is not taken there, and its gradient finite.
    let negative = x.minimum(0.0).exp() - 1.0;
    where_(&x.greater(0.0), x, negative * alpha)
}

/// Returns `max(x, 0) + exp(min(x, 0)) - 1`.
#[track_caller]
pub fn celu(x: &Array) -> Array {
    celu_with(x, 1.0)
}

/// Returns `max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)`.
#[track_caller]
pub fn celu_with(x: &Array, alpha: f32) -> Array {
    x.maximum(0.0) + ((x.minimum(0.0) / alpha).exp() - 1.0) * alpha
}

/// Returns `1.0507 * elu(x, 1.67326)`.
#[track_caller]
pub fn selu(x: &Array) -> Array {
    elu_with(x, 1.67326) * 1.0507
}

/// Returns `x * sigmoid(1.702 * x)`.
#[track_caller]
pub fn gelu_fast_approx(x: &Array) -> Array {
    x * (1.702 * x).sigmoid()
}

/// Returns `a * sigmoid(b)` for the halves `a` and `b` of `x` along the last axis.
#[track_caller]
pub fn glu(x: &Array) -> Array {
    glu_with(x, -1)
}

/// Returns `a * sigmoid(b)` for the halves `a` and `b` of `x` along an axis.
#[track_caller]
pub fn glu_with(x: &Array, axis: i32) -> Array {
    match x.split(2, axis) {
        Ok(halves) => &halves[0] * halves[1].sigmoid(),
        Err(error) => Array::failed(error),
    }
}

/// Returns `log(1 + exp(x))`.
#[track_caller]
pub fn softplus(x: &Array) -> Array {
    x.logaddexp(0.0)
}

/// Returns `x / (1 + |x|)`.
#[track_caller]
pub fn softsign(x: &Array) -> Array {
    x / (x.abs() + 1.0)
}

/// Returns `x` moved by 0.5 towards 0, and 0 where `|x| <= 0.5`.
#[track_caller]
pub fn softshrink(x: &Array) -> Array {
    softshrink_with(x, 0.5)
}

/// Returns `x` moved by `lambd` towards 0, and 0 where `|x| <= lambd`.
#[track_caller]
pub fn softshrink_with(x: &Array, lambd: f32) -> Array {
    where_(&x.abs().greater(lambd), x - x.sign() * lambd, 0.0)
}

/// Returns `x`, and 0 where `|x| <= 0.5`.
#[track_caller]
pub fn hard_shrink(x: &Array) -> Array {
    hard_shrink_with(x, 0.5)
}

/// Returns `x`, and 0 where `|x| <= lambd`.
#[track_caller]
pub fn hard_shrink_with(x: &Array, lambd: f32) -> Array {
    where_(&x.abs().greater(lambd), x, 0.0)
}

/// Returns `min(max(x, -1), 1)`.
#[track_caller]
pub fn hard_tanh(x: &Array) -> Array {
    hard_tanh_with(x, -1.0, 1.0)
}

/// Returns `min(max(x, min_val), max_val)`.
#[track_caller]
pub fn hard_tanh_with(x: &Array, min_val: f32, max_val: f32) -> Array {
    x.maximum(min_val).minimum(max_val)
}

/// Returns `x * min(max(x + 3, 0), 6) / 6`.
#[track_caller]
#[doc(alias = "hard_swish")]
pub fn hardswish(x: &Array) -> Array {
    x * (x + 3.0).maximum(0.0).minimum(6.0) / 6.0
}

/// Returns `x * tanh(softplus(x))`.
#[track_caller]
pub fn mish(x: &Array) -> Array {
    x * softplus(x).tanh()
}

/// Returns 1 where `x >= 0` and 0 elsewhere, in `int32`.
#[track_caller]
pub fn step(x: &Array) -> Array {
    step_with(x, 0.0)
}

/// Returns 1 where `x >= threshold` and 0 elsewhere, in `int32`.
#[track_caller]
pub fn step_with(x: &Array, threshold: f32) -> Array {
    where_(&x.greater_equal(threshold), 1, 0)
}

/// Returns `1 / (1 + exp(-x))`.
#[track_caller]
pub fn sigmoid(x: &Array) -> Array {
    x.sigmoid()
}

/// Returns the hyperbolic tangent.
#[track_caller]
pub fn tanh(x: &Array) -> Array {
    x.tanh()
}

/// Returns `log(sigmoid(x))`.
#[track_caller]
pub fn log_sigmoid(x: &Array) -> Array {
    -softplus(&-x)
}

/// Returns the softmax along an axis; Python's default axis is the last.
#[track_caller]
pub fn softmax(x: &Array, axis: i32) -> Array {
    x.softmax(axis)
}

/// Returns the softmax of `-x` along an axis; Python's default axis is the last.
#[track_caller]
pub fn softmin(x: &Array, axis: i32) -> Array {
    (-x).softmax(axis)
}

/// Returns the logarithm of the softmax along an axis; Python's default axis is the last.
#[track_caller]
pub fn log_softmax(x: &Array, axis: i32) -> Array {
    x - x.logsumexp(keepdims(axis))
}
