//! Layers with quantized weights.

use mlx::{Array, Integer, Op, Quantization, QuantizationMode, Quantized, Result, bind};

use crate::conv::biased;
use crate::embedding::tokens_mismatch;
use crate::layer_error::{axis_size, in_layer};
use crate::linear::linear_mismatch;
use crate::lora::AdapterSlot;
use crate::{Embedding, FastOps, Linear, Module, ModuleState};

/// How a layer with quantized weights takes its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activations {
    /// As it is.
    #[default]
    Float,
    /// Rounded to 8 bits for products with few rows, on the CPU: see [`mlx::fast::quantized_matmul_int8`]. Composed
    /// formulas do not round.
    Int8,
}

/// A linear layer with quantized weights, `y = x @ weight.T + bias`: `mlx.nn.QuantizedLinear`.
///
/// ```
/// use mlx_nn::{Linear, QuantizedLinear};
///
/// # fn main() -> mlx::Result<()> {
/// let layer = Linear::new(64, 2);
/// let packed = QuantizedLinear::from_linear(&layer, 64, 4);
/// let x = mlx::ones([1, 64]);
/// let error = (packed.forward(&x) - layer.forward(&x)).abs().max(()).item::<f32>()?;
/// // At most half a step of 4 bits for each of the 64 weights.
/// assert!(error < 64.0 * 0.25 / 15.0 / 2.0 + 0.1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct QuantizedLinear {
    /// The packed weights, `[output_dims, input_dims * bits / 32]`, `uint32`.
    #[module(packed)]
    pub weight: Array,
    /// One scale for each group, `[output_dims, input_dims / group_size]`.
    #[module(packed)]
    pub scales: Array,
    /// One bias for each group; `None` in modes without.
    #[module(packed)]
    pub biases: Option<Array>,
    /// `[output_dims]`: the bias of the layer, unlike the biases of its groups.
    pub bias: Option<Array>,
    /// The quantization of the weights.
    #[module(static)]
    pub quantization: Quantization,
    /// Whether the weights are dequantized before the product, or multiplied directly.
    pub kernels: FastOps,
    /// Whether the input is rounded to 8 bits.
    #[module(static)]
    pub activations: Activations,
    /// The low-rank adapter, if there is one.
    #[module(flatten)]
    pub adapter: AdapterSlot,
    /// What is frozen: by default the bias.
    pub state: ModuleState,
}

impl QuantizedLinear {
    /// Returns a layer with a bias of 0, and uniform initial weights from `-1 / sqrt(input_dims)` to
    /// `1 / sqrt(input_dims)`, packed in groups of 64 with 4 bits.
    ///
    /// `input_dims` that are not a multiple of 64 give weights that carry the error.
    #[track_caller]
    pub fn new(input_dims: impl Integer, output_dims: impl Integer) -> Self {
        let (input_dims, output_dims) = (input_dims.to_i32(), output_dims.to_i32());
        Self::with_quantization(input_dims, output_dims, Quantization::default())
    }

    /// Returns a layer with a bias of 0, and initial weights as in [`new`](Self::new), packed like this.
    ///
    /// `input_dims` that are not a multiple of the group size, and what MLX cannot pack give weights that carry the
    /// error.
    #[track_caller]
    pub fn with_quantization(
        input_dims: i32,
        output_dims: i32,
        quantization: Quantization,
    ) -> Self {
        let weight = Linear::new(input_dims, output_dims).weight;
        let bias = mlx::zeros([output_dims]);
        Self::from_weights(packed(&weight, quantization), bias)
    }

