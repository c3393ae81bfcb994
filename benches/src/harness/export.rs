//! The weights in the formats that rivals read, made once from the package's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mlx_models::audio::Audio;
use mlx_models::whisper::{Checkpoint, LogMel};

use super::npy::{self, Values};

/// Files made from a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Weights under Hugging Face's names, `float32`, as safetensors.
    pub weights: PathBuf,
    /// The spectrogram of the recording, padded to 30 s, `[3000, n_mels]`.
    pub mel: PathBuf,
}

/// Writes the weights of a Whisper folder and the spectrogram of a recording, unless they are there.
///
/// # Errors
/// When the folder or the recording cannot be read, or the files not be written.
pub fn whisper(folder: &Path, audio: &Path, target: &Path) -> Result<Exported> {
    let target = target.join("whisper-tiny.en");
    std::fs::create_dir_all(&target)?;
    let name = audio.file_stem().context("the recording has no name")?;
    let exported = Exported {
        weights: target.join("model.safetensors"),
        mel: target.join(format!("{}.npy", name.to_string_lossy())),
    };
    if exported.weights.exists() && exported.mel.exists() {
        return Ok(exported);
    }
    let checkpoint = Checkpoint::open(folder)?;
    let mut arrays = Vec::new();
    for tensor in checkpoint.weights.iter() {
        let array = tensor.to_array()?.astype(mlx::Dtype::Float32);
        arrays.push((tensor.name.clone(), array));
    }
    let named = arrays.iter().map(|(name, array)| (name.clone(), array));
    mlx::io::save_safetensors(&exported.weights, named)?;
    let sound = Audio::load(audio)?;
    let mel = LogMel::new(checkpoint.config.n_mels)?.padded(&sound.samples);
    let shape = [mel.frames(), mel.n_mels()];
    npy::write(&exported.mel, &shape, &Values::F32(mel.data().to_vec()))?;
    Ok(exported)
}
