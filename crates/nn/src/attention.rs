//! Attention with its projections.

use mlx::Array;
use mlx::fast::AttentionMask;

use crate::{Init, Kernels, Linear, Module, Parts};

/// Multi-head attention: `mlx.nn.MultiHeadAttention`.
#[derive(Clone)]
pub struct MultiHeadAttention {
    /// Makes queries.
    pub query_proj: Linear,
    /// Makes keys.
    pub key_proj: Linear,
    /// Makes values.
    pub value_proj: Linear,
    /// Mixes the heads.
    pub out_proj: Linear,
    /// Number of heads that the dims are split into.
    pub n_heads: i32,
    /// Composed formula or fused kernel.
    pub kernels: Kernels,
}

impl MultiHeadAttention {
    /// Returns attention over `dims` with `n_heads` heads, all projections with or without bias.
    pub fn new(dims: i32, n_heads: i32, bias: bool, init: &mut Init) -> Self {
        let mut projection = || Linear::new(dims, dims, bias, init);
        Self {
            query_proj: projection(),
            key_proj: projection(),
            value_proj: projection(),
            out_proj: projection(),
            n_heads,
            kernels: Kernels::default(),
        }
    }

    /// Lets each query `[batch, length, dims]` look at the keys and values `[batch, length', dims]`.
    #[track_caller]
    pub fn forward(
        &self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: &AttentionMask,
    ) -> Array {
        let heads = |x: Array| x.unflatten(-1, [self.n_heads, -1]).transpose([0, 2, 1, 3]);
        let queries = heads(self.query_proj.forward(queries));
        let keys = heads(self.key_proj.forward(keys));
        let values = heads(self.value_proj.forward(values));
        let mixed = self.kernels.attention(&queries, &keys, &values, mask);
        self.out_proj
            .forward(&mixed.transpose([0, 2, 1, 3]).flatten(2, 3))
    }
}

impl Module for MultiHeadAttention {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.module("query_proj", &mut self.query_proj);
        parts.module("key_proj", &mut self.key_proj);
        parts.module("value_proj", &mut self.value_proj);
        parts.module("out_proj", &mut self.out_proj);
        parts.kernels(&mut self.kernels);
    }
}
