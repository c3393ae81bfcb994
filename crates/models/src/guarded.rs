//! How does a panic inside the tokenizers crate become an error?
//!
//! That crate trusts a `tokenizer.json` that parses: a post-processor that names an unknown token, a decoder without
//! its parts or an odd `continuing_subword_prefix` ends in an index or an `unwrap` of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Result};

/// Runs work of the tokenizers crate; its errors and its panics are both [`Error::Tokenizer`].
pub(crate) fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    // A tokenizer is only read here, or dropped when its construction failed: nothing half changed is used again.
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
