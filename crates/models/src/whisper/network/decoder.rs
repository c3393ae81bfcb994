//! Whisper's decoder: the logits of the next token.

use mlx::fast::{AttentionMask, Offset};
use mlx::{Array, Op, bind};
use mlx_nn::{Embedding, Init, LayerNorm, Linear, Module};

use super::attention::Attention;
use super::cache::LayerCache;
use super::encoder::{Positions, feed_forward};
use crate::axis_size::axis_size;
use crate::kv_cache::LayerKvCache;
use crate::whisper::Config;

/// Token and position embeddings, and layers with self-attention and cross-attention.
#[derive(Clone, Module)]
pub(super) struct Decoder {
    embed_tokens: Embedding,
    embed_positions: Positions,
    layers: Vec<Layer>,
    layer_norm: LayerNorm,
    capacity: i32,
}

#[derive(Clone, Module)]
struct Layer {
    self_attn: Attention,
    self_attn_layer_norm: LayerNorm,
    encoder_attn: Attention,
    encoder_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
}

impl Decoder {
    pub(super) fn new(config: &Config, init: &mut Init) -> Self {
        let (state, capacity) = (axis_size(config.n_text_state), axis_size(config.n_text_ctx));
        Self {
            embed_tokens: Embedding::with_init(axis_size(config.n_vocab), state, init),
            embed_positions: Positions::new(capacity, state),
            layers: (0..config.n_text_layer)
                .map(|_| Layer::new(config, init))
                .collect(),
            layer_norm: LayerNorm::new(state).eps(1e-5),
            capacity,
        }
    }

    /// Returns the keys and values of the encoder's output for every layer.
    pub(super) fn encoder_kv(&self, features: &Array) -> Vec<LayerKvCache> {
        self.layers
            .iter()
            .map(|layer| layer.encoder_attn.keys_values(features))
            .collect()
    }

    /// Returns the max number of tokens.
    pub(super) fn capacity(&self) -> i32 {
        self.capacity
    }

    /// Runs tokens `[rows, n]`, the first at position `start`, and returns the logits `[rows, n', n_vocab]` that follow
    /// those at `positions`, or all of them, and the caches with these tokens.
    ///
    /// It is a pure function of arrays and can be traced: with an array for `start`, one graph serves all positions.
    pub(super) fn forward(
        &self,
        tokens: &Array,
        positions: Option<&Array>,
        mut layers: Vec<LayerCache>,
        start: &Offset,
    ) -> mlx::Result<(Array, Vec<LayerCache>)> {
        let mut x = self.embed(tokens, start)?;
        for (layer, cache) in self.layers.iter().zip(&mut layers) {
            x = layer.forward(&x, start, cache)?;
        }
        let hidden = self.layer_norm.forward(&x);
        let scores = match positions {
            Some(positions) => self
                .embed_tokens
                .as_linear(&bind(Op::Take { axis: 1 }, &[&hidden, positions])),
            None => self.embed_tokens.as_linear(&hidden),
        };
        Ok((scores, layers))
    }

    /// Runs tokens `[1, n]` from the start, and returns the cross-attention weights of every layer,
    /// `[1, n_heads, n, n_audio_ctx]`.
    pub(super) fn cross_attention_weights(
        &self,
        tokens: &Array,
        mut layers: Vec<LayerCache>,
    ) -> mlx::Result<Vec<Array>> {
        let start = Offset::Int(0);
        let mut x = self.embed(tokens, &start)?;
        let mut weights = Vec::with_capacity(layers.len());
        for (layer, cache) in self.layers.iter().zip(&mut layers) {
            x = layer.self_attention(&x, &start, cache)?;
            let normed = layer.encoder_attn_layer_norm.forward(&x);
            weights.push(layer.encoder_attn.weights(&normed, &cache.encoder_kv.0));
            x = layer.cross_attention_and_mlp(&x, cache);
        }
        Ok(weights)
    }

    /// Returns tokens `[rows, n]`, the first at position `start`, as vectors with their positions.
    fn embed(&self, tokens: &Array, start: &Offset) -> mlx::Result<Array> {
        let length = tokens.dim(1)?;
        let dims = self.embed_positions.weight.dim(1)?;
        let table = &self.embed_positions.weight;
        let positions = match start {
            Offset::Int(start) => {
                let part = Op::Slice {
                    start: vec![*start, 0],
                    stop: vec![start + length, dims],
                    strides: vec![1; 2],
                };
                bind(part, &[table])
            }
            Offset::Array(start) => table.slice_at(&start.reshape([1]), 0, [length, dims]),
        };
        Ok(self.embed_tokens.forward(tokens) + positions)
    }
}

impl Layer {
    fn new(config: &Config, init: &mut Init) -> Self {
        let (state, mlp) = (
            axis_size(config.n_text_state),
            axis_size(config.n_text_mlp()),
        );
        let attention =
            |init: &mut Init| Attention::new(state, axis_size(config.n_text_head), init);
        Self {
            self_attn: attention(init),
            self_attn_layer_norm: LayerNorm::new(state).eps(1e-5),
            encoder_attn: attention(init),
            encoder_attn_layer_norm: LayerNorm::new(state).eps(1e-5),
            fc1: Linear::with_init(state, mlp, true, init),
            fc2: Linear::with_init(mlp, state, true, init),
            final_layer_norm: LayerNorm::new(state).eps(1e-5),
        }
    }

    fn forward(&self, x: &Array, start: &Offset, cache: &mut LayerCache) -> mlx::Result<Array> {
        let x = self.self_attention(x, start, cache)?;
        Ok(self.cross_attention_and_mlp(&x, cache))
    }

    /// Attends to the tokens so far.
    fn self_attention(
        &self,
        x: &Array,
        start: &Offset,
        cache: &mut LayerCache,
    ) -> mlx::Result<Array> {
        let normed = self.self_attn_layer_norm.forward(x);
        let text = cache.append(start, &self.self_attn.keys_values(&normed))?;
        let mask = match start {
            // Bottom-right aligned: the last query attends to every token.
            Offset::Int(_) => AttentionMask::causal(),
            Offset::Array(_) => AttentionMask::causal().offset(start.clone()),
        };
        Ok(x + self.self_attn.forward(&normed, &text, &mask))
    }

    /// Attends to the encoder's output, then applies the feed-forward network.
    fn cross_attention_and_mlp(&self, x: &Array, cache: &LayerCache) -> Array {
        let normed = self.encoder_attn_layer_norm.forward(x);
        let x = x + self
            .encoder_attn
            .forward(&normed, &cache.encoder_kv, &AttentionMask::none());
        feed_forward(&x, &self.final_layer_norm, &self.fc1, &self.fc2)
    }
}
