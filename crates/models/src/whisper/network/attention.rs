//! Whisper's attention: multi-head attention with the parameter names of Hugging Face.

use mlx::fast::AttentionMask;
use mlx::{Array, Tree};
use mlx_nn::{Init, Linear, Module, MultiHeadAttention, ParameterVisitor};

use crate::kv_cache::LayerKvCache;

/// Multi-head attention whose projection of keys has no bias.
#[derive(Clone, Tree)]
pub(super) struct Attention(MultiHeadAttention);

impl Attention {
    pub(super) fn new(dims: i32, n_heads: i32, init: &mut Init) -> Self {
        Self(MultiHeadAttention {
            key_proj: Linear::with_init(dims, dims, false, init),
            ..MultiHeadAttention::with_init(dims, n_heads, true, init)
        })
    }

    /// Returns the keys and values of `x`, `[batch, length, dims]`.
    pub(super) fn keys_values(&self, x: &Array) -> LayerKvCache {
        self.0.keys_values(x, x)
    }

    /// Attends the positions of `x` to these keys and values.
    pub(super) fn forward(
        &self,
        x: &Array,
        (keys, values): &LayerKvCache,
        mask: &AttentionMask,
    ) -> Array {
        self.0.attend(x, (keys, values), mask)
    }

    /// Returns the attention weights of `x` over the keys, `[batch, n_heads, length, keys]`.
    pub(super) fn weights(&self, x: &Array, keys: &Array) -> Array {
        self.0.weights(x, keys)
    }
}

/// By hand, because Whisper's projections have names of their own.
impl Module for Attention {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("q_proj", &mut self.0.query_proj);
        visitor.module("k_proj", &mut self.0.key_proj);
        visitor.module("v_proj", &mut self.0.value_proj);
        visitor.module("out_proj", &mut self.0.out_proj);
        visitor.kernels(&mut self.0.kernels);
    }
}