    /// Returns the layer with or without bias; a new one is 0, and frozen like the old one.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.weight, self.bias, bias);
        self
    }

    /// Returns a layer of quantized weights `[output_dims, input_dims]` and a bias.
    pub fn from_weights(weights: Quantized, bias: impl Into<Option<Array>>) -> Self {
        let mut state = ModuleState::default();
        state.set_frozen("bias", true);
        Self {
            weight: weights.weight,
            scales: weights.scales,
            biases: weights.biases,
            bias: bias.into(),
            quantization: weights.quantization,
            kernels: FastOps::default(),
            activations: Activations::default(),
            adapter: AdapterSlot::default(),
            state,
        }
    }

    /// Returns the layer with weights packed into `bits` bits in groups of `group_size`, as Python's
    /// `QuantizedLinear.from_linear(layer, 64, 4)`. Other modes with [`from_linear_with`](Self::from_linear_with).
    ///
    /// What cannot be packed gives weights that carry the error.
    #[track_caller]
    pub fn from_linear(layer: &Linear, group_size: impl Integer, bits: impl Integer) -> Self {
        let quantization = Quantization::from((group_size.to_i32(), bits.to_i32()));
        Self::from_weights(packed(&layer.weight, quantization), layer.bias.clone())
    }

    /// Returns the layer with quantized weights.
    ///
    /// # Errors
    /// When MLX does not have this quantization, or `input_dims` is not a multiple of the group size.
    #[track_caller]
    pub fn from_linear_with(layer: &Linear, quantization: impl Into<Quantization>) -> Result<Self> {
        let weights = layer.weight.quantize(quantization.into())?;
        Ok(Self::from_weights(weights, layer.bias.clone()))
    }

    /// Maps `[.., input_dims]` to `[.., output_dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let bias = self.bias.as_ref();
        let Some(adapter) = self.adapter.active() else {
            return self.product(x, bias);
        };
        let y = self.product(x, adapter.inner_bias(bias));
        adapter.applied(x, &y, bias, || self.weights().dequantize(None))
    }

    #[track_caller]
    fn product(&self, x: &Array, bias: Option<&Array>) -> Array {
        let how = (self.kernels, self.activations);
        product("QuantizedLinear", how, x, &self.weights(), bias)
    }

    /// Returns the quantized weights.
    pub fn weights(&self) -> Quantized {
        let biases = self.biases.as_ref();
        quantized(&self.weight, &self.scales, biases, self.quantization)
    }

    /// Returns the layer with dequantized weights.
    #[track_caller]
    pub fn dequantize(&self) -> Linear {
        Linear::from_weights(self.weights().dequantize(None), self.bias.clone())
    }
}

/// A table of embeddings with quantized weights: `mlx.nn.QuantizedEmbedding`.
#[derive(Clone, Module)]
pub struct QuantizedEmbedding {
    /// The packed weights, `[num_embeddings, dims * bits / 32]`, `uint32`.
    #[module(packed)]
    pub weight: Array,
    /// One scale for each group, `[num_embeddings, dims / group_size]`.
    #[module(packed)]
    pub scales: Array,
    /// One bias for each group; `None` in modes without.
    #[module(packed)]
    pub biases: Option<Array>,
    /// The quantization of the weights.
    #[module(static)]
    pub quantization: Quantization,
    /// Whether the weights are dequantized before the product, or multiplied directly.
    pub kernels: FastOps,
    /// Whether the input of [`QuantizedEmbedding::as_linear`] is rounded to 8 bits.
    #[module(static)]
    pub activations: Activations,
    /// The mode of the layer.
    pub state: ModuleState,
}

impl QuantizedEmbedding {
    /// Returns a table with normally distributed values of variance `1 / dims`, packed in groups of 64 with 4 bits.
    ///
    /// `dims` that are not a multiple of 64 give weights that carry the error.
    #[track_caller]
    pub fn new(num_embeddings: impl Integer, dims: impl Integer) -> Self {
        let (num_embeddings, dims) = (num_embeddings.to_i32(), dims.to_i32());
        Self::with_quantization(num_embeddings, dims, Quantization::default())
    }

    /// Returns a table with initial values as in [`new`](Self::new), packed like this.
    ///
    /// `dims` that are not a multiple of the group size, and what MLX cannot pack give weights that carry the error.
    #[track_caller]
    pub fn with_quantization(num_embeddings: i32, dims: i32, quantization: Quantization) -> Self {
        let weight = Embedding::new(num_embeddings, dims).weight;
        Self::from_weights(packed(&weight, quantization))
    }

    /// Returns a table of quantized weights `[num_embeddings, dims]`.
    pub fn from_weights(weights: Quantized) -> Self {
        Self {
            weight: weights.weight,
            scales: weights.scales,
            biases: weights.biases,
            quantization: weights.quantization,
            kernels: FastOps::default(),
            activations: Activations::default(),
            state: ModuleState::default(),
        }
    }

