//! The choice between composed formulas and fused kernels.

use mlx::fast::{self, AttentionMask, AttentionOptions, RopeOptions};
use mlx::tree::Structure;
use mlx::{Array, Dtype, Quantized, Tree};

use crate::{Module, ParameterVisitor};

/// The implementation of norms, rotary embeddings, attention, activations and quantized products in a model.
///
/// Both variants compute the same values up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FastOps {
    /// The textbook formula in MLX's plain operations.
    Composed,
    /// One fused operation.
    #[default]
    Fused,
}

impl FastOps {
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
            FastOps::Composed => fast::composed::layer_norm(x, weight, bias, eps),
            FastOps::Fused => fast::layer_norm(x, weight, bias, eps),
        }
    }

    /// Divides the last axis by its root mean square: see [`fast::rms_norm`].
    #[track_caller]
    pub fn rms_norm(self, x: &Array, weight: Option<&Array>, eps: f32) -> Array {
        match self {
            FastOps::Composed => fast::composed::rms_norm(x, weight, eps),
            FastOps::Fused => fast::rms_norm(x, weight, eps),
        }
    }

    /// Rotates pairs of the last axis by their position: see [`fast::rope`].
    #[track_caller]
    pub fn rope(self, x: &Array, options: &RopeOptions) -> Array {
        match self {
            FastOps::Composed => fast::composed::rope(x, options),
            FastOps::Fused => fast::rope(x, options),
        }
    }

    /// Attends queries to keys and values, all `[batch, heads, length, dim]`, with scale `1 / sqrt(dim)`: see
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
            FastOps::Composed => {
                let (keys, values) = (repeated(keys, queries), repeated(values, queries));
                fast::composed::scaled_dot_product_attention(queries, &keys, &values, &options)
            }
            FastOps::Fused => {
                fast::scaled_dot_product_attention_with(queries, keys, values, &options)
            }
        }
    }

    /// Attends queries to keys and values in 8 bits, in groups of `group_size` numbers: see
    /// [`fast::quantized_scaled_dot_product_attention`]. The composed form makes them numbers first.
    #[track_caller]
    pub fn quantized_attention(
        self,
        queries: &Array,
        (keys, values): (&Array, &Array),
        group_size: i32,
        mask: &AttentionMask,
    ) -> Array {
        match (self, queries.dtype()) {
            (FastOps::Composed, Ok(dtype)) => {
                let numbers = |rows| fast::dequantize_rows(rows, group_size, dtype);
                self.attention(queries, &numbers(keys), &numbers(values), mask)
            }
            _ => fast::quantized_scaled_dot_product_attention(queries, keys, values, mask),
        }
    }

    /// Returns `x * (1 + erf(x / sqrt(2))) / 2`: see [`fast::gelu`].
    #[track_caller]
    pub fn gelu(self, x: &Array) -> Array {
        match self {
            FastOps::Composed => fast::composed::gelu(x),
            FastOps::Fused => fast::gelu(x),
        }
    }

    /// Returns `silu(gate) * x`: see [`fast::swiglu`].
    #[track_caller]
    pub fn swiglu(self, gate: &Array, x: &Array) -> Array {
        match self {
            FastOps::Composed => fast::composed::swiglu(gate, x),
            FastOps::Fused => fast::swiglu(gate, x),
        }
    }

    /// Returns `x @ weights.T` for `x` `[.., in]` and quantized weights `[out, in]`; the composed form dequantizes them
    /// first.
    #[track_caller]
    pub fn quantized_matmul(self, x: &Array, weights: &Quantized) -> Array {
        match self {
            FastOps::Composed => x.matmul(&weights.dequantize(None).t()),
            FastOps::Fused => x.quantized_matmul(weights, true),
        }
    }

    /// Returns the loss of each row of scores `[.., classes]` against its class: see [`fast::cross_entropy`].
    #[track_caller]
    pub fn cross_entropy(self, logits: &Array, targets: &Array) -> Array {
        match self {
            FastOps::Composed => fast::composed::cross_entropy(logits, targets),
            FastOps::Fused => fast::cross_entropy(logits, targets),
        }
    }
}

/// Returns keys or values `[batch, heads, length, dim]` with each head repeated for the queries that share it.
///
/// The composed formula would reshape the queries into groups instead, which hides their rotary embedding from `jit`.
#[track_caller]
fn repeated(x: &Array, queries: &Array) -> Array {
    match (x.axis_size(1), queries.axis_size(1)) {
        (Ok(heads), Ok(wanted)) if heads > 0 && wanted > heads && &wanted % &heads == 0 => {
            x.repeat((wanted / heads).fixed(), 1)
        }
        _ => x.clone(),
    }
}

impl Module for FastOps {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.kernels(self);
    }
    fn type_label() -> Option<&'static str> {
        None
    }
}

/// No arrays: a setting.
impl Tree for FastOps {
    fn visit<'a>(&'a self, _: &mut dyn FnMut(&'a Array)) {}
    fn map(&self, _: &mut dyn FnMut(&Array) -> Array) -> Self {
        *self
    }
    fn structure(&self, structure: &mut Structure) {
        structure.tag(u8::from(*self == FastOps::Fused));
    }
}

/// The former name of [`FastOps`].
#[deprecated(note = "renamed to FastOps")]
pub type Kernels = FastOps;

/// Returns the dtype in which models compute on this thread's device: half precision on a GPU, single on the CPU,
/// where MLX computes half precision about thirty times slower.
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
