//! GGUF files, the format of llama.cpp, which [`mlx::io::gguf`] reads.

use std::path::Path;
use std::sync::Arc;

pub use mlx::io::gguf::{GgmlType, Gguf, GgufTensor, List, Metadata, Value};

use super::Source;
use super::map::named;
use crate::{Error, Result};

/// Opens a file.
///
/// # Errors
/// [`Error::Io`] when it cannot be opened, [`Error::Weights`] when it is malformed or has tensors of an unsupported
/// type.
pub(crate) fn open_gguf(path: &Path) -> Result<Gguf> {
    let source = Arc::new(Source::open(path)?);
    Gguf::read(&source).map_err(|error| named(Error::weights(error), path))
}
