//! Where is text split before its pieces become tokens?
//!
//! GGUF files name one of llama.cpp's ways; the expressions are those that the models were trained with.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior};

use crate::{Error, Result};

/// GPT-4's way, with digits one at a time or up to three.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Llama.cpp's own way for files that name none: each splits the pieces of the one before.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// How a named way splits, and what else it stands for.
pub(super) struct Way {
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    /// Whether a piece that is a token as a whole is one, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Whether text is brought into Unicode's composed form first.
    pub(super) compose: bool,
}

/// Returns the way of this name.
pub(super) fn way(name: &str) -> Result<Way> {
    // Bytes become characters; with its own expression this is GPT-2's way.
    let gpt2 = || PreTokenizerWrapper::from(ByteLevel::new(false, false, true));
    let (steps, ignore_merges, compose) = match name {
        "gpt-2" | "gpt2" => (vec![gpt2()], false, false),
        "smollm" | "starcoder" => (vec![Digits::new(true).into(), gpt2()], false, false),
        "llama3" | "llama-v3" | "llama-bpe" => (expressions(&[LLAMA3])?, true, false),
        "qwen2" => (expressions(&[QWEN2])?, false, true),
        "default" => (expressions(&DEFAULT)?, false, false),
        other => {
            return Err(Error::Tokenizer(format!(
                "tokenizer.ggml.pre: wanted gpt-2, smollm, llama-bpe, qwen2 or default, got {other}"
            )));
        }
    };
    Ok(Way {
        pre_tokenizer: Sequence::new(steps).into(),
        ignore_merges,
        compose,
    })
}

/// Matches stand alone, what is between them too; then bytes become characters.
fn expressions(patterns: &[&str]) -> Result<Vec<PreTokenizerWrapper>> {
    let mut steps = Vec::new();
    for pattern in patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        steps.push(split.into());
    }
    steps.push(ByteLevel::new(false, false, false).into());
    Ok(steps)
}
