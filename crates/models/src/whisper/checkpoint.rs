//! Opening the folder of a Whisper model.

use std::path::Path;

use super::config::{Config, ct2_heads};
use super::generation::GenerationConfig;
use super::names::whisper_names;
use super::tokenizer::Tokenizer;
use crate::weights::{Format, Weights};
use crate::{Error, Result};

/// The contents of a Whisper model's folder, in one form for all formats.
#[derive(Clone)]
pub struct Checkpoint {
    /// The dimensions.
    pub config: Config,
    /// The tokens that may be generated.
    pub generation: GenerationConfig,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The weights under Hugging Face's names; see [`whisper_names`].
    pub weights: Weights,
}

impl Checkpoint {
    /// Opens a Hugging Face folder (safetensors) or a CTranslate2 folder (`model.bin`).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Config`], [`Error::Weights`] or [`Error::Tokenizer`], by the file that is wrong.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let stored = Weights::open(folder)?;
        let weights = whisper_names(&stored)?;
        let config = match stored.format {
            // CTranslate2's config.json has no dimensions.
            Format::Ct2(_) => Config::from_weights_with_heads(&weights, ct2_heads(&stored))?,
            Format::Safetensors => Config::from_json(&read(&folder.join("config.json"))?)?,
        };
        let tokenizer = Tokenizer::open(&folder.join("tokenizer.json"))?;
        let generation = Self::generation(folder, &tokenizer)?;
        let multilingual = generation
            .is_multilingual
            .unwrap_or(config.is_multilingual());
        Ok(Self {
            config,
            generation,
            tokenizer: tokenizer.with_multilingual(multilingual),
            weights,
        })
    }

    /// Older folders keep the lists in `config.json`, as CTranslate2's do.
    fn generation(folder: &Path, tokenizer: &Tokenizer) -> Result<GenerationConfig> {
        for name in ["generation_config.json", "config.json"] {
            let path = folder.join(name);
            if path.is_file() {
                return GenerationConfig::from_json(&read(&path)?, tokenizer);
            }
        }
        Ok(GenerationConfig::from_tokenizer(tokenizer))
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io(path))
}
