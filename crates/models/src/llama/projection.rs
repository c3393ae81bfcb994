//! Which form do the matrices of a network have: plain, or packed in few bits?

use mlx::{Array, Dtype, QuantizationMode, Quantized};
use mlx_nn::{Embedding, Linear, Module, ParameterVisitor, QuantizedEmbedding, QuantizedLinear};

/// A linear layer in either form.
#[derive(Clone)]
pub enum Projection {
    /// Plain numbers.
    Plain(Linear),
    /// Packed.
    Packed(QuantizedLinear),
}

impl Projection {
    /// Maps `[.., in]` to `[.., out]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self {
            Self::Plain(layer) => layer.forward(x),
            Self::Packed(layer) => layer.forward(x),
        }
    }
}

/// A table of vectors for tokens in either form.
#[derive(Clone)]
pub enum Table {
    /// Plain numbers.
    Plain(Embedding),
    /// Packed.
    Packed(QuantizedEmbedding),
}

impl Table {
    /// Maps tokens `[..]` to vectors `[.., dims]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        match self {
            Self::Plain(table) => table.forward(tokens),
            Self::Packed(table) => table.forward(tokens),
        }
    }

    /// Maps vectors `[.., dims]` to scores of all tokens.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        match self {
            Self::Plain(table) => table.as_linear(x),
            Self::Packed(table) => table.as_linear(x),
        }
    }
}

impl Module for Projection {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        match self {
            Self::Plain(layer) => layer.visit_parameters(visitor),
            Self::Packed(layer) => layer.visit_parameters(visitor),
        }
    }
}

impl Module for Table {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        match self {
            Self::Plain(table) => table.visit_parameters(visitor),
            Self::Packed(table) => table.visit_parameters(visitor),
        }
    }
}

/// Returns packed weights with scales and biases in `dtype`; exponents stay what they are.
pub(super) fn scales_in(weights: Quantized, dtype: Dtype) -> Quantized {
    if weights.quantization.mode != QuantizationMode::Affine {
        return weights;
    }
    Quantized {
        scales: weights.scales.astype(dtype),
        biases: weights.biases.map(|biases| biases.astype(dtype)),
        ..weights
    }
}
