//! Products of which both sides are quantized: the input on the fly, the weights too unless they are packed already.

use crate::ops::GatherOptions;
use crate::{Array, Dtype, Error, Quantization, QuantizationMode, Quantized, Result, custom_vjp};

/// Weights of [`qqmm`]: dense, which are quantized on the fly and have a gradient, or packed.
pub enum QqmmWeights<'a> {
    /// `[.., out, in]`.
    Dense(&'a Array),
    /// As [`quantize`](Array::quantize) packs them.
    Packed(&'a Quantized),
}

impl<'a> From<&'a Array> for QqmmWeights<'a> {
    fn from(weights: &'a Array) -> Self {
        Self::Dense(weights)
    }
}

impl<'a> From<&'a Quantized> for QqmmWeights<'a> {
    fn from(weights: &'a Quantized) -> Self {
        Self::Packed(weights)
    }
}

/// Options of [`qqmm`]: by default `nvfp4` without global scales.
#[derive(Clone)]
pub struct QqmmOptions {
    /// How both sides are quantized: `nvfp4` or `mxfp8`. Packed weights have theirs, which the input gets too.
    pub quantization: Quantization,
    /// The global scales of input and weights in `nvfp4`, as of [`quantize_with`](Array::quantize_with).
    pub global_scales: Option<[Array; 2]>,
}

impl Default for QqmmOptions {
    fn default() -> Self {
        Self::from(QuantizationMode::Nvfp4)
    }
}

impl From<()> for QqmmOptions {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<QuantizationMode> for QqmmOptions {
    fn from(mode: QuantizationMode) -> Self {
        Self::from(Quantization::of(mode))
    }
}

impl From<Quantization> for QqmmOptions {
    fn from(quantization: Quantization) -> Self {
        Self {
            quantization,
            global_scales: None,
        }
    }
}

/// Returns `q(x) @ q(w).T`, where `q` rounds to the numbers of a quantization along the last axis.
///
/// `x` is `[.., in]`, dense weights are `[out, in]`. It is computed as [`quantize`](Array::quantize),
/// [`dequantize`](Quantized::dequantize) and a product, on every device. The gradient is taken as if nothing were
/// rounded, of cotangents and operands that are rounded along the axis that is summed, as MLX does: there the outputs
/// and the rows of `x` must be multiples of the group size. Packed weights have no gradient, nor has `x` then.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// // Of these numbers nothing is lost: the largest is 6, or half of that.
/// let (x, w) = (mlx::full([2, 16], 6.0), mlx::full([3, 16], 3.0));
/// assert_eq!(mlx::qqmm(&x, &w, ()).to_vec::<f32>()?, [288.0; 6]);
/// let packed = w.quantize(mlx::Quantization::of(mlx::QuantizationMode::Nvfp4))?;
/// assert_eq!(mlx::qqmm(&x, &packed, ()).to_vec::<f32>()?, [288.0; 6]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn qqmm<'a>(
    x: &Array,
    weights: impl Into<QqmmWeights<'a>>,
    options: impl Into<QqmmOptions>,
) -> Array {
    Array::from_result(product(x, weights.into(), options.into()))
}

/// Returns [`qqmm`] of chosen matrices of both sides, `[.., rows, in]` and `[.., out, in]`: a mixture of experts. It has
/// no gradient.
#[track_caller]
pub fn gather_qqmm<'a>(
    x: &Array,
    weights: impl Into<QqmmWeights<'a>>,
    options: impl Into<QqmmOptions>,
    gather: GatherOptions<'_>,
) -> Array {
    Array::from_result(gathered(x, weights.into(), options.into(), gather))
}

#[track_caller]
fn product(x: &Array, weights: QqmmWeights<'_>, options: QqmmOptions) -> Result<Array> {
    let shape = x.shape()?;
    let (&inputs, leading) = shape
        .split_last()
        .ok_or_else(|| Error::op("qqmm", "x must have at least one axis, got none"))?;
    let sides = Sides::of("qqmm", options, &weights)?;
    let rows = x.reshape([-1, inputs]);
    let y = match weights {
        QqmmWeights::Packed(packed) => sides.of_packed(&rows, packed)?,
        QqmmWeights::Dense(weights) if weights.ndim()? != 2 => {
            let message = format!("weights must be a matrix, got {:?}", weights.shape()?);
            return Err(Error::op("qqmm", message));
        }
        QqmmWeights::Dense(weights) => {
            let (forwards, backwards) = (sides.clone(), sides);
            let function = custom_vjp(
                move |x: &Array, w: &Array| forwards.of_dense(x, w),
                move |(x, w): &(Array, Array), cotangent: &Array, _: &Array| {
                    backwards.gradient(x, w, cotangent)
                },
            );
            function.call((&rows, weights))?
        }
    };
    let outputs = y.dim(-1)?;
    Ok(y.reshape([leading, &[outputs]].concat()))
}

