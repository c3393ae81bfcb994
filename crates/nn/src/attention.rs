//! Attention with its projections.

use mlx::Array;
use mlx::fast::AttentionMask;

use crate::layer_error::{Size, Wanted, axis_size, first_complaint, in_layer};
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
        let q = heads(self.query_proj.forward(queries));
        let k = heads(self.key_proj.forward(keys));
        let v = heads(self.value_proj.forward(values));
        let mixed = self.kernels.attention(&q, &k, &v, mask);
        let y = self
            .out_proj
            .forward(&mixed.transpose([0, 2, 1, 3]).flatten(2, 3));
        let inputs = [("queries", queries), ("keys", keys), ("values", values)];
        in_layer("MultiHeadAttention", y, [queries, keys, values], || {
            self.complaint(inputs)
        })
    }

    /// What is wrong with the shapes of these inputs, each of which has a projection of its own.
    fn complaint(&self, inputs: [(&'static str, &Array); 3]) -> Option<String> {
        let projections = [&self.query_proj, &self.key_proj, &self.value_proj];
        for ((name, array), projection) in inputs.into_iter().zip(projections) {
            let dims = Size::Exactly(axis_size(&projection.weight, -1));
            let shape = [Size::Any("batch"), Size::Any("length"), dims];
            let complaint = first_complaint(&[Wanted {
                name,
                array,
                shape: &shape,
            }]);
            if complaint.is_some() {
                return complaint;
            }
            let dims = axis_size(&projection.weight, 0);
            if dims.checked_rem(self.n_heads) != Some(0) {
                let n_heads = self.n_heads;
                return Some(format!(
                    "n_heads must divide the {dims} dims, got {n_heads}"
                ));
            }
        }
        let lengths = |array: &Array| array.shape().ok().map(|shape| shape[..2].to_vec());
        let [(_, queries), (_, keys), (_, values)] = inputs;
        let (q, k, v) = (lengths(queries)?, lengths(keys)?, lengths(values)?);
        if k != v {
            let message =
                format!("keys and values must have one batch and length, got {k:?} and {v:?}");
            return Some(message);
        }
        (q[0] != k[0]).then(|| {
            let (wanted, got) = (q[0], k[0]);
            format!("keys must have batch {wanted} as the queries, got {got}")
        })
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
