//! Linear layers that quantize their input as well.

use mlx::{
    Array, Dtype, Error, Integer, Quantization, QuantizationMode, Quantized, Result, custom_vjp,
};

use crate::layer_error::{axis_size, in_layer};
use crate::linear::linear_mismatch;
use crate::quantized::input_dims;
use crate::{Forward, Linear, Module, ModuleState};

const NAME: &str = "QQLinear";

/// A linear layer without bias that quantizes weights and input, `mlx.nn.QQLinear`: `y = q(x) @ q(weight).T`, where `q`
/// rounds to the numbers of a quantization along the inputs.
///
/// In training the weight is kept as it is, and rounded in each call; a gradient is taken as if it were not, of cotangents
/// and operands that are rounded along the axis that is summed, as MLX does: there the outputs and the rows of `x` must be
/// multiples of the group size. For inference [`quantize`](Self::quantize) packs the weight. The modes are `nvfp4` and
/// `mxfp8`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let mut layer = mlx_nn::QQLinear::new(32, 16);
/// let x = mlx::ones([2, 32]);
/// let y = layer.forward(&x);
/// layer.quantize()?;
/// assert_eq!(layer.forward(&x).to_vec::<f32>()?, y.to_vec::<f32>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Module)]
pub struct QQLinear {
    /// `[output_dims, input_dims]`; packed `[output_dims, input_dims * bits / 32]`, `uint32`.
    pub weight: Array,
    /// One scale for each group of a packed weight.
    #[module(packed)]
    pub scales: Option<Array>,
    /// The quantization of weight and input.
    #[module(static)]
    pub quantization: Quantization,
    /// What is frozen.
    pub state: ModuleState,
}

impl QQLinear {
    /// Returns a layer with the quantization `nvfp4`, and values uniformly distributed from `-1 / sqrt(input_dims)` to
    /// `1 / sqrt(input_dims)`.
    pub fn new(input_dims: impl Integer, output_dims: impl Integer) -> Self {
        let (input_dims, output_dims) = (input_dims.to_i32(), output_dims.to_i32());
        let weight = Linear::new(input_dims, output_dims).weight;
        Self {
            weight,
            scales: None,
            quantization: Quantization::of(QuantizationMode::Nvfp4),
            state: ModuleState::default(),
        }
    }

    /// Returns the layer with another quantization, of mode `nvfp4` or `mxfp8`. A packed weight keeps the one it has.
    #[must_use]
    pub fn quantization(mut self, quantization: Quantization) -> Self {
        if self.scales.is_none() {
            self.quantization = quantization;
        }
        self
    }

    /// Returns the layer with the weight of a linear layer.
    ///
    /// # Errors
    /// When the layer has a bias, or is packed.
    #[track_caller]
    pub fn from_linear(layer: &Linear, quantization: Quantization) -> Result<Self> {
        if layer.bias.is_some() {
            return Err(Error::op(
                NAME,
                "wanted a layer without bias, got one with it",
            ));
        }
        if layer.packed.is_some() {
            return Err(Error::op(NAME, "wanted a dense weight, got a packed one"));
        }
        Ok(Self {
            weight: layer.weight.clone(),
            scales: None,
            quantization,
            state: ModuleState::default(),
        })
    }

    /// Packs the weight. What is packed already stays as it is.
    ///
    /// # Errors
    /// When the mode is neither `nvfp4` nor `mxfp8`, or `input_dims` is not a multiple of the group size.
    #[track_caller]
    pub fn quantize(&mut self) -> Result<()> {
        if self.scales.is_none() {
            let packed = packed(&self.weight, self.quantization)?;
            (self.weight, self.scales) = (packed.weight, Some(packed.scales));
        }
        Ok(())
    }

    /// Makes the weight dense again, `float32`, with the values that it was rounded to.
    #[track_caller]
    pub fn dequantize(&mut self) {
        if let Some(weights) = self.packed() {
            self.weight = weights.dequantize(Dtype::Float32);
            self.scales = None;
        }
    }

    /// Maps `[.., input_dims]` to `[.., output_dims]`.
    ///
    /// An input of another shape, sizes that are not multiples of the group size, and other modes give an array that
    /// carries the error. A packed weight has no gradient, nor has the input then, as in Python.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let y = match self.packed() {
            Some(weights) => {
                rounded(x, self.quantization).map(|x| x.quantized_matmul(&weights, true))
            }
            None => self.trained(x),
        };
        let operands = [x, &self.weight].into_iter().chain(&self.scales);
        in_layer(NAME, Array::from_result(y), operands, || {
            let inputs = match &self.scales {
                Some(_) => input_dims(&self.weight, self.quantization),
                None => axis_size(&self.weight, -1),
            };
            linear_mismatch(x, &self.weight, inputs, None)
        })
    }

    /// Returns the product of a weight that is not packed, with its gradient.
    #[track_caller]
    fn trained(&self, x: &Array) -> Result<Array> {
        let quantization = self.quantization;
        let leading = x.shape()?;
        let (_, leading) = leading
            .split_last()
            .ok_or_else(|| Error::op(NAME, "x must have at least one axis, got none"))?;
        let product = custom_vjp(
            move |x: &Array, weight: &Array| product(x, weight, quantization),
            move |(x, weight): &(Array, Array), cotangent: &Array, _: &Array| -> Result<_> {
                let by_x = product(cotangent, &weight.t(), quantization)?;
                let by_weight = product(&cotangent.t(), &x.t(), quantization)?;
                Ok((by_x, by_weight))
            },
        );
        let inputs = axis_size(x, -1);
        let y = product.call((&x.reshape([-1, inputs]), &self.weight))?;
        let mut shape = leading.to_vec();
        shape.push(axis_size(&self.weight, 0));
        Ok(y.reshape(shape))
    }

    fn packed(&self) -> Option<Quantized> {
        self.scales.as_ref().map(|scales| Quantized {
            weight: self.weight.clone(),
            scales: scales.clone(),
            biases: None,
            quantization: self.quantization,
        })
    }
}

impl Forward for QQLinear {
    #[track_caller]
    fn forward(&self, x: &Array) -> Array {
        Self::forward(self, x)
    }
}

/// Returns `q(x) @ q(weight).T` of matrices.
#[track_caller]
fn product(x: &Array, weight: &Array, quantization: Quantization) -> Result<Array> {
    let weights = packed(weight, quantization)?;
    Ok(rounded(x, quantization)?.quantized_matmul(&weights, true))
}

/// Returns the numbers of a quantization that are nearest to those of `x`, in its dtype.
#[track_caller]
fn rounded(x: &Array, quantization: Quantization) -> Result<Array> {
    let rows = x.atleast_2d();
    let y = packed(&rows, quantization)?.dequantize(x.dtype()?);
    Ok(y.reshape(x.shape()?))
}

#[track_caller]
fn packed(x: &Array, quantization: Quantization) -> Result<Quantized> {
    match quantization.mode {
        QuantizationMode::Nvfp4 | QuantizationMode::Mxfp8 => x.quantize(quantization),
        mode => {
            let message = format!("the mode must be nvfp4 or mxfp8, got {mode:?}");
            Err(Error::op(NAME, message))
        }
    }
}
