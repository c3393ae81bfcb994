//! Errors of this crate, as one enum.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error, told as what was wanted and what was got.
///
/// The text is complete: [`source`](std::error::Error::source) never repeats a part of it.
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The input is not audio that can be decoded, or holds no audio.
    Audio(String),
    /// A model's configuration is missing, malformed or contradicts itself.
    Config(String),
    /// A weight file is malformed, or a tensor in it is not as requested.
    Weights(String),
    /// A tokenizer file is malformed or lacks a required token.
    Tokenizer(String),
    /// The decoding options do not fit the model.
    Decoding(String),
    /// The model itself failed.
    Model(Box<dyn std::error::Error + Send + Sync>),
    /// A pinned file is neither staged nor could it be fetched.
    Asset {
        /// The package and its version.
        name: String,
        /// Why it is not available.
        reason: String,
        /// The command that fetches it.
        command: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Audio(text) => write!(f, "audio: {text}"),
            Self::Config(text) => write!(f, "config: {text}"),
            Self::Weights(text) => write!(f, "weights: {text}"),
            Self::Tokenizer(text) => write!(f, "tokenizer: {text}"),
            Self::Decoding(text) => write!(f, "decoding: {text}"),
            Self::Model(error) => write!(f, "model: {error}"),
            Self::Asset {
                name,
                reason,
                command,
            } => write!(f, "assets: {name}: {reason}; by hand: {command}"),
        }
    }
}

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their texts are part of this one's: the chain continues behind them.
            Self::Io { source, .. } => source.source(),
            Self::Model(error) => error.source(),
            _ => None,
        }
    }
}

impl Error {
    /// Wraps an error of the model, for implementations of [`crate::whisper::Model`].
    pub fn model(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Model(source.into())
    }

    /// Returns the error of a header that [`mlx::io`] refuses, without the file: opening adds it.
    pub(crate) fn weights(error: mlx::Error) -> Self {
        Self::Weights(told(error))
    }

    /// Returns the error of metadata that are not as asked for.
    pub(crate) fn config(error: mlx::Error) -> Self {
        Self::Config(told(error))
    }

    /// Returns a function that adds `path` to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

impl From<mlx::Error> for Error {
    /// Returns [`Error::Io`] for a file that MLX cannot read, [`Error::Model`] for anything else.
    fn from(error: mlx::Error) -> Self {
        match error {
            mlx::Error::Io { path, message, .. } => Self::Io {
                path,
                source: std::io::Error::other(message),
            },
            other => Self::model(other),
        }
    }
}

/// Returns what was wanted and what came, without operation and place.
fn told(error: mlx::Error) -> String {
    match error {
        mlx::Error::Io { message, .. } => message,
        mlx::Error::Op(error) => error.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_the_text_and_the_chain_repeats_nothing() {
        let inner = std::io::Error::new(std::io::ErrorKind::NotFound, "nothing there");
        let error = Error::io(Path::new("a.wav"))(inner);
        assert_eq!(error.to_string(), "a.wav: nothing there");
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(
            std::error::Error::source(&error)
                .is_none_or(|next| next.to_string() != "nothing there")
        );
        let model = Error::model(error);
        assert_eq!(format!("{model:#?}"), "model: a.wav: nothing there");
        assert!(std::error::Error::source(&model).is_none());
    }
}
