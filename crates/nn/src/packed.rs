//! Weights that are packed in place: what a quantized layer has besides the packed matrix.

use mlx::{Array, Quantization, Quantized, Result};

use crate::module::copy;
use crate::quantized::{Activations, product};
use crate::{Embedding, FastOps, Linear, Module};

/// Scales and biases of the groups of a packed matrix. They are never trained.
#[derive(Clone, Module)]
#[module(transparent)]
pub struct PackedWeights {
    /// One scale for each group, `[rows, columns / group_size]`.
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
    /// Whether the input of a product is rounded to 8 bits.
    #[module(static)]
    pub activations: Activations,
}

impl PackedWeights {
    /// Returns the packed matrix, and the rest.
    pub(crate) fn split(quantized: Quantized) -> (Array, Option<Self>) {
        let rest = Self {
            scales: quantized.scales,
            biases: quantized.biases,
            quantization: quantized.quantization,
            kernels: FastOps::default(),
            activations: Activations::default(),
        };
        (quantized.weight, Some(rest))
    }

    /// Returns the quantized weights with this packed matrix.
    pub fn with(&self, weight: &Array) -> Quantized {
        Quantized {
            weight: weight.clone(),
            scales: self.scales.clone(),
            biases: self.biases.clone(),
            quantization: self.quantization,
        }
    }

    #[track_caller]
    pub(crate) fn product(
        &self,
        layer: &'static str,
        x: &Array,
        weight: &Array,
        bias: Option<&Array>,
    ) -> Array {
        let how = (self.kernels, self.activations);
        product(layer, how, x, &self.with(weight), bias)
    }
}

/// Packs the weights of the [`Linear`] and [`Embedding`] layers of a model, in place: `mlx.nn.quantize`.
///
/// `predicate` is given the name of each layer, and says whether it is packed. Packed weights are never trained, and
/// the biases of packed layers are frozen; see [`lora`](crate::lora) for how such a model is fine-tuned. Returns the
/// number of layers.
///
/// ```
/// use mlx::Quantization;
/// use mlx_nn::{Linear, Module, Sequential, quantize, relu};
///
/// # fn main() -> mlx::Result<()> {
/// let mut model = Sequential::new((Linear::new(64, 64), relu, Linear::new(64, 2)));
/// quantize(&mut model, Quantization::default(), |name| name != "layers.2")?;
/// assert_eq!(model.parameters()["layers.0.weight"].dtype()?, mlx::Dtype::Uint32);
/// assert_eq!(model.trainable_parameters().into_keys().collect::<Vec<_>>(), ["layers.2.bias", "layers.2.weight"]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When MLX does not have this quantization, or a row of a matrix is not a multiple of the group size; the model is
/// unchanged.
#[track_caller]
pub fn quantize(
    model: &mut impl Module,
    quantization: impl Into<Quantization>,
    predicate: impl Fn(&str) -> bool,
) -> Result<usize> {
    let quantization = quantization.into();
    let mut packed = copy(model);
    let mut count = 0;
    let mut outcome = Ok(());
    let mut note = |name: &str, result: Result<()>| {
        count += 1;
        if let (Err(error), true) = (result, outcome.is_ok()) {
            outcome = Err(mlx::Error::op("quantize", format!("{name}: {error}")));
        }
    };
    packed.apply_to_any_module(|name, module| {
        if let Some(linear) = module.downcast_mut::<Linear>() {
            if linear.packed.is_none() && predicate(name) {
                note(name, linear.quantize(quantization));
            }
        } else if let Some(table) = module.downcast_mut::<Embedding>()
            && table.packed.is_none()
            && predicate(name)
        {
            note(name, table.quantize(quantization));
        }
    });
    outcome?;
    *model = packed;
    Ok(count)
}
