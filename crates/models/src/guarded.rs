//! Panics inside the tokenizers crate become errors.
//!
//! That crate trusts a `tokenizer.json` that parses: a post-processor that names an unknown token, a decoder with
//! missing parts or an odd `continuing_subword_prefix` panics at an index or an `unwrap`, and so does a prefix that
//! ends inside a character.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{Error, Result};

/// Runs work of the tokenizers crate; its errors and panics are both [`Error::Tokenizer`].
pub(crate) fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // A tokenizer is only read here, or dropped when its construction failed: no inconsistent state is used again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| Error::Tokenizer(error.to_string())),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no reason");
            Err(Error::Tokenizer(format!(
                "tokenizer.json: wanted parts that fit together, got a panic of the tokenizers crate: {text}"
            )))
        }
    }
}

/// Opens a `tokenizer.json`; messages contain the path.
pub(crate) fn read_tokenizer(path: &Path) -> Result<tokenizers::Tokenizer> {
    let json = std::fs::read(path).map_err(Error::io(path))?;
    parse_tokenizer(&json).map_err(|error| match error {
        Error::Tokenizer(text) => Error::Tokenizer(format!("{}: {text}", path.display())),
        other => other,
    })
}

/// Reads the contents of a `tokenizer.json`.
pub(crate) fn parse_tokenizer(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    check_prefix(json)?;
    guarded(|| tokenizers::Tokenizer::from_bytes(json))
}

/// Refuses merges whose second token is shorter than `continuing_subword_prefix` or has a character across its end:
/// the crate slices tokens there without a check.
fn check_prefix(json: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct File {
        model: Option<Model>,
    }
    #[derive(Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<String>,
    }
    #[derive(Deserialize)]
    struct FileOfMerges {
        model: ModelOfMerges,
    }
    #[derive(Deserialize)]
    struct ModelOfMerges {
        #[serde(default)]
        merges: Vec<Merge>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Merge {
        Pair(IgnoredAny, String),
        Text(String),
    }
    let malformed = |error: serde_json::Error| Error::Tokenizer(error.to_string());
    let file: File = serde_json::from_slice(json).map_err(malformed)?;
    let prefix = file.model.and_then(|model| model.continuing_subword_prefix);
    let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
        return Ok(());
    };
    let file: FileOfMerges = serde_json::from_slice(json).map_err(malformed)?;
    for merge in &file.model.merges {
        let second = match merge {
            Merge::Pair(_, second) => second.as_str(),
            Merge::Text(text) => text.split_once(' ').map_or("", |(_, second)| second),
        };
        // A line that is no merge is refused by the crate.
        let line = matches!(merge, Merge::Text(text) if !text.contains(' '));
        if !line && !second.is_char_boundary(prefix.len()) {
            return Err(Error::Tokenizer(format!(
                "merges: wanted tokens that begin with {prefix:?}, the continuing_subword_prefix, got {second:?}"
            )));
        }
    }
    Ok(())
}
