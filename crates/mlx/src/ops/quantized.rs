//! Weights in few bits: packing them, unpacking them, multiplying without unpacking.

use super::product::GatherOptions;
use crate::op::{Op, QuantizationMode};
use crate::{Array, Dtype, Error, Integer, Result, bind, bind_all};

/// How weights are quantized: the size of the group that shares a scale, the number of bits, and the coding.
///
/// The default is MLX's: affine, 4 bits, groups of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quantization {
    /// Number of weights that share a scale.
    pub group_size: i32,
    /// Bits of one weight.
    pub bits: i32,
    /// How they are coded.
    pub mode: QuantizationMode,
}

impl Quantization {
    /// Returns the group size and bits that MLX uses for `mode` unless told otherwise.
    pub fn of(mode: QuantizationMode) -> Self {
        let (group_size, bits) = match mode {
            QuantizationMode::Affine => (64, 4),
            QuantizationMode::Mxfp4 => (32, 4),
            QuantizationMode::Mxfp8 => (32, 8),
            QuantizationMode::Nvfp4 => (16, 4),
        };
        Self {
            group_size,
            bits,
            mode,
        }
    }
}

/// The group size and the bits, as in Python: `(64, 4)`.
impl From<(i32, i32)> for Quantization {
    fn from((group_size, bits): (i32, i32)) -> Self {
        Self {
            group_size,
            bits,
            mode: QuantizationMode::Affine,
        }
    }
}

impl Default for Quantization {
    fn default() -> Self {
        Self::of(QuantizationMode::Affine)
    }
}

/// Packed weights, as [`quantize`](Array::quantize) makes them and files hold them.
#[derive(Clone)]
pub struct Quantized {
    /// The packed weights, `[..., out, in * bits / 32]`, `uint32`.
    pub weight: Array,
    /// One scale for each group, `[..., out, in / group_size]`.
    pub scales: Array,
    /// One offset for each group in the affine mode, none in others.
    pub biases: Option<Array>,
    /// How they are packed.
    pub quantization: Quantization,
}

impl Quantized {
    /// Returns the weights unpacked, in `dtype` or that of the scales (`bfloat16` in the modes without biases).
    #[track_caller]
    pub fn dequantize(&self, dtype: impl Into<Option<Dtype>>) -> Array {
        self.unpacked(dtype.into())
    }

    /// Returns the weights unpacked as [`dequantize`](Self::dequantize) does, of weights that were packed with this
    /// global scale ([`Array::quantize_with`]).
    #[track_caller]
    pub fn dequantize_with(&self, global_scale: &Array, dtype: impl Into<Option<Dtype>>) -> Array {
        let dtype = dtype.into().unwrap_or(Dtype::Bfloat16);
        match global_factor("dequantize", self.quantization.mode, global_scale) {
            Ok(factor) => (self.unpacked(Some(Dtype::Float32)) / factor).astype(dtype),
            Err(error) => Array::failed(error),
        }
    }

    #[track_caller]
    fn unpacked(&self, dtype: Option<Dtype>) -> Array {
        let Quantization {
            group_size,
            bits,
            mode,
        } = self.quantization;
        let op = Op::Dequantize {
            group_size,
            bits,
            mode,
            dtype,
        };
        let mut inputs = vec![&self.weight, &self.scales];
        inputs.extend(&self.biases);
        bind(op, &inputs)
    }
}

impl Array {
    /// Returns this matrix, `[..., out, in]` and floating, with the last axis packed into few bits.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// use mlx::{Quantization, arange};
    /// let w = arange((0.0, 16.0, 0.25)).reshape([1, 64]);
    /// let packed = w.quantize(Quantization { bits: 8, ..Quantization::default() })?;
    /// assert_eq!(packed.weight.shape()?, [1, 16]);
    /// assert!((packed.dequantize(None) - w).abs().max(()).item::<f32>()? < 0.05);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the last axis is not a multiple of the group size, or MLX does not have this group size and bits.
    #[track_caller]
    pub fn quantize(&self, quantization: Quantization) -> Result<Quantized> {
        let Quantization {
            group_size,
            bits,
            mode,
        } = quantization;
        let mut parts = bind_all(
            Op::Quantize {
                group_size,
                bits,
                mode,
            },
            &[self],
        )?
        .into_iter();
        match (parts.next(), parts.next()) {
            (Some(weight), Some(scales)) => Ok(Quantized {
                weight,
                scales,
                biases: parts.next(),
                quantization,
            }),
            _ => Err(Error::op(
                "quantize",
                "wanted at least two outputs, got fewer",
            )),
        }
    }

    /// Returns this matrix packed as [`quantize`](Self::quantize) does, in mode `nvfp4` with a global scale: the largest
    /// magnitude there is, a `float32` of one element.
    ///
    /// The scales of groups are then relative to it, and use the whole range of their 8 bits. It is not part of the
    /// result: give it to [`Quantized::dequantize_with`] again.
    ///
    /// # Errors
    /// When the mode is not `nvfp4`, the scale is not one `float32`, or as [`quantize`](Self::quantize).
    #[track_caller]
    pub fn quantize_with(
        &self,
        quantization: Quantization,
        global_scale: &Array,
    ) -> Result<Quantized> {
        let factor = global_factor("quantize", quantization.mode, global_scale)?;
        if !self.dtype()?.is_floating() {
            return self.quantize(quantization);
        }
        (self.astype(Dtype::Float32) * factor).quantize(quantization)
    }

