//! Low-rank adapters for fine-tuning: LoRA and DoRA, on plain and on packed weights.
//!
//! A layer keeps its type: [`apply`] gives the [`Linear`] and [`QuantizedLinear`] layers of a model an adapter each,
//! and freezes everything else. [`fuse`] adds the trained adapters to the weights, [`unfuse`] takes them out again.
//! Parameters have the names of `mlx-lm`: `q_proj.lora_a`, `q_proj.lora_b`, and `q_proj.m` for DoRA.
//!
//! ```
//! use mlx_nn::lora::{self, LoraOptions};
//! use mlx_nn::{Linear, Module, Sequential, relu};
//!
//! # fn main() -> mlx::Result<()> {
//! let mut model = Sequential::new((Linear::new(16, 16), relu, Linear::new(16, 2)));
//! lora::apply(&mut model, &LoraOptions { rank: 4, ..LoraOptions::default() }, |name| name == "layers.0")?;
//! let trained: Vec<String> = model.trainable_parameters().into_keys().collect();
//! assert_eq!(trained, ["layers.0.lora_a", "layers.0.lora_b"]);
//! lora::fuse(&mut model)?;
//! assert_eq!(model.parameters().len(), 4);
//! # Ok(())
//! # }
//! ```

use mlx::{Array, Dtype, Error, Quantized, Result};

use crate::layer_error::axis_size;
use crate::module::copy;
use crate::packed::PackedWeights;
use crate::quantized::input_dims;
use crate::{Init, Linear, Module, QuantizedLinear};

/// Options of [`apply`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraOptions {
    /// The rank of adapters: the size between their two matrices. 8 by default.
    pub rank: i32,
    /// The factor of what adapters add. 20 by default, as in `mlx-lm`.
    pub scale: f32,
    /// Whether the size of each row of the weights is trained by itself (DoRA). False by default.
    pub dora: bool,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self {
            rank: 8,
            scale: 20.0,
            dora: false,
        }
    }
}

/// A low-rank adapter: a layer with it gives `y + scale * x @ lora_a @ lora_b` (LoRA), or that scaled so that the
/// rows of the whole weight have the sizes `m` (DoRA).
#[doc(alias = "LoRALinear")]
#[doc(alias = "DoRALinear")]
#[derive(Clone, Module)]
#[module(transparent)]
pub struct Adapter {
    /// `[input_dims, rank]`.
    pub lora_a: Array,
    /// `[rank, output_dims]`, zeros at first.
    pub lora_b: Array,
    /// The sizes of the rows, `[output_dims]`; `None` for LoRA.
    pub m: Option<Array>,
    /// The factor of what the adapter adds.
    pub scale: f32,
}

/// The place of an adapter in a layer.
#[derive(Clone, Default, Module)]
pub enum AdapterSlot {
    /// There is none.
    #[default]
    Empty,
    /// The adapter is added to what the layer computes.
    Active(Box<Adapter>),
    /// The adapter is part of the weights.
    Fused(#[module(skip)] Box<Fused>),
}

/// What [`unfuse`] puts back.
#[derive(Clone)]
pub struct Fused {
    adapter: Adapter,
    weight: Array,
    packed: Option<PackedWeights>,
}

impl AdapterSlot {
    /// Returns the adapter, unless it is fused or there is none.
    pub fn active(&self) -> Option<&Adapter> {
        match self {
            Self::Active(adapter) => Some(adapter),
            Self::Empty | Self::Fused(_) => None,
        }
    }
}

impl Adapter {
    /// Returns an adapter that changes nothing yet, for a weight `[output_dims, input_dims]`.
    fn new(weight: &Array, [outputs, inputs]: [i32; 2], options: &LoraOptions) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let limit = (1.0 / inputs.max(1) as f32).sqrt();
        Self {
            lora_a: Init::default().uniform(&[inputs, options.rank], limit),
            lora_b: mlx::zeros([options.rank, outputs]),
            m: options.dora.then(|| row_sizes(weight)),
            scale: options.scale,
        }
    }

