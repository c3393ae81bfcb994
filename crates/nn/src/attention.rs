//! Multi-head attention with its projections.

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype, Integer};

use crate::layer_error::{Size, Wanted, axis_size, first_mismatch, in_layer};
use crate::{FastOps, Init, Linear, Module, ModuleState};

const NAME: &str = "MultiHeadAttention";

/// Multi-head attention: `mlx.nn.MultiHeadAttention`.
///
/// [`forward`](Self::forward) computes all of it. A decoder that keeps keys and values calls its two halves:
/// [`keys_values`](Self::keys_values) once, and [`attend`](Self::attend) for each new query.
#[derive(Clone, Module)]
pub struct MultiHeadAttention {
    /// The projection of queries.
    pub query_proj: Linear,
    /// The projection of keys.
    pub key_proj: Linear,
    /// The projection of values.
    pub value_proj: Linear,
    /// The projection of the concatenated heads.
    pub out_proj: Linear,
    /// Number of heads that the dims are split into.
    pub n_heads: i32,
    /// Composed formula or fused kernel.
    pub kernels: FastOps,
    /// The mode of the layer.
    pub state: ModuleState,
}

impl MultiHeadAttention {
    /// Returns attention over `dims` with `n_heads` heads, whose projections have no bias.
    pub fn new(dims: impl Integer, n_heads: impl Integer) -> Self {
        let (dims, n_heads) = (dims.to_i32(), n_heads.to_i32());
        Self::with_init(dims, n_heads, false, &mut Init::default())
    }

