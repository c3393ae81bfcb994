//! The SentencePiece tokenizer that the metadata of a GGUF file describes.

use tokenizers::normalizers::precompiled::Precompiled;

use super::sentence_piece::{Kind, Normalization, Piece, SentencePiece};
use super::tokenizer::Tokenizer;
use super::tokenizer_gguf::{BYTE, CONTROL, UNKNOWN, UNUSED, USER_DEFINED, texts, token};
use crate::guarded::guarded;
use crate::weights::gguf::{List, Metadata, Value};
use crate::{Error, Result};

/// The special tokens of such vocabularies unless the file says otherwise.
const UNKNOWN_ID: u32 = 0;
const BOS_ID: u32 = 1;
const EOS_ID: u32 = 2;

impl Tokenizer {
    /// Returns the tokenizer with scores that the metadata describes.
    pub(super) fn scores(metadata: &Metadata) -> Result<Self> {
        let tokens = texts(metadata, "tokenizer.ggml.tokens")?;
        let default = |id: u32| ((id as usize) < tokens.len()).then_some(id);
        let id = |key: &str, otherwise: u32| {
            Ok::<_, Error>(token(metadata, key, tokens)?.or(default(otherwise)))
        };
        let bos = id("tokenizer.ggml.bos_token_id", BOS_ID)?;
        let eos = id("tokenizer.ggml.eos_token_id", EOS_ID)?;
        let scores = scores(metadata, tokens.len())?;
        let types = types(metadata, tokens.len())?;
        let stated = token(metadata, "tokenizer.ggml.unknown_token_id", tokens)?;
        let unknown = stated.or(match &types {
            Some(types) => (0..)
                .zip(types)
                .find(|(_, kind)| **kind == UNKNOWN)
                .map(|(id, _)| id),
            None => default(UNKNOWN_ID),
        });
        let mut pieces = Vec::with_capacity(tokens.len());
        for (i, (token, score)) in tokens.iter().zip(scores).enumerate() {
            let kind = match &types {
                Some(types) => kind(token, types[i])?,
                None => guessed_kind(token, i, [bos, eos], unknown),
            };
            pieces.push(Piece {
                text: token.clone(),
                score,
                kind,
            });
        }
        let pieces = SentencePiece::new(pieces, unknown, normalization(metadata)?);
        let mut tokenizer = Self::from_scores(pieces);
        (tokenizer.bos, tokenizer.eos) = (bos, eos);
        Ok(tokenizer)
    }
}

/// Returns the file's normalization; files of Llama's kind state none.
fn normalization(metadata: &Metadata) -> Result<Normalization> {
    const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
    let charsmap = match metadata
        .integers(KEY)
        .map_err(Error::config)?
        .filter(|bytes| !bytes.is_empty())
    {
        Some(bytes) => {
            // Bytes, which a file may call signed.
            let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
            let read = || Precompiled::from(&bytes).map_err(|error| error.to_string().into());
            Some(guarded(read)?)
        }
        None => None,
    };
    let truth = |key: &str, otherwise: bool| {
        Ok::<_, Error>(
            metadata
                .bool(key)
                .map_err(Error::config)?
                .unwrap_or(otherwise),
        )
    };
    Ok(Normalization {
        charsmap,
        remove_extra_whitespaces: truth("tokenizer.ggml.remove_extra_whitespaces", false)?,
        add_space_prefix: truth("tokenizer.ggml.add_space_prefix", true)?,
    })
}

/// Returns a score for each token, all equal where the file has none.
fn scores(metadata: &Metadata, n_tokens: usize) -> Result<Vec<f32>> {
    const KEY: &str = "tokenizer.ggml.scores";
    let scores: Vec<f32> = match metadata.get(KEY) {
        None => vec![0.0; n_tokens],
        Some(Value::List(List::Floats(scores))) => scores.iter().map(|&s| s as f32).collect(),
        Some(_) => {
            let scores = metadata
                .integers(KEY)
                .map_err(Error::config)?
                .unwrap_or_default();
            scores.iter().map(|&score| score as f32).collect()
        }
    };
    enough(KEY, scores.len(), n_tokens)?;
    match scores.iter().find(|score| score.is_nan()) {
        Some(_) => Err(Error::Tokenizer(format!("{KEY}: wanted numbers, got NaN"))),
        None => Ok(scores),
    }
}

/// Returns a type for each token, where the file has them.
fn types(metadata: &Metadata, n_tokens: usize) -> Result<Option<Vec<i64>>> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let types = metadata.integers(KEY).map_err(Error::config)?;
    if let Some(types) = &types {
        enough(KEY, types.len(), n_tokens)?;
    }
    Ok(types)
}

fn enough(key: &str, n: usize, n_tokens: usize) -> Result<()> {
    if n >= n_tokens {
        return Ok(());
    }
    Err(Error::Tokenizer(format!(
        "{key}: wanted one for each of {n_tokens} tokens, got {n}"
    )))
}

fn kind(token: &str, kind: i64) -> Result<Kind> {
    Ok(match kind {
        UNKNOWN => Kind::Unknown,
        CONTROL => Kind::Control,
        USER_DEFINED => Kind::UserDefined,
        UNUSED => Kind::Unused,
        BYTE => Kind::Byte(byte(token).ok_or_else(|| {
            Error::Tokenizer(format!(
                "tokenizer.ggml.tokens: wanted a byte as <0x00> to <0xFF>, got {token:?}"
            ))
        })?),
        _ => Kind::Normal,
    })
}

/// Returns the type of a token in a file without types.
fn guessed_kind(token: &str, at: usize, ends: [Option<u32>; 2], unknown: Option<u32>) -> Kind {
    let is = |id: Option<u32>| id.is_some_and(|id| id as usize == at);
    match byte(token) {
        Some(byte) => Kind::Byte(byte),
        None if is(unknown) => Kind::Unknown,
        None if ends.into_iter().any(is) => Kind::Control,
        None => Kind::Normal,
    }
}

/// Returns the byte of a token such as `<0x0A>`.
fn byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hexadecimal = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    hexadecimal.then(|| u8::from_str_radix(digits, 16).ok())?
}