    /// Returns the bias that is added before the adapter's part: DoRA scales all but the bias.
    pub(crate) fn inner_bias<'a>(&self, bias: Option<&'a Array>) -> Option<&'a Array> {
        bias.filter(|_| self.m.is_none())
    }

    /// Returns what a layer gives: `y` is its product with the weight, and the [`inner_bias`](Self::inner_bias).
    #[track_caller]
    pub(crate) fn applied(
        &self,
        x: &Array,
        y: &Array,
        bias: Option<&Array>,
        weight: impl FnOnce() -> Array,
    ) -> Array {
        let added = x.matmul(&self.lora_a).matmul(&self.lora_b) * self.scale;
        let y = y + like(added, y);
        let Some(m) = &self.m else {
            return y;
        };
        // As in the paper the sizes are constants to the gradient, which costs little accuracy and much less memory.
        let sizes = row_sizes(&self.adapted(&weight())).stop_gradient();
        let y = &y * like(m / sizes, &y);
        match bias {
            Some(bias) => y + bias,
            None => y,
        }
    }

    /// Returns a weight with the product of both matrices added, in `float32`.
    #[track_caller]
    fn adapted(&self, weight: &Array) -> Array {
        weight.astype(Dtype::Float32) + self.lora_a.matmul(&self.lora_b).t() * self.scale
    }

    /// Returns the weight that computes what the layer and its adapter do.
    #[track_caller]
    fn fused(&self, weight: &Array) -> Array {
        let adapted = self.adapted(weight);
        let fused = match &self.m {
            Some(m) => (m / row_sizes(&adapted)).expand_dims(1) * adapted,
            None => adapted,
        };
        like(fused, weight)
    }
}

/// Returns the sizes of the rows of a matrix, in `float32`.
#[track_caller]
fn row_sizes(weight: &Array) -> Array {
    weight.astype(Dtype::Float32).square().sum(1).sqrt()
}

/// Returns `x` in the dtype of `other`.
#[track_caller]
fn like(x: Array, other: &Array) -> Array {
    match other.dtype() {
        Ok(dtype) => x.astype(dtype),
        Err(_) => x,
    }
}

/// Freezes a model, and gives an adapter to each of its linear layers that `predicate` takes by name, as
/// `|name| name.ends_with("q_proj")`. Layers that have one keep it. Returns the number of layers.
///
/// Then train `model.trainable_parameters()` as ever: [`value_and_grad`](crate::value_and_grad) differentiates by
/// those only.
///
/// # Errors
/// When no layer is taken, the rank is not positive, or as [`Module::freeze`]; the model is unchanged.
#[track_caller]
pub fn apply(
    model: &mut impl Module,
    options: &LoraOptions,
    predicate: impl Fn(&str) -> bool,
) -> Result<usize> {
    if options.rank < 1 {
        let message = format!("rank must be at least 1, got {}", options.rank);
        return Err(Error::op("lora", message));
    }
    let mut adapted = copy(model);
    adapted.freeze()?;
    let mut count = 0;
    each_layer(&mut adapted, &mut |name, layer| {
        if predicate(name) {
            count += 1;
            if !matches!(layer.slot(), AdapterSlot::Active(_)) {
                let adapter = Adapter::new(&layer.dense(), layer.dims(), options);
                *layer.slot() = AdapterSlot::Active(Box::new(adapter));
            }
        }
        Ok(())
    })?;
    if count == 0 {
        let message = "the predicate takes none of the model's linear layers".to_owned();
        return Err(Error::op("lora", message));
    }
    *model = adapted;
    Ok(count)
}

/// Adds the adapters of a model to its weights, so that it computes the same without them; packed weights are packed
/// again, which rounds. Returns the number of layers.
///
/// The weights before are kept for [`unfuse`]; [`remove`] drops them.
///
/// # Errors
/// When packing fails; the model is unchanged.
#[track_caller]
pub fn fuse(model: &mut impl Module) -> Result<usize> {
    let mut fused = copy(model);
    let mut count = 0;
    each_layer(&mut fused, &mut |_, layer| {
        let AdapterSlot::Active(adapter) = layer.slot() else {
            return Ok(());
        };
        let adapter = (**adapter).clone();
        let dense = adapter.fused(&layer.dense());
        let (weight, packed) = layer.replace(dense)?;
        *layer.slot() = AdapterSlot::Fused(Box::new(Fused {
            adapter,
            weight,
            packed,
        }));
        count += 1;
        Ok(())
    })?;
    *model = fused;
    Ok(count)
}