    /// Returns the table with weights packed into `bits` bits in groups of `group_size`, as Python's
    /// `QuantizedEmbedding.from_embedding(table, 64, 4)`. Other modes with
    /// [`from_embedding_with`](Self::from_embedding_with).
    ///
    /// What cannot be packed gives weights that carry the error.
    #[track_caller]
    pub fn from_embedding(table: &Embedding, group_size: impl Integer, bits: impl Integer) -> Self {
        let quantization = Quantization::from((group_size.to_i32(), bits.to_i32()));
        Self::from_weights(packed(&table.weight, quantization))
    }

    /// Returns the table with quantized weights.
    ///
    /// # Errors
    /// As for [`QuantizedLinear::from_linear_with`].
    #[track_caller]
    pub fn from_embedding_with(
        table: &Embedding,
        quantization: impl Into<Quantization>,
    ) -> Result<Self> {
        Ok(Self::from_weights(
            table.weight.quantize(quantization.into())?,
        ))
    }

    /// Maps integers `[..]` to vectors `[.., dims]`; only the selected rows are dequantized. An index outside of the
    /// table is an error.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        let vectors = take_rows(&self.weights(), tokens);
        let packed = [&self.weight, &self.scales].into_iter().chain(&self.biases);
        let inputs = packed.chain([tokens]);
        in_layer("QuantizedEmbedding", vectors, inputs, || {
            tokens_mismatch(tokens)
        })
    }

    /// Maps vectors `[.., dims]` to logits `[.., num_embeddings]`: the table as a linear layer.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        let how = (self.kernels, self.activations);
        product("QuantizedEmbedding", how, x, &self.weights(), None)
    }

    /// Returns the quantized weights.
    pub fn weights(&self) -> Quantized {
        let biases = self.biases.as_ref();
        quantized(&self.weight, &self.scales, biases, self.quantization)
    }

    /// Returns the table with dequantized weights.
    #[track_caller]
    pub fn dequantize(&self) -> Embedding {
        Embedding::from_weights(self.weights().dequantize(None))
    }
}

/// Returns the packed matrix, or one that carries the error.
#[track_caller]
fn packed(weight: &Array, quantization: Quantization) -> Quantized {
    weight.quantize(quantization).unwrap_or_else(|error| {
        let has_biases = quantization.mode == QuantizationMode::Affine;
        let failed = Array::failed(error);
        Quantized {
            weight: failed.clone(),
            scales: failed.clone(),
            biases: has_biases.then_some(failed),
            quantization,
        }
    })
}

fn quantized(
    weight: &Array,
    scales: &Array,
    biases: Option<&Array>,
    quantization: Quantization,
) -> Quantized {
    Quantized {
        weight: weight.clone(),
        scales: scales.clone(),
        biases: biases.cloned(),
        quantization,
    }
}

/// Returns the rows of a quantized table, dequantized.
#[track_caller]
pub(crate) fn take_rows(table: &Quantized, tokens: &Array) -> Array {
    let rows = |table: &Array| bind(Op::Take { axis: 0 }, &[table, tokens]);
    let chosen = Quantized {
        weight: rows(&table.weight),
        scales: rows(&table.scales),
        biases: table.biases.as_ref().map(rows),
        quantization: table.quantization,
    };
    chosen.dequantize(None)
}

/// Multiplies with quantized weights, adds the bias, and names the layer in errors.
#[track_caller]
pub(crate) fn product(
    layer: &'static str,
    (kernels, activations): (FastOps, Activations),
    x: &Array,
    weights: &Quantized,
    bias: Option<&Array>,
) -> Array {
    let y = match (kernels, activations) {
        (FastOps::Fused, Activations::Int8) => mlx::fast::quantized_matmul_int8(x, weights),
        _ => kernels.quantized_matmul(x, weights),
    };
    let y = match bias {
        Some(bias) => y + bias,
        None => y,
    };
    let packed = [&weights.weight, &weights.scales];
    let inputs = packed.into_iter().chain(&weights.biases).chain(bias);
    in_layer(layer, y, inputs.chain([x]), || {
        let dims = input_dims(&weights.weight, weights.quantization);
        linear_mismatch(x, &weights.weight, dims, bias)
    })
}

/// Returns the row size of quantized weights.
pub(crate) fn input_dims(weight: &Array, quantization: Quantization) -> i32 {
    let bits = axis_size(weight, -1).saturating_mul(32);
    bits.checked_div(quantization.bits).unwrap_or(0)
}
