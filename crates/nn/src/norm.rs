//! Normalization of the last axis.

use mlx::{Array, Dtype};

use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{FastOps, Module, ParameterVisitor};

/// Layer normalization, `mlx.nn.LayerNorm`.
///
/// Normalizes the last axis to mean 0 and variance 1, then scales and shifts it.
#[derive(Clone)]
pub struct LayerNorm {
    /// `[dims]`.
    pub weight: Option<Array>,
    /// `[dims]`.
    pub bias: Option<Array>,
    /// Added to the variance.
    pub eps: f32,
    /// Composed formula or fused kernel.
    pub kernels: FastOps,
}

impl LayerNorm {
    /// Returns a norm with weight 1 and bias 0.
    pub fn new(dims: i32, eps: f32) -> Self {
        Self {
            weight: Some(mlx::ones([dims], Dtype::Float32)),
            bias: Some(mlx::zeros([dims], Dtype::Float32)),
            eps,
            kernels: FastOps::default(),
        }
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

impl Module for LayerNorm {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.optional("weight", &mut self.weight);
        visitor.optional("bias", &mut self.bias);
        visitor.kernels(&mut self.kernels);
    }
}

/// RMS normalization, `mlx.nn.RMSNorm`.
///
/// Divides the last axis by its root mean square, then scales it.
#[derive(Clone)]
pub struct RmsNorm {
    /// `[dims]`.
    pub weight: Array,
    /// Added to the mean of squares.
    pub eps: f32,
    /// Composed formula or fused kernel.
    pub kernels: FastOps,
}

impl RmsNorm {
    /// Returns a norm with weight 1.
    pub fn new(dims: i32, eps: f32) -> Self {
        Self {
            weight: mlx::ones([dims], Dtype::Float32),
            eps,
            kernels: FastOps::default(),
        }
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

impl Module for RmsNorm {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.parameter("weight", &mut self.weight);
        visitor.kernels(&mut self.kernels);
    }
}
