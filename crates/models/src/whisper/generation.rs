//! The generation configuration: tokens that are never produced.

use serde::Deserialize;

use super::tokenizer::Tokenizer;
use crate::{Error, Result};

/// The settings of a model's files about generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GenerationConfig {
    /// Tokens that are never produced.
    pub suppress: Vec<u32>,
    /// Tokens that are not produced first: the blank and the end of text.
    pub suppress_at_begin: Vec<u32>,
    /// Whether the model is multilingual, where the files state it.
    pub is_multilingual: Option<bool>,
}

/// The keys of Hugging Face's and CTranslate2's files. A file may say `null` or -1.
#[derive(Deserialize)]
struct Stored {
    #[serde(alias = "suppress_ids")]
    suppress_tokens: Option<Vec<i64>>,
    #[serde(alias = "suppress_ids_begin")]
    begin_suppress_tokens: Option<Vec<i64>>,
    is_multilingual: Option<bool>,
}

impl GenerationConfig {
    /// Reads `generation_config.json`, or the `config.json` of a CTranslate2 folder.
    ///
    /// Lists that are missing are the defaults of [`GenerationConfig::from_tokenizer`].
    /// # Errors
    /// [`Error::Config`] when it is not JSON of this shape.
    pub fn from_json(text: &str, tokenizer: &Tokenizer) -> Result<Self> {
        let stored: Stored = serde_json::from_str(text)
            .map_err(|error| Error::Config(format!("generation config: {error}")))?;
        let defaults = Self::from_tokenizer(tokenizer);
        // -1 asks for the defaults, as in OpenAI's options.
        let list = |stored: Option<Vec<i64>>, default: Vec<u32>| match stored {
            Some(ids) if !ids.contains(&-1) => ids
                .into_iter()
                .filter_map(|id| u32::try_from(id).ok())
                .collect(),
            _ => default,
        };
        Ok(Self {
            suppress: list(stored.suppress_tokens, defaults.suppress),
            suppress_at_begin: list(stored.begin_suppress_tokens, defaults.suppress_at_begin),
            is_multilingual: stored.is_multilingual,
        })
    }

    /// Returns the settings as the JSON of Hugging Face's file.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "suppress_tokens": self.suppress,
            "begin_suppress_tokens": self.suppress_at_begin,
            "is_multilingual": self.is_multilingual,
        })
        .to_string()
    }

    /// Returns the defaults for a vocabulary: non-speech symbols and special tokens are suppressed.
    pub fn from_tokenizer(tokenizer: &Tokenizer) -> Self {
        let special = tokenizer.special();
        let mut suppress = tokenizer.non_speech();
        suppress.extend([
            special.sot,
            special.translate,
            special.transcribe,
            special.prev,
        ]);
        suppress.extend(special.no_speech);
        suppress.extend(special.lm);
        suppress.sort_unstable();
        suppress.dedup();
        let mut suppress_at_begin = tokenizer.encode(" ").unwrap_or_default();
        suppress_at_begin.push(special.eot);
        Self {
            suppress,
            suppress_at_begin,
            is_multilingual: None,
        }
    }
}
