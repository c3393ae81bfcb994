//! Linear layers.

use mlx::{Array, Dtype, Integer, Quantization, Result, addmm, fast};

use crate::conv::biased;
use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::lora::AdapterSlot;
use crate::packed::PackedWeights;
use crate::{Init, Module, ModuleState};

/// A linear layer, `y = x @ weight.T + bias`: `mlx.nn.Linear`.
///
/// [`quantize`](crate::quantize()) packs the weights in place, and [`lora`](crate::lora) adds a low-rank adapter, so that
/// a struct with a field of this type is trained, quantized and fine-tuned without another type.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let layer = mlx_nn::Linear::new(4, 2).bias(false);
/// assert_eq!(layer.forward(&mlx::array!([[1.0, 2.0, 3.0, 4.0]])).shape()?, [1, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct Linear {
    /// `[output_dims, input_dims]`; of a quantized layer `[output_dims, input_dims * bits / 32]`, `uint32`.
    pub weight: Array,
    /// `[output_dims]`.
    pub bias: Option<Array>,
    /// Scales and biases of the groups, of a quantized layer.
    #[module(flatten)]
    pub packed: Option<PackedWeights>,
    /// The low-rank adapter, if there is one.
    #[module(flatten)]
    pub adapter: AdapterSlot,
    /// What is frozen.
    pub state: ModuleState,
}

impl Linear {
    /// Returns a layer with a bias, and values uniformly distributed from `-1 / sqrt(input_dims)` to
    /// `1 / sqrt(input_dims)`.
    pub fn new(input_dims: impl Integer, output_dims: impl Integer) -> Self {
        let (input_dims, output_dims) = (input_dims.to_i32(), output_dims.to_i32());
        Self::with_init(input_dims, output_dims, true, &mut Init::default())
    }

    /// Returns a layer with initial values from `init`.
    pub fn with_init(input_dims: i32, output_dims: i32, bias: bool, init: &mut Init) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / input_dims.max(1) as f32).sqrt();
        let weight = init.uniform(&[output_dims, input_dims], scale);
        Self::from_weights(weight, bias.then(|| init.uniform(&[output_dims], scale)))
    }

    /// Returns a layer of a weight `[output_dims, input_dims]` and a bias `[output_dims]`.
    pub fn from_weights(weight: Array, bias: impl Into<Option<Array>>) -> Self {
        Self {
            weight,
            bias: bias.into(),
            packed: None,
            adapter: AdapterSlot::default(),
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with or without bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = biased(&self.weight, self.bias, bias);
        self
    }

    /// Maps `[.., input_dims]` to `[.., output_dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let bias = self.bias.as_ref();
        let Some(adapter) = self.adapter.active() else {
            return self.product(x, bias);
        };
        let y = self.product(x, adapter.inner_bias(bias));
        adapter.applied(x, &y, bias, || self.dense_weight())
    }

    /// Returns the weight, dequantized if it is packed.
    #[track_caller]
    pub fn dense_weight(&self) -> Array {
        match &self.packed {
            Some(packed) => packed.with(&self.weight).dequantize(None),
            None => self.weight.clone(),
        }
    }

    /// Packs the weights in place, and freezes the bias. What is packed already stays as it is.
    ///
    /// # Errors
    /// When MLX does not have this quantization, or `input_dims` is not a multiple of the group size.
    #[track_caller]
    pub fn quantize(&mut self, quantization: Quantization) -> Result<()> {
        if self.packed.is_none() {
            let quantized = self.weight.quantize(quantization)?;
            (self.weight, self.packed) = PackedWeights::split(quantized);
            self.state.set_frozen("bias", true);
        }
        Ok(())
    }

    #[track_caller]
    fn product(&self, x: &Array, bias: Option<&Array>) -> Array {
        if let Some(packed) = &self.packed {
            return packed.product("Linear", x, &self.weight, bias);
        }
        let y = match bias {
            // Half precision weights are read directly by a `float32` product.
            Some(bias) if is_shorter(&self.weight, x) => fast::linear(x, &self.weight) + bias,
            None if is_shorter(&self.weight, x) => fast::linear(x, &self.weight),
            Some(bias) => addmm(bias, x, &self.weight.t()),
            None => x.matmul(&self.weight.t()),
        };
        let operands = [x, &self.weight].into_iter().chain(bias);
        in_layer("Linear", y, operands, || {
            linear_mismatch(x, &self.weight, axis_size(&self.weight, -1), bias)
        })
    }
}

/// Returns what is wrong with the shapes of a linear layer of `input_dims`, whose weight has a row for each output.
pub(crate) fn linear_mismatch(
    x: &Array,
    weight: &Array,
    input_dims: i32,
    bias: Option<&Array>,
) -> Option<String> {
    let matrix = [Size::Any("output_dims"), Size::Any("input_dims")];
    let inputs = [Size::Leading, Size::Exactly(input_dims)];
    let outputs = [Size::Exactly(axis_size(weight, 0))];
    let wanted = |name, array, shape| Wanted { name, array, shape };
    first_mismatch(&[wanted("weight", weight, &matrix), wanted("x", x, &inputs)])
        .or_else(|| first_mismatch(&[wanted("bias", bias?, &outputs)]))
}

/// Returns whether the weights are half precision and `x` is `float32`.
pub(crate) fn is_shorter(weight: &Array, x: &Array) -> bool {
    let is =
        |array: &Array, dtypes: &[Dtype]| array.dtype().is_ok_and(|dtype| dtypes.contains(&dtype));
    is(weight, &[Dtype::Float16, Dtype::Bfloat16]) && is(x, &[Dtype::Float32])
}
