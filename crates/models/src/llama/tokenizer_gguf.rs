//! How is a tokenizer built from the metadata of a GGUF file?

use tokenizers::AddedToken;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;

use super::pre_tokenizer::way;
use super::tokenizer::Tokenizer;
use crate::weights::gguf::Metadata;
use crate::{Error, Result};

/// Types of tokens in files.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Tokens that end a text or a turn, by their names in the vocabularies of this family.
const ENDS: [&str; 6] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "</s>",
];

impl Tokenizer {
    /// Builds the tokenizer that the metadata of a GGUF file describes: byte-level pairs, as GPT-2 has them.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when it describes another kind, or contradicts itself; [`Error::Config`] when a value has
    /// the wrong type.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        let kind = metadata.text("tokenizer.ggml.model")?.unwrap_or("none");
        if kind != "gpt2" {
            return Err(Error::Tokenizer(format!(
                "tokenizer.ggml.model: wanted gpt2, got {kind}"
            )));
        }
        let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
        let way = way(metadata.text("tokenizer.ggml.pre")?.unwrap_or("default"))?;
        let vocabulary: Vocab = tokens
            .iter()
            .zip(0_u32..)
            .map(|(token, id)| (token.clone(), id))
            .collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary, merges(metadata)?)
            .ignore_merges(way.ignore_merges)
            .build()
            .map_err(failed)?;
        let mut inner = tokenizers::Tokenizer::new(bpe);
        if way.compose {
            inner.with_normalizer(Some(NFC)).map_err(failed)?;
        }
        inner.with_pre_tokenizer(Some(way.pre_tokenizer));
        inner.with_decoder(Some(ByteLevel::new(false, false, false)));
        let types = metadata
            .integers("tokenizer.ggml.token_type")?
            .unwrap_or_default();
        for (token, kind) in tokens.iter().zip(types) {
            let added = AddedToken::from(token.clone(), kind == CONTROL).normalized(false);
            let added = match kind {
                CONTROL => inner.add_special_tokens([added]),
                USER_DEFINED => inner.add_tokens([added]),
                _ => continue,
            };
            added.map_err(failed)?;
        }
        let mut tokenizer = Self::new(inner);
        tokenizer.bos = token(metadata, "tokenizer.ggml.bos_token_id", tokens)?;
        tokenizer.eos = token(metadata, "tokenizer.ggml.eos_token_id", tokens)?;
        tokenizer.add_bos = metadata
            .bool("tokenizer.ggml.add_bos_token")?
            .unwrap_or(false);
        Ok(tokenizer)
    }
}

/// The tokens that end a text or a turn.
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
        .integers("tokenizer.ggml.token_type")?
        .unwrap_or_default();
    let special = tokens.iter().zip(types).zip(0_u32..);
    ends.extend(
        special
            .filter(|((token, kind), _)| *kind == CONTROL && ENDS.contains(&token.as_str()))
            .map(|(_, id)| id),
    );
    ends.sort_unstable();
    ends.dedup();
    Ok(ends)
}

fn texts<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a [String]> {
    match metadata.texts(key)? {
        Some(texts) if u32::try_from(texts.len()).is_ok() => Ok(texts),
        _ => Err(Error::Tokenizer(format!(
            "{key}: wanted a list of texts, got none"
        ))),
    }
}

/// Pairs of tokens, written with a space between them; no token of this kind has one.
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

fn token(metadata: &Metadata, key: &str, tokens: &[String]) -> Result<Option<u32>> {
    match metadata.count(key)? {
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
