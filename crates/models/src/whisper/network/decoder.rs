//! How does Whisper score the next token?

use mlx::fast::{AttentionMask, Offset};
use mlx::{Array, Op, bind};
use mlx_nn::{Embedding, Init, LayerNorm, Linear, Module, ParameterVisitor};

use super::attention::{Attention, KeyValue};
use super::cache::LayerCache;
use super::encoder::{Positions, size};
use crate::whisper::Config;

/// Tokens and positions, and layers that look at the text and at the sound.
#[derive(Clone)]
pub(super) struct Decoder {
    embed_tokens: Embedding,
    embed_positions: Positions,
    layers: Vec<Layer>,
    layer_norm: LayerNorm,
    capacity: i32,
}

#[derive(Clone)]
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
        let (state, capacity) = (size(config.n_text_state), size(config.n_text_ctx));
        Self {
            embed_tokens: Embedding::new(size(config.n_vocab), state, init),
            embed_positions: Positions::new(capacity, state),
            layers: (0..config.n_text_layer)
                .map(|_| Layer::new(config, init))
                .collect(),
            layer_norm: LayerNorm::new(state, 1e-5),
            capacity,
        }
    }

    /// Returns the keys and values of the sound for every layer.
    pub(super) fn sound(&self, features: &Array) -> Vec<KeyValue> {
        self.layers
            .iter()
            .map(|layer| layer.encoder_attn.keys_values(features))
            .collect()
    }

    /// Returns the number of tokens there is room for.
    pub(super) fn capacity(&self) -> i32 {
        self.capacity
    }

    /// Reads tokens `[rows, n]`, the first at position `start`, and returns scores `[rows, n', n_vocab]` behind those
    /// at `positions`, or behind all of them, and the layers' memory with these tokens in it.
    ///
    /// A pure function of arrays, for tracing as it is: with an array as the start, one graph serves all positions.
    pub(super) fn forward(
        &self,
        tokens: &Array,
        positions: Option<&Array>,
        mut layers: Vec<LayerCache>,
        start: &Offset,
    ) -> mlx::Result<(Array, Vec<LayerCache>)> {
        let mut x = self.embed(tokens, start)?;
        for (layer, memory) in self.layers.iter().zip(&mut layers) {
            x = layer.forward(&x, start, memory)?;
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

    /// Reads tokens `[1, n]` from the start, and returns how much each looks at each place of the sound in every layer,
    /// `[1, n_heads, n, n_audio_ctx]`.
    pub(super) fn looks(
        &self,
        tokens: &Array,
        mut layers: Vec<LayerCache>,
    ) -> mlx::Result<Vec<Array>> {
        let start = Offset::Int(0);
        let mut x = self.embed(tokens, &start)?;
        let mut looks = Vec::with_capacity(layers.len());
        for (layer, memory) in self.layers.iter().zip(&mut layers) {
            x = layer.read(&x, &start, memory)?;
            let normed = layer.encoder_attn_layer_norm.forward(&x);
            looks.push(layer.encoder_attn.looks(&normed, &memory.sound.0)?);
            x = layer.hear(&x, memory);
        }
        Ok(looks)
    }

    /// Returns tokens `[rows, n]`, the first at position `start`, as vectors with their positions.
    fn embed(&self, tokens: &Array, start: &Offset) -> mlx::Result<Array> {
        let length = tokens.dim(1)?;
        let dims = self.embed_positions.weight.dim(1)?;
        let table = &self.embed_positions.weight;
        let here = match start {
            Offset::Int(start) => {
                let part = Op::Slice {
                    start: vec![*start, 0],
                    stop: vec![start + length, dims],
                    strides: vec![1; 2],
                };
                bind(part, &[table])
            }
            Offset::Array(start) => table.slice(&start.reshape([1]), 0, [length, dims]),
        };
        Ok(self.embed_tokens.forward(tokens) + here)
    }
}

impl Layer {
    fn new(config: &Config, init: &mut Init) -> Self {
        let (state, mlp) = (size(config.n_text_state), size(config.n_text_mlp()));
        let attention = |init: &mut Init| Attention::new(state, size(config.n_text_head), init);
        Self {
            self_attn: attention(init),
            self_attn_layer_norm: LayerNorm::new(state, 1e-5),
            encoder_attn: attention(init),
            encoder_attn_layer_norm: LayerNorm::new(state, 1e-5),
            fc1: Linear::new(state, mlp, true, init),
            fc2: Linear::new(mlp, state, true, init),
            final_layer_norm: LayerNorm::new(state, 1e-5),
        }
    }

    fn forward(&self, x: &Array, start: &Offset, cache: &mut LayerCache) -> mlx::Result<Array> {
        let x = self.read(x, start, cache)?;
        Ok(self.hear(&x, cache))
    }

    /// Looks at the text so far.
    fn read(&self, x: &Array, start: &Offset, cache: &mut LayerCache) -> mlx::Result<Array> {
        let normed = self.self_attn_layer_norm.forward(x);
        let text = cache.extend(start, &self.self_attn.keys_values(&normed))?;
        let mask = match start {
            // Bottom-right aligned: the last query sees every token.
            Offset::Int(_) => AttentionMask::causal(),
            Offset::Array(_) => AttentionMask::causal().offset(start.clone()),
        };
        Ok(x + self.self_attn.forward(&normed, &text, &mask))
    }

    /// Looks at the sound, and goes on to the next layer.
    fn hear(&self, x: &Array, cache: &LayerCache) -> Array {
        let normed = self.encoder_attn_layer_norm.forward(x);
        let x = x + self
            .encoder_attn
            .forward(&normed, &cache.sound, &AttentionMask::none());
        let norm = &self.final_layer_norm;
        let hidden = norm.kernels.gelu(&self.fc1.forward(&norm.forward(&x)));
        x + self.fc2.forward(&hidden)
    }
}

impl Module for Decoder {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("embed_tokens", &mut self.embed_tokens);
        visitor.module("embed_positions", &mut self.embed_positions);
        visitor.list("layers", &mut self.layers);
        visitor.module("layer_norm", &mut self.layer_norm);
    }
}

impl Module for Layer {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("self_attn", &mut self.self_attn);
        visitor.module("self_attn_layer_norm", &mut self.self_attn_layer_norm);
        visitor.module("encoder_attn", &mut self.encoder_attn);
        visitor.module("encoder_attn_layer_norm", &mut self.encoder_attn_layer_norm);
        visitor.module("fc1", &mut self.fc1);
        visitor.module("fc2", &mut self.fc2);
        visitor.module("final_layer_norm", &mut self.final_layer_norm);
    }
}
