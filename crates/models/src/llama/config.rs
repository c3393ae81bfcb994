//! The dimensions of a model of the Llama family.

use serde::Deserialize;
use serde_json::Value;

use super::rope::Rope;
use crate::{Error, Result};

/// The model family; families differ in biases and norms only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Llama 2 and 3, Mistral, SmolLM2 and others of their shape.
    Llama,
    /// Qwen2 and Qwen2.5: queries, keys and values have a bias.
    Qwen2,
    /// Qwen3: queries and keys are normalized.
    Qwen3,
}

/// The dimensions of a model, under Hugging Face's names.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The model family.
    pub family: Family,
    /// Size of the hidden states.
    pub hidden_size: usize,
    /// Size of the feed-forward network's hidden layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; each serves a group of query heads.
    pub num_key_value_heads: usize,
    /// Size of a head.
    pub head_dim: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// Max number of positions.
    pub max_position_embeddings: usize,
    /// Added to the mean of squares in norms.
    pub rms_norm_eps: f32,
    /// Rotary position embeddings.
    pub rope: Rope,
    /// Whether the embedding table also computes the logits.
    pub tie_word_embeddings: bool,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub output_bias: bool,
    /// Whether the three projections of the feed-forward network have a bias.
    pub mlp_bias: bool,
    /// Whether queries and keys are normalized, for each head.
    pub qk_norm: bool,
}

/// Max number of layers.
const MAX_LAYERS: usize = 4096;

impl Family {
    /// Returns the family of an architecture's name, as `config.json` and GGUF files have it.
    pub(super) fn named(name: &str) -> Result<Self> {
        match name {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            other => Err(Error::Config(format!(
                "architecture: wanted llama, qwen2 or qwen3, got {other}"
            ))),
        }
    }
}

/// The keys of `config.json`; the names of biases differ.
#[derive(Deserialize)]
struct HuggingFace {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    #[serde(default = "default_eps")]
    rms_norm_eps: f32,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    layer_types: Option<Vec<String>>,
    partial_rotary_factor: Option<f64>,
    hidden_act: Option<String>,
}

fn default_positions() -> usize {
    2048
}

fn default_eps() -> f32 {
    1e-6
}

impl Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] when it is of another family, needs an unsupported feature, or contradicts itself.
    pub fn from_json(text: &str) -> Result<Self> {
        let json: Value =
            serde_json::from_str(text).map_err(|error| Error::Config(format!("json: {error}")))?;
        let rope = Rope::from_json(&json)?;
        let file: HuggingFace =
            serde_json::from_value(json).map_err(|error| Error::Config(error.to_string()))?;
        // Mistral is Llama with sliding-window attention.
        let mistral = file.model_type == "mistral";
        let family = match mistral {
            true => Family::Llama,
            false => Family::named(&file.model_type)?,
        };
        let window = file.sliding_window.filter(|_| mistral);
        if let Some(other) = file.hidden_act.filter(|name| name != "silu") {
            return Err(Error::Config(format!(
                "hidden_act: wanted silu, got {other}"
            )));
        }
        if file.use_sliding_window {
            return Err(Error::Config(
                "use_sliding_window: wanted false, got true".into(),
            ));
        }
        let sliding = |kind: &&String| *kind != "full_attention";
        if let Some(other) = file.layer_types.iter().flatten().find(sliding)
            && !mistral
        {
            return Err(Error::Config(format!(
                "layer_types: wanted full_attention, got {other}"
            )));
        }
        if let Some(part) = file.partial_rotary_factor.filter(|part| *part != 1.0) {
            return Err(Error::Config(format!(
                "partial_rotary_factor: wanted 1, got {part}"
            )));
        }
        let heads = file.num_attention_heads;
        let config = Self {
            family,
            hidden_size: file.hidden_size,
            intermediate_size: file.intermediate_size,
            num_hidden_layers: file.num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: file.num_key_value_heads.unwrap_or(heads),
            head_dim: file
                .head_dim
                .unwrap_or(file.hidden_size.checked_div(heads).unwrap_or(0)),
            vocab_size: file.vocab_size,
            // Within the window the mask is causal.
            max_position_embeddings: file
                .max_position_embeddings
                .min(window.unwrap_or(usize::MAX)),
            rms_norm_eps: file.rms_norm_eps,
            rope,
            tie_word_embeddings: file.tie_word_embeddings,
            qkv_bias: file.attention_bias || family == Family::Qwen2,
            output_bias: file.attention_bias && family != Family::Qwen2,
            mlp_bias: file.mlp_bias,
            qk_norm: family == Family::Qwen3,
        };
        config.check()
    }

    /// Returns the configuration if its sizes are valid.
    pub(super) fn check(self) -> Result<Self> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // Products of two of these are far below 2^63, and each fits MLX's sizes.
        for (name, size) in sizes {
            let most = match name {
                "num_hidden_layers" => MAX_LAYERS,
                _ => i32::MAX as usize,
            };
            if size == 0 || size > most {
                return Err(Error::Config(format!(
                    "{name}: wanted a number from 1 to {most}, got {size}"
                )));
            }
        }
        let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
        if heads % shared != 0 {
            return Err(Error::Config(format!(
                "num_attention_heads: wanted a multiple of {shared} num_key_value_heads, got {heads}"
            )));
        }
        if !self.head_dim.is_multiple_of(2) || heads * self.head_dim > i32::MAX as usize {
            return Err(Error::Config(format!(
                "head_dim: wanted an even number, {heads} times below 2^31, got {}",
                self.head_dim
            )));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(Error::Config(format!(
                "rms_norm_eps: wanted a number from 0 on, got {}",
                self.rms_norm_eps
            )));
        }
        self.rope.check(self.head_dim)?;
        Ok(self)
    }
}
