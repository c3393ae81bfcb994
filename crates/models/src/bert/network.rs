//! How does an encoder of BERT's kind read tokens?

use std::collections::BTreeSet;

use mlx::fast::AttentionMask;
use mlx::{Array, Dtype};
use mlx_nn::{Embedding, FastOps, Init, LayerNorm, Linear, Module, ParameterVisitor, WeightMap};

use super::Config;
use crate::weights::Weights;
use crate::{Error, Result};

/// An encoder with its weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Network {
    config: Config,
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

/// A block: attention, then a network for each token, each added to what went in and normalized after.
#[derive(Clone)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
    n_heads: i32,
    kernels: FastOps,
}

impl Network {
    /// Builds the network from weights with Hugging Face's names, computing in `dtype`.
    ///
    /// # Errors
    /// [`Error::Weights`] when a weight is missing or has the wrong shape.
    pub fn new(config: Config, weights: &Weights, dtype: Dtype) -> Result<Self> {
        let mut network = Self::empty(config);
        let wanted: BTreeSet<String> = network.parameters().into_keys().collect();
        let mut map = WeightMap::new();
        for tensor in weights.iter() {
            let name = ["bert.", "roberta."]
                .iter()
                .find_map(|prefix| tensor.name.strip_prefix(prefix))
                .unwrap_or(&tensor.name);
            // What the network has no place for is not read: a folder may hold heads for other work, and other types.
            if wanted.contains(name) {
                map.insert(name.to_owned(), tensor.to_array()?.astype(dtype));
            }
        }
        network
            .load(map)
            .require_all()
            .map_err(|error| Error::Weights(error.to_string()))?;
        mlx::eval(network.parameters().values()).map_err(Error::model)?;
        Ok(network)
    }

    /// Returns the dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Maps tokens `[batch, length]` to `[batch, length, hidden_size]`; `visible`, `[batch, length]`, is true where
    /// there is text and false where a short one was filled.
    #[track_caller]
    pub fn forward(&self, tokens: &Array, visible: &Array) -> Array {
        let length = match tokens.dim(-1) {
            Ok(length) => length,
            Err(error) => return Array::failed(error),
        };
        let first = i32::try_from(self.config.first_position()).unwrap_or(0);
        let positions = mlx::iota(length) + first;
        // All of a text is of the first kind.
        let first_kind = self
            .token_type_embeddings
            .forward(&mlx::zeros([1], Dtype::Int32));
        let mut x = self.word_embeddings.forward(tokens)
            + self.position_embeddings.forward(&positions)
            + first_kind;
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
            word_embeddings: Embedding::new(config.vocab_size, hidden, &mut init),
            position_embeddings: Embedding::new(config.max_position_embeddings, hidden, &mut init),
            token_type_embeddings: Embedding::new(config.type_vocab_size, hidden, &mut init),
            norm: LayerNorm::new(hidden, config.layer_norm_eps),
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
        let mut square = || Linear::new(hidden, hidden, true, init);
        Self {
            query: square(),
            key: square(),
            value: square(),
            attention_output: square(),
            attention_norm: LayerNorm::new(hidden, config.layer_norm_eps),
            intermediate: Linear::new(hidden, wide, true, init),
            output: Linear::new(wide, hidden, true, init),
            output_norm: LayerNorm::new(hidden, config.layer_norm_eps),
            n_heads: config.num_attention_heads,
            kernels: FastOps::default(),
        }
    }

    fn forward(&self, x: &Array, mask: &AttentionMask) -> Array {
        let heads = |x: Array| x.unflatten(-1, [self.n_heads, -1]).transpose([0, 2, 1, 3]);
        let queries = heads(self.query.forward(x));
        let keys = heads(self.key.forward(x));
        let values = heads(self.value.forward(x));
        let mixed = self.kernels.attention(&queries, &keys, &values, mask);
        let mixed = mixed.transpose([0, 2, 1, 3]).flatten(2, 3);
        let x = self
            .attention_norm
            .forward(&(x + self.attention_output.forward(&mixed)));
        let wide = self.kernels.gelu(&self.intermediate.forward(&x));
        self.output_norm.forward(&(&x + self.output.forward(&wide)))
    }
}

impl Module for Network {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("embeddings.word_embeddings", &mut self.word_embeddings);
        visitor.module(
            "embeddings.position_embeddings",
            &mut self.position_embeddings,
        );
        visitor.module(
            "embeddings.token_type_embeddings",
            &mut self.token_type_embeddings,
        );
        visitor.module("embeddings.LayerNorm", &mut self.norm);
        visitor.list("encoder.layer", &mut self.layers);
    }
}

impl Module for Layer {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("attention.self.query", &mut self.query);
        visitor.module("attention.self.key", &mut self.key);
        visitor.module("attention.self.value", &mut self.value);
        visitor.module("attention.output.dense", &mut self.attention_output);
        visitor.module("attention.output.LayerNorm", &mut self.attention_norm);
        visitor.module("intermediate.dense", &mut self.intermediate);
        visitor.module("output.dense", &mut self.output);
        visitor.module("output.LayerNorm", &mut self.output_norm);
        visitor.kernels(&mut self.kernels);
    }
}
