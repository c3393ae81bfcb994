//! Embedding tables.

use mlx::{Array, Integer, Op, Quantization, Result, bind, fast};

use crate::layer_error::{axis_size, in_layer};
use crate::linear::{is_shorter, linear_mismatch};
use crate::packed::PackedWeights;
use crate::quantized::take_rows;
use crate::{Init, Module, ModuleState};

/// A table of embeddings, one vector for each token: `mlx.nn.Embedding`.
///
/// [`quantize`](crate::quantize()) packs the table in place.
#[derive(Clone, Module)]
pub struct Embedding {
    /// `[num_embeddings, dims]`; of a quantized table `[num_embeddings, dims * bits / 32]`, `uint32`.
    pub weight: Array,
    /// Scales and biases of the groups, of a quantized table.
    #[module(flatten)]
    pub packed: Option<PackedWeights>,
    /// What is frozen.
    pub state: ModuleState,
}

impl Embedding {
    /// Returns a table with normally distributed values of variance `1 / dims`.
    pub fn new(num_embeddings: impl Integer, dims: impl Integer) -> Self {
        let (num_embeddings, dims) = (num_embeddings.to_i32(), dims.to_i32());
        Self::with_init(num_embeddings, dims, &mut Init::default())
    }

    /// Returns a table with initial values from `init`.
    pub fn with_init(num_embeddings: i32, dims: i32, init: &mut Init) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / dims.max(1) as f32).sqrt();
        Self::from_weights(init.normal(&[num_embeddings, dims], scale))
    }

    /// Returns a table of a weight `[num_embeddings, dims]`.
    pub fn from_weights(weight: Array) -> Self {
        Self {
            weight,
            packed: None,
            state: ModuleState::default(),
        }
    }

    /// Packs the table in place. What is packed already stays as it is.
    ///
    /// # Errors
    /// When MLX does not have this quantization, or `dims` is not a multiple of the group size.
    #[track_caller]
    pub fn quantize(&mut self, quantization: Quantization) -> Result<()> {
        if self.packed.is_none() {
            let quantized = self.weight.quantize(quantization)?;
            (self.weight, self.packed) = PackedWeights::split(quantized);
        }
        Ok(())
    }

    /// Maps integers `[..]` to vectors `[.., dims]`; an index outside of the table is an error.
    #[track_caller]
    pub fn forward(&self, tokens: &Array) -> Array {
        let rows = match &self.packed {
            Some(packed) => take_rows(&packed.with(&self.weight), tokens),
            None => bind(Op::Take { axis: 0 }, &[&self.weight, tokens]),
        };
        in_layer("Embedding", rows, [tokens, &self.weight], || {
            tokens_mismatch(tokens)
        })
    }

    /// Maps vectors `[.., dims]` to logits `[.., num_embeddings]`: the table as a linear layer.
    #[track_caller]
    pub fn as_linear(&self, x: &Array) -> Array {
        if let Some(packed) = &self.packed {
            return packed.product("Embedding", x, &self.weight, None);
        }
        let scores = if is_shorter(&self.weight, x) {
            fast::linear(x, &self.weight)
        } else {
            x.matmul(&self.weight.t())
        };
        in_layer("Embedding", scores, [x, &self.weight], || {
            linear_mismatch(x, &self.weight, axis_size(&self.weight, -1), None)
        })
    }
}

/// Returns what is wrong with the dtype of tokens.
pub(crate) fn tokens_mismatch(tokens: &Array) -> Option<String> {
    let dtype = tokens.dtype().ok()?;
    (!dtype.is_integer()).then(|| format!("tokens must be integers, got {dtype}"))
}
