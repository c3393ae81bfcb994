//! Normalization of the last axis.

use mlx::{Array, Dtype};

use crate::layer_error::{Size, Wanted, axis_size, first_complaint, in_layer};
use crate::{Kernels, Module, Parts};

/// Normalizes the last axis to mean 0 and variance 1, then scales and shifts it.
#[derive(Clone)]
pub struct LayerNorm {
    /// `[dims]`.
    pub weight: Option<Array>,
    /// `[dims]`.
    pub bias: Option<Array>,
    /// What is added to the variance.
    pub eps: f32,
    /// Composed formula or fused kernel.
    pub kernels: Kernels,
}

impl LayerNorm {
    /// Returns a norm with weight 1 and bias 0.
    pub fn new(dims: i32, eps: f32) -> Self {
        Self {
            weight: Some(mlx::ones([dims], Dtype::Float32)),
            bias: Some(mlx::zeros([dims], Dtype::Float32)),
            eps,
            kernels: Kernels::default(),
        }
    }

    /// Normalizes `[.., dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        let y = self.kernels.layer_norm(x, weight, bias, self.eps);
        let vectors = || weight.into_iter().chain(bias);
        in_layer("LayerNorm", y, vectors().chain([x]), || {
            complaint(x, vectors())
        })
    }
}

/// What is wrong with the shape of the input of a norm, whose vectors all have the size of the last axis.
fn complaint<'a>(x: &Array, mut vectors: impl Iterator<Item = &'a Array>) -> Option<String> {
    let dims = match vectors.next() {
        Some(vector) => Size::Exactly(axis_size(vector, 0)),
        None => Size::Any("dims"),
    };
    first_complaint(&[Wanted {
        name: "x",
        array: x,
        shape: &[Size::Leading, dims],
    }])
}

impl Module for LayerNorm {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.optional("weight", &mut self.weight);
        parts.optional("bias", &mut self.bias);
        parts.kernels(&mut self.kernels);
    }
}

/// Divides the last axis by its root mean square, then scales it.
#[derive(Clone)]
pub struct RmsNorm {
    /// `[dims]`.
    pub weight: Array,
    /// What is added to the mean of squares.
    pub eps: f32,
    /// Composed formula or fused kernel.
    pub kernels: Kernels,
}

impl RmsNorm {
    /// Returns a norm with weight 1.
    pub fn new(dims: i32, eps: f32) -> Self {
        Self {
            weight: mlx::ones([dims], Dtype::Float32),
            eps,
            kernels: Kernels::default(),
        }
    }

    /// Normalizes `[.., dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = self.kernels.rms_norm(x, Some(&self.weight), self.eps);
        in_layer("RmsNorm", y, [x, &self.weight], || {
            complaint(x, std::iter::once(&self.weight))
        })
    }
}

impl Module for RmsNorm {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.parameter("weight", &mut self.weight);
        parts.kernels(&mut self.kernels);
    }
}
