//! Opening the folder of a Whisper model.

use std::path::Path;

use super::config::{Config, ct2_heads};
use super::generation::GenerationConfig;
use super::names::whisper_names;
use super::network::Network;
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
        let (checkpoint, ()) = Self::open_while(folder.as_ref(), |_, _| Ok(()))?;
        Ok(checkpoint)
    }

    /// Opens a folder as [`Checkpoint::open`] does, and builds its network while another thread reads the tokenizer.
    ///
    /// Without a `dtype`, the network computes in that of [`preferred_dtype`](mlx_nn::preferred_dtype()).
    /// # Errors
    /// As for [`Checkpoint::open`] and [`Network::new`].
    pub fn open_with_network(
        folder: impl AsRef<Path>,
        dtype: Option<mlx::Dtype>,
    ) -> Result<(Self, Network)> {
        Self::open_while(folder.as_ref(), |config, weights| {
            let dtype = match dtype {
                Some(dtype) => dtype,
                None => mlx_nn::preferred_dtype().map_err(Error::model)?,
            };
            Network::new(config, weights, dtype)
        })
    }

    /// Opens a folder, and does other work on this thread while its tokenizer is read.
    fn open_while<T>(
        folder: &Path,
        work: impl FnOnce(Config, &Weights) -> Result<T>,
    ) -> Result<(Self, T)> {
        let stored = Weights::open(folder)?;
        let weights = whisper_names(&stored)?;
        let config = match stored.format {
            // CTranslate2's config.json has no dimensions.
            Format::Ct2(_) => Config::from_weights_with_heads(&weights, ct2_heads(&stored))?,
            Format::Safetensors => Config::from_json(&read(&folder.join("config.json"))?)?,
        };
        let path = folder.join("tokenizer.json");
        let (tokenizer, done) = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new();
            match thread.spawn_scoped(scope, || Tokenizer::open(&path)) {
                Ok(reader) => {
                    let done = work(config, &weights);
                    let read = reader.join();
                    let failed = |_| Err(Error::Tokenizer(format!("{}: panicked", path.display())));
                    (read.unwrap_or_else(failed), done)
                }
                Err(_) => (Tokenizer::open(&path), work(config, &weights)),
            }
        });
        // What is wrong with the folder is said before what is wrong with its weights.
        let tokenizer = tokenizer?;
        let generation = Self::generation(folder, &tokenizer)?;
        let multilingual = generation
            .is_multilingual
            .unwrap_or(config.is_multilingual());
        let checkpoint = Self {
            config,
            generation,
            tokenizer: tokenizer.with_multilingual(multilingual),
            weights,
        };
        Ok((checkpoint, done?))
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
