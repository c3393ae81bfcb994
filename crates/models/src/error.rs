//! What can go wrong in this crate, as one enum.

use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was wanted and what was got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The input is not audio that can be decoded, or holds no audio.
    #[error("audio: {0}")]
    Audio(String),
    /// A model's configuration is missing, malformed or contradicts itself.
    #[error("config: {0}")]
    Config(String),
    /// A weight file is malformed, or a tensor in it is not what was asked for.
    #[error("weights: {0}")]
    Weights(String),
    /// A tokenizer file is malformed or lacks a token that Whisper needs.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Decoding was asked for something that this model cannot do.
    #[error("decoding: {0}")]
    Decoding(String),
    /// The model itself failed; the source has the reason.
    #[error("model: {0}")]
    Model(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A pinned file is neither here nor could it be fetched.
    #[error("assets: {name}: {reason}; by hand: {command}")]
    Asset {
        /// The package and its version.
        name: String,
        /// Why it could not be had.
        reason: String,
        /// The command that fetches it.
        command: String,
    },
}

impl Error {
    /// Wraps an error of the model, for implementations of [`crate::whisper::Model`].
    pub fn model(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Model(source.into())
    }

    /// Returns a function that adds `path` to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
