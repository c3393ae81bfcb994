//! Activation functions, with the formulas and names of `mlx.nn`.

use std::f32::consts::{PI, SQRT_2};

use mlx::Array;

/// Returns `max(x, 0)`.
#[track_caller]
pub fn relu(x: &Array) -> Array {
    x.maximum(0.0)
}

/// Returns `x * sigmoid(x)`, also called Swish.
#[track_caller]
pub fn silu(x: &Array) -> Array {
    x * x.sigmoid()
}

/// Returns `x * (1 + erf(x / sqrt(2))) / 2`, the exact Gaussian error linear unit.
#[track_caller]
pub fn gelu(x: &Array) -> Array {
    x * (1.0 + (x / SQRT_2).erf()) / 2.0
}

/// Returns `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
#[track_caller]
pub fn gelu_approx(x: &Array) -> Array {
    let cubic = 0.044_715 * x.power(3.0);
    0.5 * x * (1.0 + ((2.0 / PI).sqrt() * (x + cubic)).tanh())
}

/// Returns `x * sigmoid(1.702 * x)`.
#[track_caller]
pub fn gelu_fast_approx(x: &Array) -> Array {
    x * (1.702 * x).sigmoid()
}
