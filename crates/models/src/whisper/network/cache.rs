//! The decoder's caches: keys and values of the encoder's output and of past tokens, for every layer.

use mlx::fast::Offset;
use mlx::{Array, Dtype, Op, Tree, bind};

use crate::kv_cache::{LayerKvCache, append};
use crate::{Error, Result};

/// Keys and values of every decoder layer: of the encoder's output, and of the tokens so far.
///
/// Buffers for the whole context are allocated once; each step writes its tokens in place. MLX reuses the memory
/// because there is no other reference to the array.
pub(super) struct Cache {
    pub(super) layers: Vec<LayerCache>,
    n_tokens: i32,
    capacity: i32,
}

/// The cache of one layer.
#[derive(Clone, Tree)]
pub(super) struct LayerCache {
    /// Of the encoder's output: `[rows, n_heads, n_audio_ctx, dim]`, one buffer for all rows.
    pub(super) encoder_kv: LayerKvCache,
    /// Of the tokens: `[rows, n_heads, capacity, dim]`.
    pub(super) token_kv: LayerKvCache,
}

impl Cache {
    /// Returns the state of one row without tokens.
    pub(super) fn new(encoder_kv: &[LayerKvCache], capacity: i32, dtype: Dtype) -> Result<Self> {
        let layer = |encoder_kv: &LayerKvCache| -> Result<LayerCache> {
            let [_, n_heads, _, dim] = encoder_kv.0.dims().map_err(Error::model)?;
            let empty = || mlx::zeros_with([1, n_heads, capacity, dim], dtype);
            Ok(LayerCache {
                encoder_kv: encoder_kv.clone(),
                token_kv: (empty(), empty()),
            })
        };
        Ok(Self {
            layers: encoder_kv.iter().map(layer).collect::<Result<_>>()?,
            n_tokens: 0,
            capacity,
        })
    }

    /// Returns the number of cached tokens.
    pub(super) fn n_tokens(&self) -> i32 {
        self.n_tokens
    }

    /// Replaces row `i` by the former row `rows[i]`.
    pub(super) fn select(&mut self, rows: &Array) -> Result<()> {
        let n_rows = rows.dim(0).map_err(Error::model)?;
        let shared = |array: &Array| -> mlx::Result<Array> {
            let [_, n_heads, length, dim] = array.dims()?;
            let one = Op::Slice {
                start: vec![0; 4],
                stop: vec![1, n_heads, length, dim],
                strides: vec![1; 4],
            };
            // A broadcast copies nothing: all rows share one encoder output.
            Ok(bind(one, &[array]).broadcast_to([n_rows, n_heads, length, dim]))
        };
        for layer in &mut self.layers {
            let (keys, values) = &layer.encoder_kv;
            layer.encoder_kv = (
                shared(keys).map_err(Error::model)?,
                shared(values).map_err(Error::model)?,
            );
            let take = |array: &Array| bind(Op::Take { axis: 0 }, &[array, rows]);
            layer.token_kv = (take(&layer.token_kv.0), take(&layer.token_kv.1));
        }
        Ok(())
    }

    /// Returns an error when `n` further tokens exceed the capacity.
    pub(super) fn check_capacity(&self, n: i32) -> Result<()> {
        let after = self.n_tokens + n;
        if after <= self.capacity {
            return Ok(());
        }
        Err(Error::Decoding(format!(
            "wanted at most {} tokens in the context, got {after}",
            self.capacity
        )))
    }

    /// Counts `n` tokens whose keys and values are in every layer.
    pub(super) fn advance(&mut self, n: i32) {
        self.n_tokens += n;
    }

    /// Returns the arrays that change with each token.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Array> {
        self.layers
            .iter()
            .flat_map(|layer| [&layer.token_kv.0, &layer.token_kv.1])
    }
}

impl LayerCache {
    /// Adds the keys and values of tokens that begin at `start`, and returns those that are attended to.
    pub(super) fn append(
        &mut self,
        start: &Offset,
        token_kv: &LayerKvCache,
    ) -> mlx::Result<LayerKvCache> {
        append(&mut self.token_kv, start, token_kv)
    }
}
