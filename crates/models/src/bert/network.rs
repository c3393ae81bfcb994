//! The network of BERT and related encoders.

use std::collections::BTreeSet;

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype, Tree};
use mlx_nn::{
    Embedding, Init, LayerNorm, Linear, Module, MultiHeadAttention, ParameterVisitor, WeightMap,
};

use super::Config;
use crate::Result;
use crate::weights::{Unused, Weights, load_weights};

/// An encoder with its weights. Cloning shares the weights.
#[derive(Clone, Module)]
pub struct Network {
    #[module(static)]
    config: Config,
    #[module(rename = "embeddings.word_embeddings")]
    word_embeddings: Embedding,
    #[module(rename = "embeddings.position_embeddings")]
    position_embeddings: Embedding,
    #[module(rename = "embeddings.token_type_embeddings")]
    token_type_embeddings: Embedding,
    #[module(rename = "embeddings.LayerNorm")]
    norm: LayerNorm,
    #[module(rename = "encoder.layer")]
    layers: Vec<Layer>,
}

/// A post-norm transformer layer: attention and a feed-forward network, each with a residual connection.
#[derive(Clone, Tree)]
struct Layer {
    attention: MultiHeadAttention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Network {
    /// Builds the network from weights with Hugging Face's names, computing in `dtype`.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) when a weight is missing or has the wrong shape.
    pub fn new(config: Config, weights: &Weights, dtype: Dtype) -> Result<Self> {
        let mut network = Self::empty(config);
        let wanted: BTreeSet<String> = network.parameters().into_keys().collect();
        let mut map = WeightMap::new();
        for tensor in weights.iter() {
            let name = ["bert.", "roberta."]
                .iter()
                .find_map(|prefix| tensor.name.strip_prefix(prefix))
                .unwrap_or(&tensor.name);
            // Weights without a parameter are not read: a folder may hold heads for other tasks, and other types.
            if wanted.contains(name) {
                map.insert(name.to_owned(), tensor.to_array()?.astype(dtype));
            }
        }
        load_weights(&mut network, map, Unused::Allow)?;
        Ok(network)
    }

    /// Returns the dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Maps tokens `[batch, length]` to `[batch, length, hidden_size]`; `visible`, `[batch, length]`, is true for
    /// tokens and false for padding.
    #[track_caller]
    pub fn forward(&self, tokens: &Array, visible: &Array) -> Array {
        let length = match tokens.axis_size(-1) {
            Ok(length) => length,
            Err(error) => return Array::failed(error),
        };
        let first = i32::try_from(self.config.first_position()).unwrap_or(0);
        let positions = mlx::iota(length) + first;
        // All tokens of a single text have type 0.
        let type_embedding = self
            .token_type_embeddings
            .forward(&mlx::zeros_with([1], Dtype::Int32));
        let mut x = self.word_embeddings.forward(tokens)
            + self.position_embeddings.forward(&positions)
            + type_embedding;
        x = self.norm.forward(&x);
        let mask = AttentionMask::bool(&visible.expand_dims([1, 2]));
        for layer in &self.layers {
            x = layer.forward(&x, &mask);
        }
        x
    }

    fn empty(config: Config) -> Self {
        let mut init = Init::zeros();
        let hidden = config.hidden_size;
        Self {
            word_embeddings: Embedding::with_init(config.vocab_size, hidden, &mut init),
            position_embeddings: Embedding::with_init(
                config.max_position_embeddings,
                hidden,
                &mut init,
            ),
            token_type_embeddings: Embedding::with_init(config.type_vocab_size, hidden, &mut init),
            norm: LayerNorm::new(hidden).eps(config.layer_norm_eps),
            layers: (0..config.num_hidden_layers)
                .map(|_| Layer::new(&config, &mut init))
                .collect(),
            config,
        }
    }
}

impl Layer {
    fn new(config: &Config, init: &mut Init) -> Self {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        Self {
            attention: MultiHeadAttention::with_init(
                hidden,
                config.num_attention_heads,
                true,
                init,
            ),
            attention_norm: LayerNorm::new(hidden).eps(config.layer_norm_eps),
            intermediate: Linear::with_init(hidden, wide, true, init),
            output: Linear::with_init(wide, hidden, true, init),
            output_norm: LayerNorm::new(hidden).eps(config.layer_norm_eps),
        }
    }

    fn forward(&self, x: &Array, mask: &AttentionMask) -> Array {
        let attended = self.attention.forward(x, x, x, mask);
        let x = self.attention_norm.forward(&(x + attended));
        let wide = self.attention.kernels.gelu(&self.intermediate.forward(&x));
        self.output_norm.forward(&(&x + self.output.forward(&wide)))
    }
}

/// By hand, because Hugging Face's names go across the layers.
impl Module for Layer {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        let attention = &mut self.attention;
        visitor.module("attention.self.query", &mut attention.query_proj);
        visitor.module("attention.self.key", &mut attention.key_proj);
        visitor.module("attention.self.value", &mut attention.value_proj);
        visitor.module("attention.output.dense", &mut attention.out_proj);
        visitor.kernels(&mut attention.kernels);
        visitor.module("attention.output.LayerNorm", &mut self.attention_norm);
        visitor.module("intermediate.dense", &mut self.intermediate);
        visitor.module("output.dense", &mut self.output);
        visitor.module("output.LayerNorm", &mut self.output_norm);
    }
}
