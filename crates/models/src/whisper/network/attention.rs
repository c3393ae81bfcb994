//! How does each position look at the others?

use mlx::{Array, fast};
use mlx_nn::{FastOps, Init, Linear, Module, ParameterVisitor};

/// Multi-head attention with Whisper's projections; the keys' has no bias.
#[derive(Clone)]
pub(super) struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    n_heads: i32,
    kernels: FastOps,
}

/// Keys and values, `[batch, n_heads, length, dim]` each.
pub(super) type KeyValue = (Array, Array);

impl Attention {
    pub(super) fn new(dims: i32, n_heads: i32, init: &mut Init) -> Self {
        Self {
            q_proj: Linear::new(dims, dims, true, init),
            k_proj: Linear::new(dims, dims, false, init),
            v_proj: Linear::new(dims, dims, true, init),
            out_proj: Linear::new(dims, dims, true, init),
            n_heads,
            kernels: FastOps::default(),
        }
    }

    /// Returns the keys and values of `x`, `[batch, length, dims]`.
    pub(super) fn keys_values(&self, x: &Array) -> KeyValue {
        (
            self.heads(&self.k_proj.forward(x)),
            self.heads(&self.v_proj.forward(x)),
        )
    }

    /// Lets the positions of `x` look at these keys and values.
    pub(super) fn forward(
        &self,
        x: &Array,
        (keys, values): &KeyValue,
        mask: &fast::AttentionMask,
    ) -> Array {
        let queries = self.heads(&self.q_proj.forward(x));
        let mixed = self.kernels.attention(&queries, keys, values, mask);
        self.out_proj
            .forward(&mixed.transpose([0, 2, 1, 3]).flatten(2, 3))
    }

    /// Returns how much each position of `x` looks at each key: `[batch, n_heads, length, keys]`, whose rows sum to 1.
    pub(super) fn looks(&self, x: &Array, keys: &Array) -> mlx::Result<Array> {
        let queries = self.heads(&self.q_proj.forward(x));
        let dim = queries.dim(-1)?;
        #[allow(clippy::cast_precision_loss)]
        let scores = queries.matmul(&keys.swapaxes(-1, -2)) / (dim as f32).sqrt();
        Ok(scores.softmax(-1))
    }

    /// `[batch, length, dims]` to `[batch, n_heads, length, dims / n_heads]`.
    fn heads(&self, x: &Array) -> Array {
        x.unflatten(-1, [self.n_heads, -1]).transpose([0, 2, 1, 3])
    }
}

impl Module for Attention {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("q_proj", &mut self.q_proj);
        visitor.module("k_proj", &mut self.k_proj);
        visitor.module("v_proj", &mut self.v_proj);
        visitor.module("out_proj", &mut self.out_proj);
        visitor.kernels(&mut self.kernels);
    }
}