#[track_caller]
fn gathered(
    x: &Array,
    weights: QqmmWeights<'_>,
    options: QqmmOptions,
    gather: GatherOptions<'_>,
) -> Result<Array> {
    let sides = Sides::of("gather_qqmm", options, &weights)?;
    let [x_scale, w_scale] = sides.scales();
    let dtype = x.dtype()?;
    let rounded = sides.rounded(x, x_scale)?;
    let packed = match weights {
        QqmmWeights::Packed(packed) => packed.clone(),
        QqmmWeights::Dense(weights) => sides.packed(weights, w_scale)?,
    };
    Ok(match w_scale {
        None => rounded.gather_qmm(&packed, true, gather),
        Some(scale) => {
            let dense = packed.dequantize_with(scale, dtype);
            rounded.gather_mm(&dense.matrix_transpose(), gather)
        }
    })
}

/// How both sides are rounded.
#[derive(Clone)]
struct Sides {
    op: &'static str,
    quantization: Quantization,
    global_scales: Option<[Array; 2]>,
}

impl Sides {
    fn of(op: &'static str, options: QqmmOptions, weights: &QqmmWeights<'_>) -> Result<Self> {
        let quantization = match weights {
            QqmmWeights::Dense(_) => options.quantization,
            QqmmWeights::Packed(packed) => packed.quantization,
        };
        match quantization.mode {
            QuantizationMode::Nvfp4 | QuantizationMode::Mxfp8 => Ok(Self {
                op,
                quantization,
                global_scales: options.global_scales,
            }),
            mode => {
                let message = format!("the mode must be nvfp4 or mxfp8, got {mode:?}");
                Err(Error::op(op, message))
            }
        }
    }

    fn scales(&self) -> [Option<&Array>; 2] {
        match &self.global_scales {
            Some([x, w]) => [Some(x), Some(w)],
            None => [None, None],
        }
    }

    fn packed(&self, x: &Array, global_scale: Option<&Array>) -> Result<Quantized> {
        let dtype = x.dtype()?;
        if !dtype.is_floating() || dtype == Dtype::Float64 {
            let message = format!("wanted float32, float16 or bfloat16, got {dtype}");
            return Err(Error::op(self.op, message));
        }
        match global_scale {
            Some(scale) => x.quantize_with(self.quantization, scale),
            None => x.quantize(self.quantization),
        }
    }

    /// Returns the numbers that `x` is rounded to, in its dtype.
    fn rounded(&self, x: &Array, global_scale: Option<&Array>) -> Result<Array> {
        let packed = self.packed(x, global_scale)?;
        let dtype = x.dtype()?;
        Ok(match global_scale {
            Some(scale) => packed.dequantize_with(scale, dtype),
            None => packed.dequantize(dtype),
        })
    }

    fn of_packed(&self, x: &Array, weights: &Quantized) -> Result<Array> {
        let [x_scale, w_scale] = self.scales();
        let rounded = self.rounded(x, x_scale)?;
        Ok(match w_scale {
            None => rounded.quantized_matmul(weights, true),
            Some(scale) => rounded.matmul(weights.dequantize_with(scale, x.dtype()?).t()),
        })
    }

    fn of_dense(&self, x: &Array, weights: &Array) -> Result<Array> {
        let [_, w_scale] = self.scales();
        self.of_packed(x, &self.packed(weights, w_scale)?)
    }

    /// Returns what a cotangent gives for both sides.
    fn gradient(&self, x: &Array, weights: &Array, cotangent: &Array) -> Result<(Array, Array)> {
        let with = |scale: Option<&Array>| Self {
            global_scales: scale.map(|scale| {
                let largest = cotangent.abs().max(()).astype(Dtype::Float32);
                [largest, scale.clone()]
            }),
            ..self.clone()
        };
        let [x_scale, w_scale] = self.scales();
        let by_x = with(w_scale).of_dense(cotangent, &weights.t())?;
        let by_weights = with(x_scale).of_dense(&cotangent.t(), &x.t())?;
        Ok((by_x, by_weights))
    }
}
