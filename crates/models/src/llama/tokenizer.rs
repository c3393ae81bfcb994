//! The tokenizer: text to tokens and back.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::sentence_piece::SentencePiece;
use crate::guarded::{guarded, read_tokenizer};
use crate::json::read_json;
use crate::{Error, Result};

/// A tokenizer with the special tokens of a text's begin and end.
#[derive(Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    /// The BOS token, where the model has one.
    pub bos: Option<u32>,
    /// The EOS token, where the model has one.
    pub eos: Option<u32>,
    /// Whether [`Tokenizer::encode`] puts the BOS token in front, besides what `tokenizer.json` says.
    pub(super) add_bos: bool,
}

/// The vocabulary with its algorithm.
#[derive(Clone)]
enum Vocabulary {
    /// An algorithm of the tokenizers crate.
    Crate(Box<tokenizers::Tokenizer>),
    /// SentencePiece's, with scores.
    Scores(Arc<SentencePiece>),
}

impl Tokenizer {
    pub(super) fn new(inner: tokenizers::Tokenizer) -> Self {
        Self::with_vocabulary(Vocabulary::Crate(Box::new(inner)))
    }

    pub(super) fn from_scores(pieces: SentencePiece) -> Self {
        Self::with_vocabulary(Vocabulary::Scores(Arc::new(pieces)))
    }

    fn with_vocabulary(vocabulary: Vocabulary) -> Self {
        Self {
            vocabulary,
            bos: None,
            eos: None,
            add_bos: false,
        }
    }

    /// Opens the `tokenizer.json` of a folder, and its `tokenizer_config.json` where there is one.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Tokenizer`] when it is malformed.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut inner = read_tokenizer(&folder.join("tokenizer.json"))?;
        // A tokenizer.json may hold training settings that truncate or pad texts.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let mut tokenizer = Self::new(inner);
        if let Some(config) = read_json(&folder.join("tokenizer_config.json"))? {
            let token = |key: &str| content(config.get(key)?);
            tokenizer.bos = token("bos_token").and_then(|text| tokenizer.id(text));
            tokenizer.eos = token("eos_token").and_then(|text| tokenizer.id(text));
        }
        Ok(tokenizer)
    }

    /// Returns the tokens of a text, with the BOS token where the model has it. Special tokens that
    /// occur in the text are recognized.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the vocabulary cannot spell the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = self.tokens(text, true)?;
        if let (true, Some(bos)) = (self.add_bos, self.bos)
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// Returns the tokens of a text without BOS; for prompts of chat templates, which contain the special tokens.
    ///
    /// # Errors
    /// As for [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        self.tokens(text, false)
    }

    /// Returns the text of tokens; special ones are left out, and invalid UTF-8 becomes replacement characters.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the vocabulary's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match &self.vocabulary {
            Vocabulary::Crate(inner) => guarded(|| inner.decode(tokens, true)),
            Vocabulary::Scores(pieces) => Ok(pieces.decode(tokens)),
        }
    }

    /// Returns the number of a token by its text in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        match &self.vocabulary {
            Vocabulary::Crate(inner) => inner.token_to_id(token),
            Vocabulary::Scores(pieces) => pieces.id(token),
        }
    }

    /// Returns a token's text in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.vocabulary {
            Vocabulary::Crate(inner) => inner.id_to_token(id),
            Vocabulary::Scores(pieces) => pieces.token(id).map(str::to_owned),
        }
    }

    /// Returns the number of tokens.
    pub fn vocab_size(&self) -> usize {
        match &self.vocabulary {
            Vocabulary::Crate(inner) => inner.get_vocab_size(true),
            Vocabulary::Scores(pieces) => pieces.len(),
        }
    }

    fn tokens(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        match &self.vocabulary {
            Vocabulary::Crate(inner) => {
                let encoding = guarded(|| inner.encode_fast(text, special))?;
                Ok(encoding.get_ids().to_vec())
            }
            Vocabulary::Scores(pieces) => pieces.encode(text),
        }
    }
}

/// Returns the text of a token, which is a string or in an object.
pub(super) fn content(token: &Value) -> Option<&str> {
    token.get("content").unwrap_or(token).as_str()
}
