//! Optional JSON files of a model's folder.

use std::path::Path;

use serde_json::Value;

use crate::{Error, Result};

/// Reads a JSON file, if there is one.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(path).map_err(Error::io(path))?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::Config(format!("{}: {error}", path.display())))
}