    /// Returns the layer with or without biases of the projections.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.query_proj = self.query_proj.bias(bias);
        self.key_proj = self.key_proj.bias(bias);
        self.value_proj = self.value_proj.bias(bias);
        self.out_proj = self.out_proj.bias(bias);
        self
    }

    /// Returns the layer with queries of another size, `[batch, length, query_input_dims]`; `dims` by default. Their
    /// projection gets new initial values.
    #[must_use]
    pub fn query_input_dims(mut self, query_input_dims: impl Integer) -> Self {
        let query_input_dims = query_input_dims.to_i32();
        self.query_proj = projection(&self.query_proj, query_input_dims, None);
        self
    }

    /// Returns the layer with keys and values of another size, `[batch, length, key_input_dims]`; `dims` by default.
    /// Their projections get new initial values. For another size of the values, call
    /// [`value_input_dims`](Self::value_input_dims) after it.
    #[must_use]
    pub fn key_input_dims(mut self, key_input_dims: impl Integer) -> Self {
        let key_input_dims = key_input_dims.to_i32();
        self.key_proj = projection(&self.key_proj, key_input_dims, None);
        self.value_input_dims(key_input_dims)
    }

    /// Returns the layer with values of another size, `[batch, length, value_input_dims]`; by default that of the keys.
    /// Their projection gets new initial values.
    #[must_use]
    pub fn value_input_dims(mut self, value_input_dims: impl Integer) -> Self {
        let value_input_dims = value_input_dims.to_i32();
        self.value_proj = projection(&self.value_proj, value_input_dims, None);
        self
    }

    /// Returns the layer with another size of the projected values of all heads together; `dims` by default. The
    /// projections of values and of the output get new initial values.
    #[must_use]
    pub fn value_dims(mut self, value_dims: impl Integer) -> Self {
        let value_dims = value_dims.to_i32();
        let inputs = axis_size(&self.value_proj.weight, -1);
        self.value_proj = projection(&self.value_proj, inputs, value_dims);
        self.out_proj = projection(&self.out_proj, value_dims, None);
        self
    }

    /// Returns the layer with another size of the output, `[batch, length, value_output_dims]`; `dims` by default. The
    /// projection of the output gets new initial values.
    #[must_use]
    pub fn value_output_dims(mut self, value_output_dims: impl Integer) -> Self {
        let value_output_dims = value_output_dims.to_i32();
        let inputs = axis_size(&self.out_proj.weight, -1);
        self.out_proj = projection(&self.out_proj, inputs, value_output_dims);
        self
    }

    /// Returns the additive mask `[n, n]`, `float32`, that hides keys after the query's position: 0 where a key is
    /// seen, and the smallest finite number elsewhere.
    ///
    /// [`AttentionMask::causal`] means the same and computes less.
    #[track_caller]
    pub fn create_additive_causal_mask(n: impl Integer) -> Array {
        Self::create_additive_causal_mask_with(n, Dtype::Float32)
    }

    /// Returns the mask of [`create_additive_causal_mask`](Self::create_additive_causal_mask) in another dtype.
    #[track_caller]
    pub fn create_additive_causal_mask_with(n: impl Integer, dtype: Dtype) -> Array {
        let least = match dtype {
            Dtype::Float16 => -65504.0,
            Dtype::Bfloat16 => -3.389_531_389_251_535_5e38,
            Dtype::Float64 => f64::MIN,
            _ => f64::from(f32::MIN),
        };
        let positions = mlx::arange_with(0.0, f64::from(n.to_i32()), 1.0, Dtype::Int32);
        let is_hidden = positions.expand_dims(1).less(positions.expand_dims(0));
        is_hidden.astype(dtype) * least
    }

    /// Returns attention over `dims` with `n_heads` heads, all projections with or without bias.
    pub fn with_init(dims: i32, n_heads: i32, bias: bool, init: &mut Init) -> Self {
        let mut projection = || Linear::with_init(dims, dims, bias, init);
        Self {
            query_proj: projection(),
            key_proj: projection(),
            value_proj: projection(),
            out_proj: projection(),
            n_heads,
            kernels: FastOps::default(),
            state: ModuleState::default(),
        }
    }

    /// Attends queries `[batch, length, dims]` to keys and values `[batch, length', dims]`.
    #[track_caller]
    pub fn forward(
        &self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: impl Into<AttentionMask>,
    ) -> Array {
        let q = self.heads(&self.query_proj.forward(queries));
        let (k, v) = self.projected(keys, values);
        let y = self.mixed(&q, &k, &v, &mask.into());
        in_layer(NAME, y, [queries, keys, values], || {
            self.mismatch(&[
                ("queries", queries, &self.query_proj),
                ("keys", keys, &self.key_proj),
                ("values", values, &self.value_proj),
            ])
        })
    }

    /// Returns the projected keys and values of arrays `[batch, length, dims]`, each
    /// `[batch, n_heads, length, dims / n_heads]`.
    #[track_caller]
    pub fn keys_values(&self, keys: &Array, values: &Array) -> (Array, Array) {
        let (k, v) = self.projected(keys, values);
        let named = |y, name, array, projection: &Linear| {
            in_layer(NAME, y, [array], || {
                self.mismatch(&[(name, array, projection)])
            })
        };
        (
            named(k, "keys", keys, &self.key_proj),
            named(v, "values", values, &self.value_proj),
        )
    }

    /// Attends queries `[batch, length, dims]` to keys and values that are projected already.
    #[track_caller]
    pub fn attend(
        &self,
        queries: &Array,
        (keys, values): (&Array, &Array),
        mask: &AttentionMask,
    ) -> Array {
        let q = self.heads(&self.query_proj.forward(queries));
        let y = self.mixed(&q, keys, values, mask);
        in_layer(NAME, y, [queries, keys, values], || {
            self.mismatch(&[("queries", queries, &self.query_proj)])
        })
    }

    /// Returns the attention weights of queries `[batch, length, dims]` over projected keys, without a mask:
    /// `[batch, n_heads, length, keys]`, whose rows sum to 1.
    #[track_caller]
    pub fn weights(&self, queries: &Array, keys: &Array) -> Array {
        let q = self.heads(&self.query_proj.forward(queries));
        #[allow(clippy::cast_precision_loss)]
        let scale = q.dim(-1).map(|dim| (dim as f32).sqrt());
        let weights = match scale {
            Ok(scale) => (q.matmul(&keys.swapaxes(-1, -2)) / scale).softmax(-1),
            Err(error) => Array::failed(error),
        };
        in_layer(NAME, weights, [queries, keys], || {
            self.mismatch(&[("queries", queries, &self.query_proj)])
        })
    }

    #[track_caller]
    fn projected(&self, keys: &Array, values: &Array) -> (Array, Array) {
        (
            self.heads(&self.key_proj.forward(keys)),
            self.heads(&self.value_proj.forward(values)),
        )
    }

    /// `[batch, length, dims]` to `[batch, n_heads, length, dims / n_heads]`.
    #[track_caller]
    fn heads(&self, x: &Array) -> Array {
        x.unflatten(-1, [self.n_heads, -1]).transpose([0, 2, 1, 3])
    }

    #[track_caller]
    fn mixed(&self, q: &Array, k: &Array, v: &Array, mask: &AttentionMask) -> Array {
        let mixed = self.kernels.attention(q, k, v, mask);
        self.out_proj
            .forward(&mixed.transpose([0, 2, 1, 3]).flatten(2, 3))
    }

    /// What is wrong with the shapes of these inputs, each with its projection.
    fn mismatch(&self, inputs: &[(&'static str, &Array, &Linear)]) -> Option<String> {
        for &(name, array, projection) in inputs {
            let dims = Size::Exactly(axis_size(&projection.weight, -1));
            let shape = [Size::Any("batch"), Size::Any("length"), dims];
            let mismatch = first_mismatch(&[Wanted {
                name,
                array,
                shape: &shape,
            }]);
            if mismatch.is_some() {
                return mismatch;
            }
            let dims = axis_size(&projection.weight, 0);
            if dims.checked_rem(self.n_heads) != Some(0) {
                let n_heads = self.n_heads;
                return Some(format!(
                    "n_heads must divide the {dims} dims, got {n_heads}"
                ));
            }
        }
        let &[(_, queries, _), (_, keys, _), (_, values, _)] = inputs else {
            return None;
        };
        let lengths = |array: &Array| array.shape().ok().map(|shape| shape[..2].to_vec());
        let (q, k, v) = (lengths(queries)?, lengths(keys)?, lengths(values)?);
        if k != v {
            return Some(format!(
                "keys and values must have one batch and length, got {k:?} and {v:?}"
            ));
        }
        (q[0] != k[0]).then(|| {
            let (wanted, got) = (q[0], k[0]);
            format!("keys must have batch {wanted} as the queries, got {got}")
        })
    }
}

/// Returns a projection with new initial values, from `inputs` to as many outputs as before unless told otherwise, with a
/// bias where there was one.
fn projection(before: &Linear, inputs: i32, outputs: impl Into<Option<i32>>) -> Linear {
    let outputs = outputs
        .into()
        .unwrap_or_else(|| axis_size(&before.weight, 0));
    Linear::new(inputs, outputs).bias(before.bias.is_some())
}