/// Puts the weights before [`fuse`] and the adapters back, exactly. Returns the number of layers.
pub fn unfuse(model: &mut impl Module) -> usize {
    let mut count = 0;
    // The closure gives no errors.
    let _ = each_layer(model, &mut |_, layer| {
        if let AdapterSlot::Fused(fused) = std::mem::take(layer.slot()) {
            let Fused {
                adapter,
                weight,
                packed,
            } = *fused;
            layer.restore(weight, packed);
            *layer.slot() = AdapterSlot::Active(Box::new(adapter));
            count += 1;
        }
        Ok(())
    });
    count
}

/// Drops all adapters; what is fused stays in the weights. Returns the number of layers.
pub fn remove(model: &mut impl Module) -> usize {
    let mut count = 0;
    // The closure gives no errors.
    let _ = each_layer(model, &mut |_, layer| {
        if !matches!(std::mem::take(layer.slot()), AdapterSlot::Empty) {
            count += 1;
        }
        Ok(())
    });
    count
}

/// A layer that can have an adapter.
trait Adaptable {
    fn slot(&mut self) -> &mut AdapterSlot;
    /// `[output_dims, input_dims]`.
    fn dims(&self) -> [i32; 2];
    fn dense(&self) -> Array;
    /// Replaces the weights by plain ones, packed if they were, and returns those before.
    fn replace(&mut self, dense: Array) -> Result<(Array, Option<PackedWeights>)>;
    fn restore(&mut self, weight: Array, packed: Option<PackedWeights>);
}

/// Calls `change` with the linear layers of a model, by name, up to the first error.
fn each_layer(
    model: &mut impl Module,
    change: &mut dyn FnMut(&str, &mut dyn Adaptable) -> Result<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    model.apply_to_any_module(|name, module| {
        if outcome.is_err() {
        } else if let Some(layer) = module.downcast_mut::<Linear>() {
            outcome = change(name, layer);
        } else if let Some(layer) = module.downcast_mut::<QuantizedLinear>() {
            outcome = change(name, layer);
        }
    });
    outcome
}

impl Adaptable for Linear {
    fn slot(&mut self) -> &mut AdapterSlot {
        &mut self.adapter
    }

    fn dims(&self) -> [i32; 2] {
        let inputs = match &self.packed {
            Some(packed) => input_dims(&self.weight, packed.quantization),
            None => axis_size(&self.weight, -1),
        };
        [axis_size(&self.weight, 0), inputs]
    }

    fn dense(&self) -> Array {
        self.dense_weight()
    }

    fn replace(&mut self, dense: Array) -> Result<(Array, Option<PackedWeights>)> {
        let (weight, packed) = match &self.packed {
            None => (dense, None),
            Some(before) => {
                let (weight, packed) = PackedWeights::split(dense.quantize(before.quantization)?);
                let settings = |new| PackedWeights {
                    kernels: before.kernels,
                    activations: before.activations,
                    ..new
                };
                (weight, packed.map(settings))
            }
        };
        let before = std::mem::replace(&mut self.weight, weight);
        Ok((before, std::mem::replace(&mut self.packed, packed)))
    }

    fn restore(&mut self, weight: Array, packed: Option<PackedWeights>) {
        (self.weight, self.packed) = (weight, packed);
    }
}

impl Adaptable for QuantizedLinear {
    fn slot(&mut self) -> &mut AdapterSlot {
        &mut self.adapter
    }

    fn dims(&self) -> [i32; 2] {
        let inputs = input_dims(&self.weight, self.quantization);
        [axis_size(&self.weight, 0), inputs]
    }

    fn dense(&self) -> Array {
        self.weights().dequantize(None)
    }

    fn replace(&mut self, dense: Array) -> Result<(Array, Option<PackedWeights>)> {
        let before = PackedWeights::split(self.weights());
        self.set_weights(dense.quantize(self.quantization)?);
        Ok(before)
    }

    fn restore(&mut self, weight: Array, packed: Option<PackedWeights>) {
        if let Some(packed) = packed {
            self.set_weights(packed.with(&weight));
        }
    }
}

impl QuantizedLinear {
    fn set_weights(&mut self, weights: Quantized) {
        self.weight = weights.weight;
        self.scales = weights.scales;
        self.biases = weights.biases;
    }
}