    /// Returns the product with packed weights, `x @ w.T` with `transpose` (weights are `[out, in]`), else `x @ w`.
    #[track_caller]
    pub fn quantized_matmul(&self, weights: &Quantized, transpose: bool) -> Array {
        let Quantization {
            group_size,
            bits,
            mode,
        } = weights.quantization;
        let mut inputs = vec![self, &weights.weight, &weights.scales];
        inputs.extend(&weights.biases);
        bind(
            Op::QuantizedMatmul {
                transpose,
                group_size,
                bits,
                mode,
            },
            &inputs,
        )
    }

    /// Returns products of chosen matrices of both sides: a mixture of experts.
    ///
    /// As [`quantized_matmul`](Self::quantized_matmul) where no indices are given.
    #[track_caller]
    pub fn gather_qmm(
        &self,
        weights: &Quantized,
        transpose: bool,
        options: GatherOptions<'_>,
    ) -> Array {
        let Quantization {
            group_size,
            bits,
            mode,
        } = weights.quantization;
        let op = Op::GatherQmm {
            biases: weights.biases.is_some(),
            lhs: options.lhs_indices.is_some(),
            rhs: options.rhs_indices.is_some(),
            transpose,
            group_size,
            bits,
            mode,
            sorted_indices: options.sorted_indices,
        };
        let mut inputs = vec![self, &weights.weight, &weights.scales];
        inputs.extend(&weights.biases);
        inputs.extend(options.lhs_indices);
        inputs.extend(options.rhs_indices);
        bind(op, &inputs)
    }
}

/// Returns a matrix packed into `bits` bits in groups of `group_size`, with the scales and biases of the groups: Python's
/// `mx.quantize(w, group_size, bits)`. Other modes, and the result as one value, with [`Array::quantize`].
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (w, x) = (mlx::ones([2, 64]), mlx::ones([3, 64]));
/// let (packed, scales, biases) = mlx::quantize(&w, 64, 4)?;
/// let y = mlx::quantized_matmul(&x, &packed, &scales, &biases, true, 64, 4);
/// assert_eq!(y.shape()?, [3, 2]);
/// let back = mlx::dequantize(&packed, &scales, &biases, 64, 4);
/// assert!(back.allclose(&w).item::<bool>()?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`Array::quantize`].
#[track_caller]
pub fn quantize(
    w: impl AsRef<Array>,
    group_size: impl Integer,
    bits: impl Integer,
) -> Result<(Array, Array, Array)> {
    let quantization = Quantization::from((group_size.to_i32(), bits.to_i32()));
    let packed = w.as_ref().quantize(quantization)?;
    let missing = || Error::op("quantize", "wanted biases of groups, got none");
    let biases = packed.biases.ok_or_else(missing)?;
    Ok((packed.weight, packed.scales, biases))
}

/// Returns packed weights unpacked: [`Quantized::dequantize`] with the arguments of Python.
#[track_caller]
pub fn dequantize<'a>(
    w: &Array,
    scales: &Array,
    biases: impl Into<Option<&'a Array>>,
    group_size: impl Integer,
    bits: impl Integer,
) -> Array {
    let quantization = (group_size.to_i32(), bits.to_i32());
    quantized(w, scales, biases.into(), quantization).dequantize(None)
}

/// Returns the product with packed weights, `x @ w.T` with `transpose`, else `x @ w`: [`Array::quantized_matmul`] with the
/// arguments of Python.
#[track_caller]
pub fn quantized_matmul<'a>(
    x: impl AsRef<Array>,
    w: &Array,
    scales: &Array,
    biases: impl Into<Option<&'a Array>>,
    transpose: bool,
    group_size: impl Integer,
    bits: impl Integer,
) -> Array {
    let quantization = (group_size.to_i32(), bits.to_i32());
    let weights = quantized(w, scales, biases.into(), quantization);
    x.as_ref().quantized_matmul(&weights, transpose)
}

fn quantized(
    w: &Array,
    scales: &Array,
    biases: Option<&Array>,
    quantization: (i32, i32),
) -> Quantized {
    Quantized {
        weight: w.clone(),
        scales: scales.clone(),
        biases: biases.cloned(),
        quantization: quantization.into(),
    }
}

/// Returns what weights are multiplied with so that their largest magnitude, the global scale, becomes the largest that
/// `nvfp4` has: the largest number of 4 bits times the largest scale.
#[track_caller]
fn global_factor(op: &'static str, mode: QuantizationMode, global_scale: &Array) -> Result<Array> {
    const LARGEST: f32 = 6.0 * 448.0;
    if mode != QuantizationMode::Nvfp4 {
        let message = format!("a global scale goes with the mode nvfp4, got {mode:?}");
        return Err(Error::op(op, message));
    }
    let scale = global_scale.array_type()?;
    if scale.dtype != Dtype::Float32 || global_scale.size()? != 1 {
        let message = format!("the global scale must be one float32, got {scale}");
        return Err(Error::op(op, message));
    }
    Ok(Array::scalar(LARGEST) / global_scale.reshape(()))
}
