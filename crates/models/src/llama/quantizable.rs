//! Layers of a network whose matrices are plain or quantized, as the weights are stored.

use mlx::{Array, Quantization};
use mlx_nn::{Activations, Embedding, Init, Linear, Module, QuantizedEmbedding, QuantizedLinear};

/// A linear layer, plain or quantized.
#[derive(Clone, Module)]
pub enum LinearLayer {
    /// With plain weights.
    Plain(Linear),
    /// With quantized weights.
    Packed(QuantizedLinear),
}

/// The former name of [`LinearLayer`].
#[deprecated(note = "renamed to LinearLayer")]
pub type Projection = LinearLayer;

/// A table of token embeddings, plain or quantized.
#[derive(Clone, Module)]
pub enum EmbeddingTable {
    /// With plain weights.
    Plain(Embedding),
    /// With quantized weights.
    Packed(QuantizedEmbedding),
}

/// The former name of [`EmbeddingTable`].
#[deprecated(note = "renamed to EmbeddingTable")]
pub type Table = EmbeddingTable;

impl LinearLayer {
    /// Returns a layer of zeros, in the form that weights of this quantization load into.
    pub(super) fn zeros(
        [outputs, inputs]: [i32; 2],
        bias: bool,
        quantization: Option<Quantization>,
    ) -> mlx::Result<Self> {
        let plain = Linear::with_init(inputs, outputs, bias, &mut Init::zeros());
        Ok(match quantization {
            Some(quantization) => {
                Self::Packed(QuantizedLinear::from_linear_with(&plain, quantization)?)
            }
            None => Self::Plain(plain),
        })
    }

    /// Returns the layer with this way of taking its input; a plain one has no other.
    #[must_use]
    pub(super) fn with_activations(mut self, activations: Activations) -> Self {
        if let Self::Packed(layer) = &mut self {
            layer.activations = activations;
        }
        self
    }

    /// Maps `[.., in]` to `[.., out]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self {
            Self::Plain(layer) => layer.forward(x),
            Self::Packed(layer) => layer.forward(x),
        }
    }
}

impl EmbeddingTable {
    /// Returns a table of zeros, in the form that weights of this quantization load into.
    pub(super) fn zeros(
        [tokens, dims]: [i32; 2],
        quantization: Option<Quantization>,
    ) -> mlx::Result<Self> {
        let plain = Embedding::with_init(tokens, dims, &mut Init::zeros());
        Ok(match quantization {
            Some(quantization) => Self::Packed(QuantizedEmbedding::from_embedding_with(
                &plain,
                quantization,
            )?),
            None => Self::Plain(plain),
        })
    }

    /// Returns the table with this way of taking the input of [`EmbeddingTable::as_linear`]; a plain one has no other.
    #[must_use]
    pub(super) fn with_activations(mut self, activations: Activations) -> Self {
        if let Self::Packed(table) = &mut self {
            table.activations = activations;
        }
        self
    }

    /// Maps tokens `[..]` to vectors `[.., dims]`.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        match self {
            Self::Plain(table) => table.forward(tokens),
            Self::Packed(table) => table.forward(tokens),
        }
    }

    /// Maps vectors `[.., dims]` to the logits of all tokens.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        match self {
            Self::Plain(table) => table.as_linear(x),
            Self::Packed(table) => table.as_linear(x),
        }
    }
}
