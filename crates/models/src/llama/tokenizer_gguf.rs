//! The tokenizer that the metadata of a GGUF file describes.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::Replace;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::{AddedToken, DecoderWrapper};

use super::pre_tokenizer::{Way, way};
use super::tokenizer::Tokenizer;
use crate::weights::gguf::Metadata;
use crate::{Error, Result};

/// Types of tokens in files.
pub(super) const UNKNOWN: i64 = 2;
pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;
pub(super) const UNUSED: i64 = 5;
pub(super) const BYTE: i64 = 6;

/// Tokens that end a text or a turn, by their names in vocabularies.
const ENDS: [&str; 17] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "</s>",
    "<eos>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
];

impl Tokenizer {
    /// Returns the tokenizer that the metadata of a GGUF file describes: byte-level pairs as in GPT-2, or
    /// SentencePiece with scores as in Llama 2.
    ///
    /// A text begins with the BOS token where the file says so, or states nothing and llama.cpp adds it by default.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it describes another type, or contradicts itself; [`Error::Config`] when a value has
    /// the wrong type.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let kind = metadata
            .text("tokenizer.ggml.model")
            .map_err(Error::config)?
            .unwrap_or("none");
        let (mut tokenizer, add_bos) = match kind {
            "gpt2" => pairs(metadata, pre_tokenizer_name(metadata)?)?,
            "gemma4" => pairs(metadata, "gemma4")?,
            "llama" => (Self::scores(metadata)?, true),
            other => {
                let what = match other {
                    "t5" => " (unigrams of SentencePiece's)",
                    "bert" => " (WordPiece)",
                    _ => "",
                };
                return Err(Error::Tokenizer(format!(
                    "tokenizer.ggml.model: wanted gpt2 or llama, got {other}{what}"
                )));
            }
        };
        let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
        let id = |key: &str| token(metadata, key, tokens);
        tokenizer.bos = id("tokenizer.ggml.bos_token_id")?.or(tokenizer.bos);
        tokenizer.eos = id("tokenizer.ggml.eos_token_id")?.or(tokenizer.eos);
        tokenizer.add_bos = metadata
            .bool("tokenizer.ggml.add_bos_token")
            .map_err(Error::config)?
            .unwrap_or(add_bos);
        Ok(tokenizer)
    }
}

/// Returns the pre-tokenizer that the file names, or that of the model's family. Llama.cpp splits by its
/// default in all files without a name; models of these two families were trained otherwise.
fn pre_tokenizer_name(metadata: &Metadata) -> Result<&str> {
    let stated = metadata.text("tokenizer.ggml.pre").map_err(Error::config)?;
    if let Some(name) = stated.filter(|name| !name.is_empty()) {
        return Ok(name);
    }
    let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
    let has = |token: &str| tokens.iter().any(|one| one == token);
    Ok(
        match metadata
            .text("general.architecture")
            .map_err(Error::config)?
        {
            Some("qwen2" | "qwen3") => "qwen2",
            Some("llama") if has("<|begin_of_text|>") && has("<|end_of_text|>") => "llama-bpe",
            _ => "default",
        },
    )
}

/// Returns the tokenizer of pairs, and whether its texts begin with BOS.
fn pairs(metadata: &Metadata, pre_tokenizer: &str) -> Result<(Tokenizer, bool)> {
    let way = way(pre_tokenizer)?;
    let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
    let vocabulary: Vocab = tokens
        .iter()
        .zip(0_u32..)
        .map(|(token, id)| (token.clone(), id))
        .collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges(metadata)?)
        .ignore_merges(way.ignore_merges)
        .byte_fallback(!way.byte_level)
        .build()
        .map_err(failed)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    let add_bos = way.add_bos;
    set_up(&mut inner, way)?;
    let types = metadata
        .integers("tokenizer.ggml.token_type")
        .map_err(Error::config)?
        .unwrap_or_default();
    // All at once: the index that finds them in texts is rebuilt each time.
    let (mut special, mut added) = (Vec::new(), Vec::new());
    for (token, kind) in tokens.iter().zip(types) {
        match kind {
            CONTROL | UNKNOWN => special.push(AddedToken::from(token, true).normalized(false)),
            USER_DEFINED => added.push(AddedToken::from(token, false).normalized(false)),
            _ => {}
        }
    }
    inner.add_special_tokens(special).map_err(failed)?;
    inner.add_tokens(added).map_err(failed)?;
    Ok((Tokenizer::new(inner), add_bos))
}

