//! The dimensions of BERT and related encoders.

use serde::Deserialize;

use crate::{Error, Result};

/// The dimensions, under Hugging Face's names.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    /// Size of the hidden states.
    pub hidden_size: i32,
    /// Size of the feed-forward network's hidden layer.
    pub intermediate_size: i32,
    /// Number of attention heads.
    pub num_attention_heads: i32,
    /// Number of layers.
    pub num_hidden_layers: i32,
    /// Max number of positions.
    pub max_position_embeddings: i32,
    /// Number of token types: first and second sentence.
    pub type_vocab_size: i32,
    /// Number of tokens in the vocabulary.
    pub vocab_size: i32,
    /// Added to the variance in norms.
    pub layer_norm_eps: f32,
    /// The activation function of the feed-forward network.
    pub hidden_act: String,
    /// The padding token.
    #[serde(default)]
    pub pad_token_id: u32,
    /// The encoder: BERT, or RoBERTa, whose positions begin after the number of the padding token.
    #[serde(default = "bert")]
    pub model_type: String,
    /// The type of position embeddings: `absolute` only.
    pub position_embedding_type: Option<String>,
}

fn bert() -> String {
    "bert".into()
}

/// Max number of layers; each is allocated before its weights are checked.
const MAX_LAYERS: i32 = 4096;

/// Sizes above this are refused: two of them make no matrix that MLX can hold.
const MAX_SIZE: i32 = (1 << 24) - 1;

impl Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] when it is malformed, or not of an encoder with learned positions and exact GELU.
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self =
            serde_json::from_str(text).map_err(|error| Error::Config(format!("bert: {error}")))?;
        let sizes = [
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
            ("num_attention_heads", config.num_attention_heads),
            ("num_hidden_layers", config.num_hidden_layers),
            ("max_position_embeddings", config.max_position_embeddings),
            ("type_vocab_size", config.type_vocab_size),
            ("vocab_size", config.vocab_size),
        ];
        for (name, size) in sizes {
            let most = match name {
                "num_hidden_layers" => MAX_LAYERS,
                _ => MAX_SIZE,
            };
            if !(1..=most).contains(&size) {
                return Err(Error::Config(format!(
                    "{name}: wanted a number from 1 to {most}, got {size}"
                )));
            }
        }
        if config.hidden_size % config.num_attention_heads != 0 {
            return Err(Error::Config(format!(
                "hidden_size: wanted a multiple of {} heads, got {}",
                config.num_attention_heads, config.hidden_size
            )));
        }
        if config.hidden_act != "gelu" {
            return Err(Error::Config(format!(
                "hidden_act: wanted gelu, got {}",
                config.hidden_act
            )));
        }
        if !["bert", "roberta", "xlm-roberta", "camembert"].contains(&config.model_type.as_str()) {
            return Err(Error::Config(format!(
                "model_type: wanted bert, roberta, xlm-roberta or camembert, got {}",
                config.model_type
            )));
        }
        let positions = config.position_embedding_type.as_deref();
        if let Some(other) = positions.filter(|kind| *kind != "absolute") {
            return Err(Error::Config(format!(
                "position_embedding_type: wanted absolute, got {other}"
            )));
        }
        if config.longest() == 0 {
            return Err(Error::Config(format!(
                "max_position_embeddings: wanted more than pad_token_id {} and one, got {}",
                config.pad_token_id, config.max_position_embeddings
            )));
        }
        Ok(config)
    }

    /// Returns the position of the first token.
    pub(super) fn first_position(&self) -> u32 {
        match self.model_type.as_str() {
            "bert" => 0,
            _ => self.pad_token_id.saturating_add(1),
        }
    }

    /// Returns the max number of tokens.
    pub(super) fn longest(&self) -> usize {
        let positions = u32::try_from(self.max_position_embeddings).unwrap_or(0);
        positions.saturating_sub(self.first_position()) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2,
        "num_hidden_layers": 1, "max_position_embeddings": 32, "type_vocab_size": 2, "vocab_size": 10,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu"}"#;

    #[test]
    fn says_which_dimension_is_wrong() {
        assert_eq!(Config::from_json(SMALL).unwrap().hidden_size, 8);
        for (from, to, wanted) in [
            (
                "\"num_attention_heads\": 2",
                "\"num_attention_heads\": 3",
                "a multiple of 3 heads",
            ),
            (
                "\"num_attention_heads\": 2",
                "\"num_attention_heads\": 0",
                "num_attention_heads",
            ),
            (
                "\"num_hidden_layers\": 1",
                "\"num_hidden_layers\": 16777215",
                "num_hidden_layers: wanted a number from 1 to 4096, got 16777215",
            ),
            ("\"gelu\"", "\"relu\"", "wanted gelu, got relu"),
            ("\"vocab_size\": 10,", "", "missing field `vocab_size`"),
        ] {
            let text = Config::from_json(&SMALL.replace(from, to))
                .unwrap_err()
                .to_string();
            assert!(text.contains(wanted), "{text}");
        }
    }
}
