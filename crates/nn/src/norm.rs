//! Normalization of the last axis.

use mlx::{Array, Integer};

use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{FastOps, Module, ModuleState};

/// Layer normalization, `mlx.nn.LayerNorm`.
///
/// Normalizes the last axis to mean 0 and variance 1, then scales and shifts it.
#[derive(Clone, Module)]
pub struct LayerNorm {
    /// `[dims]`.
    pub weight: Option<Array>,
    /// `[dims]`.
    pub bias: Option<Array>,
    /// Added to the variance.
    pub eps: f32,
    /// Composed formula or fused kernel.
    pub kernels: FastOps,
    /// What is frozen.
    pub state: ModuleState,
}

impl LayerNorm {
    /// Returns a norm with weight 1, bias 0 and `eps` of 1e-5.
    pub fn new(dims: impl Integer) -> Self {
        let dims = dims.to_i32();
        Self {
            weight: Some(mlx::ones([dims])),
            bias: Some(mlx::zeros([dims])),
            eps: 1e-5,
            kernels: FastOps::default(),
            state: ModuleState::default(),
        }
    }

    /// Returns the norm with another `eps`.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Returns the norm with or without weight and bias.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> Self {
        if !affine {
            (self.weight, self.bias) = (None, None);
        }
        self
    }

    /// Returns the norm with or without bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        if !bias {
            self.bias = None;
        }
        self
    }

    /// Normalizes `[.., dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let y = self.kernels.layer_norm(x, weight, bias, self.eps);
        let vectors = || weight.into_iter().chain(bias);
        in_layer("LayerNorm", y, vectors().chain([x]), || {
            mismatch(x, vectors())
        })
    }
}

/// Returns what is wrong with the shape of a norm's input; `vectors` have the size of its last axis.
fn mismatch<'a>(x: &Array, mut vectors: impl Iterator<Item = &'a Array>) -> Option<String> {
    let dims = match vectors.next() {
        Some(vector) => Size::Exactly(axis_size(vector, 0)),
        None => Size::Any("dims"),
    };
    first_mismatch(&[Wanted {
        name: "x",
        array: x,
        shape: &[Size::Leading, dims],
    }])
}

/// RMS normalization, `mlx.nn.RMSNorm`.
///
/// Divides the last axis by its root mean square, then scales it.
#[derive(Clone, Module)]
pub struct RmsNorm {
    /// `[dims]`.
    pub weight: Array,
    /// Added to the mean of squares.
    pub eps: f32,
    /// Composed formula or fused kernel.
    pub kernels: FastOps,
    /// What is frozen.
    pub state: ModuleState,
}

impl RmsNorm {
    /// Returns a norm with weight 1 and `eps` of 1e-5.
    pub fn new(dims: impl Integer) -> Self {
        let dims = dims.to_i32();
        Self {
            weight: mlx::ones([dims]),
            eps: 1e-5,
            kernels: FastOps::default(),
            state: ModuleState::default(),
        }
    }

    /// Returns the norm with another `eps`.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Normalizes `[.., dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = self.kernels.rms_norm(x, Some(&self.weight), self.eps);
        in_layer("RmsNorm", y, [x, &self.weight], || {
            mismatch(x, std::iter::once(&self.weight))
        })
    }
}

/// [`RmsNorm`] under the name that Python MLX gives it.
pub type RMSNorm = RmsNorm;
