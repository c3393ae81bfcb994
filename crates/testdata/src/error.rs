//! Errors of this crate, as one enum.

use std::fmt;
use std::path::{Path, PathBuf};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error, told as what was wanted and what was got.
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A data file has other contents than expected.
    Format(String),
    /// A pinned file is neither staged nor could it be fetched.
    Asset {
        /// The package and its version.
        name: String,
        /// Why it is not available, with the command that fetches it.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Format(text) => f.write_str(text),
            Self::Asset { name, reason } => write!(f, "assets: {name}: {reason}"),
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
            // Its text is part of this one's: the chain continues behind it.
            Self::Io { source, .. } => source.source(),
            _ => None,
        }
    }
}

impl Error {
    /// Returns a function that adds `path` to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