/// Adds normalization before encoding, and the BOS token.
fn set_up(inner: &mut tokenizers::Tokenizer, way: Way) -> Result<()> {
    if way.compose {
        inner.with_normalizer(Some(NFC)).map_err(failed)?;
    }
    if way.byte_level {
        inner.with_decoder(Some(ByteLevel::new(false, false, false)));
    } else {
        let spaces = Replace::new(" ", "▁").map_err(failed)?;
        inner.with_normalizer(Some(spaces)).map_err(failed)?;
        let steps: Vec<DecoderWrapper> = vec![
            Replace::new("▁", " ").map_err(failed)?.into(),
            ByteFallback::new().into(),
            Fuse::new().into(),
        ];
        inner.with_decoder(Some(Sequence::new(steps)));
    }
    inner.with_pre_tokenizer(Some(way.pre_tokenizer));
    Ok(())
}

/// Returns the tokens that end a text or a turn.
pub(super) fn end_tokens(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
    let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
    let mut ends: Vec<u32> = tokenizer.eos.into_iter().collect();
    for key in ["eot", "eom"] {
        ends.extend(token(
            metadata,
            &format!("tokenizer.ggml.{key}_token_id"),
            tokens,
        )?);
    }
    let types = metadata
        .integers("tokenizer.ggml.token_type")
        .map_err(Error::config)?
        .unwrap_or_default();
    let marks: Vec<(&str, u32)> = tokens
        .iter()
        .zip(types)
        .zip(0_u32..)
        .filter(|((_, kind), _)| matches!(*kind, CONTROL | USER_DEFINED))
        .map(|((token, _), id)| (token.as_str(), id))
        .filter(|(token, _)| ENDS.contains(token))
        .collect();
    let has = |name: &str| marks.iter().any(|(token, _)| *token == name);
    // Where there is a token for the end of an answer, this one ends parts of it.
    let parts = has("<|return|>") && has("<|call|>");
    let ending = marks
        .iter()
        .filter(|(token, _)| !(parts && *token == "<|end|>"));
    ends.extend(ending.map(|(_, id)| *id));
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

pub(super) fn texts<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a [String]> {
    match metadata.texts(key).map_err(Error::config)? {
        Some(texts) if u32::try_from(texts.len()).is_ok() => Ok(texts),
        _ => Err(Error::Tokenizer(format!(
            "{key}: wanted a list of texts, got none"
        ))),
    }
}

/// Returns pairs of tokens, separated by a space; no token of this type has one.
fn merges(metadata: &Metadata) -> Result<Vec<(String, String)>> {
    let merges = texts(metadata, "tokenizer.ggml.merges")?.iter();
    let pair = |merge: &String| match merge.split_once(' ') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(Error::Tokenizer(format!(
            "tokenizer.ggml.merges: wanted two tokens, got {merge:?}"
        ))),
    };
    merges.map(pair).collect()
}

pub(super) fn token(metadata: &Metadata, key: &str, tokens: &[String]) -> Result<Option<u32>> {
    match metadata.count(key).map_err(Error::config)? {
        Some(id) if id >= tokens.len() => Err(Error::Tokenizer(format!(
            "{key}: wanted a token below {}, got {id}",
            tokens.len()
        ))),
        other => Ok(other.and_then(|id| u32::try_from(id).ok())),
    }
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Tokenizer(error.to_string())
}
