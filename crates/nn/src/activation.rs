//! Activation functions, with the formulas and names of `mlx.nn`.
//!
//! They are the formulas in plain operations, which `jit` recognizes and reports. Uncompiled code that wants the
//! kernels calls [`mlx::fast`] or [`FastOps`](crate::FastOps), as the models do.

use mlx::Array;
pub use mlx::fast::composed::{gelu, gelu_approx, silu};

/// Returns `max(x, 0)`.
#[track_caller]
pub fn relu(x: &Array) -> Array {
    x.maximum(0.0)
}

/// Returns `x * sigmoid(1.702 * x)`.
#[track_caller]
pub fn gelu_fast_approx(x: &Array) -> Array {
    x * (1.702 * x).sigmoid()
}
