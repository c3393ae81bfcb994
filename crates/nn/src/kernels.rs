//! The one place where a model chooses between composed formulas and fused kernels.

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions};
use mlx::{Array, Dtype, Quantized};

/// Which form norms, rotary positions, attention and products with packed weights take; both give the same values up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kernels {
    /// The textbook formula in MLX's plain operations.
    Composed,
    /// One fused operation.
    #[default]
    Fused,
}

impl Kernels {
    /// Normalizes the last axis to mean 0 and variance 1: see [`fast::layer_norm`].
    #[track_caller]
    pub fn layer_norm(
        self,
        x: &Array,
        weight: Option<&Array>,
        bias: Option<&Array>,
        eps: f32,
    ) -> Array {
        match self {
            Kernels::Composed => fast::composed::layer_norm(x, weight, bias, eps),
            Kernels::Fused => fast::layer_norm(x, weight, bias, eps),
        }
    }

    /// Divides the last axis by its root mean square: see [`fast::rms_norm`].
    #[track_caller]
    pub fn rms_norm(self, x: &Array, weight: Option<&Array>, eps: f32) -> Array {
        match self {
            Kernels::Composed => fast::composed::rms_norm(x, weight, eps),
            Kernels::Fused => fast::rms_norm(x, weight, eps),
        }
    }

    /// Rotates pairs of the last axis by their position: see [`fast::rope`].
    #[track_caller]
    pub fn rope(self, x: &Array, options: &RopeOptions) -> Array {
        match self {
            Kernels::Composed => fast::composed::rope(x, options),
            Kernels::Fused => fast::rope(x, options),
        }
    }

    /// Lets queries look at keys and values, all `[batch, heads, length, dim]`, with scale `1 / sqrt(dim)`: see
    /// [`fast::scaled_dot_product_attention`].
    #[track_caller]
    pub fn attention(
        self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: &AttentionMask,
    ) -> Array {
        let options = AttentionOptions {
            mask: mask.clone(),
            ..AttentionOptions::default()
        };
        match self {
            Kernels::Composed => {
                fast::composed::scaled_dot_product_attention(queries, keys, values, &options)
            }
            Kernels::Fused => fast::scaled_dot_product_attention(queries, keys, values, &options),
        }
    }

    /// Returns `x * (1 + erf(x / sqrt(2))) / 2`: see [`fast::gelu`].
    #[track_caller]
    pub fn gelu(self, x: &Array) -> Array {
        match self {
            Kernels::Composed => fast::composed::gelu(x),
            Kernels::Fused => fast::gelu(x),
        }
    }

    /// Returns `silu(gate) * x`: see [`fast::swiglu`].
    #[track_caller]
    pub fn swiglu(self, gate: &Array, x: &Array) -> Array {
        match self {
            Kernels::Composed => fast::composed::swiglu(gate, x),
            Kernels::Fused => fast::swiglu(gate, x),
        }
    }

    /// Multiplies `x`, `[.., in]`, by packed weights `[out, in]` turned: `x @ weights.T`. Composed, they are unpacked
    /// first.
    #[track_caller]
    pub fn quantized_matmul(self, x: &Array, weights: &Quantized) -> Array {
        match self {
            Kernels::Composed => x.matmul(&weights.dequantize(None).t()),
            Kernels::Fused => x.quantized_matmul(weights, true),
        }
    }

    /// Returns the loss of each row of scores `[.., classes]` against its class: see [`fast::cross_entropy`].
    #[track_caller]
    pub fn cross_entropy(self, logits: &Array, targets: &Array) -> Array {
        match self {
            Kernels::Composed => fast::composed::cross_entropy(logits, targets),
            Kernels::Fused => fast::cross_entropy(logits, targets),
        }
    }
}

/// The dtype in which models compute on this thread's device: half precision on a GPU, single on the CPU, where MLX
/// computes half precision some thirty times slower.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn preferred_dtype() -> mlx::Result<Dtype> {
    let device = mlx::Device::current()?;
    Ok(if device == mlx::Device::Gpu {
        Dtype::Float16
    } else {
        Dtype::Float32
    })
}
