//! Whisper's tokenizer and its special tokens.

use std::path::Path;

use super::timestamps::{SECONDS_PER_TIMESTAMP, Span, spans};
use crate::guarded::{guarded, parse_tokenizer};
use crate::{Error, Result};

/// The tokenizer, with its special tokens.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: SpecialTokens,
}

/// The special tokens of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// End of text.
    pub eot: u32,
    /// Start of a transcript.
    pub sot: u32,
    /// The task of translating into English.
    pub translate: u32,
    /// The task of transcribing.
    pub transcribe: u32,
    /// Start of the previous window's text.
    pub prev: u32,
    /// Start of a text without audio, where the vocabulary has this token.
    pub lm: Option<u32>,
    /// No speech, where the vocabulary has this token.
    pub no_speech: Option<u32>,
    /// No timestamps.
    pub no_timestamps: u32,
    /// The timestamp 0.00; the later ones follow in steps of 20 ms.
    pub timestamp_begin: u32,
    /// The number of timestamps: 1501, up to 30.00.
    pub n_timestamps: u32,
    /// The languages, as codes with their tokens, in the order of the vocabulary.
    pub languages: Vec<(String, u32)>,
    /// Whether the vocabulary is that of a multilingual model.
    pub multilingual: bool,
}

/// Timestamps from 0.00 to 30.00 in steps of 0.02.
const N_TIMESTAMPS: u32 = 1501;

/// The end of text of the English-only vocabulary, which is GPT-2's.
const ENGLISH_EOT: u32 = 50256;

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Tokenizer`] when it is malformed or not Whisper's.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_json(&bytes).map_err(|error| match error {
            Error::Tokenizer(text) => Error::Tokenizer(format!("{}: {text}", path.display())),
            other => other,
        })
    }

    /// Reads the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// As for [`Tokenizer::open`].
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let mut inner = parse_tokenizer(json)?;
        // A tokenizer.json may hold training settings that truncate or pad texts.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::Tokenizer(error.to_string()))?;
        let special = SpecialTokens::find(&inner)?;
        Ok(Self { inner, special })
    }

    /// Returns the special tokens.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// Returns the tokenizer with the model's own statement whether it is multilingual.
    #[must_use]
    pub fn with_multilingual(mut self, multilingual: bool) -> Self {
        self.special.multilingual = multilingual;
        self
    }

    /// Returns the tokens of a text, without special ones around it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the vocabulary cannot spell the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded(|| self.inner.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the text of tokens; special ones and timestamps are left out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the vocabulary's decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let text: Vec<u32> = tokens
            .iter()
            .copied()
            .filter(|&token| self.is_text(token))
            .collect();
        guarded(|| self.inner.decode(&text, true))
    }

    /// Returns the text of tokens with timestamps written as `<|1.08|>`.
    ///
    /// # Errors
    /// As for [`Tokenizer::decode`].
    pub fn decode_with_timestamps(&self, tokens: &[u32]) -> Result<String> {
        let mut text = String::new();
        for run in
            tokens.chunk_by(|&a, &b| self.special.is_timestamp(a) == self.special.is_timestamp(b))
        {
            if self.special.is_timestamp(run[0]) {
                for &token in run {
                    text += &format!("<|{:.2}|>", self.special.seconds(token));
                }
            } else {
                text += &self.decode(run)?;
            }
        }
        Ok(text)
    }

    /// Splits tokens at timestamps; see [`spans`].
    pub fn spans(&self, tokens: &[u32]) -> Vec<Span> {
        spans(tokens, &self.special)
    }

    /// Returns whether a token is text, neither special nor a timestamp.
    pub fn is_text(&self, token: u32) -> bool {
        token < self.special.eot
    }

    /// Returns the tokens that begin a transcript: start, and for a multilingual vocabulary language and task.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the language is unknown.
    pub fn start(&self, language: Option<&str>, task: Task) -> Result<Vec<u32>> {
        self.special.start(language, task)
    }

    /// Returns the tokens of non-speech symbols: brackets, music notes and others.
    ///
    /// Hyphen and apostrophe stay, except at the start of a word.
    pub(super) fn non_speech(&self) -> Vec<u32> {
        const SINGLE: &str = "\"#()*+/:;<=>@[\\]^_`{|}~「」『』";
        const JOINED: [&str; 18] = [
            "<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", "(\"", "((", "))", "(((",
            ")))", "[[", "]]", "{{", "}}",
        ];
        const NOTES: [&str; 2] = ["♪♪", "♪♪♪"];
        // Their first token alone already means music.
        const MUSIC: &str = "♩♪♫♬♭♮♯";
        let mut found: Vec<u32> = [" -", " '"]
            .iter()
            .filter_map(|text| self.encode(text).ok()?.first().copied())
            .collect();
        let marks = SINGLE
            .chars()
            .map(String::from)
            .chain(JOINED.iter().chain(&NOTES).map(ToString::to_string));
        let music = MUSIC.chars().map(String::from);
        for (text, any_length) in marks
            .map(|text| (text, false))
            .chain(music.map(|text| (text, true)))
        {
            for spelled in [text.clone(), format!(" {text}")] {
                let tokens = self.encode(&spelled).unwrap_or_default();
                if tokens.len() == 1 || any_length {
                    found.extend(tokens.first());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The task of a transcription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// Transcription in the spoken language.
    #[default]
    Transcribe,
    /// Translation into English.
    Translate,
}

impl SpecialTokens {
    fn find(inner: &tokenizers::Tokenizer) -> Result<Self> {
        let id = |name: &str| inner.token_to_id(name);
        let need = |name: &str| {
            id(name).ok_or_else(|| Error::Tokenizer(format!("wanted the token {name}, got none")))
        };
        let (eot, sot, translate) = (
            need("<|endoftext|>")?,
            need("<|startoftranscript|>")?,
            need("<|translate|>")?,
        );
        let no_timestamps = need("<|notimestamps|>")?;
        let is_code = |code: &str| {
            (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase())
        };
        let languages = (sot.saturating_add(1)..translate.min(sot.saturating_add(1000)))
            .filter_map(|token| {
                let name = inner.id_to_token(token)?;
                let code = name.strip_prefix("<|")?.strip_suffix("|>")?;
                is_code(code).then(|| (code.to_string(), token))
            })
            .collect();
        Ok(Self {
            eot,
            sot,
            translate,
            transcribe: need("<|transcribe|>")?,
            prev: need("<|startofprev|>")?,
            lm: id("<|startoflm|>"),
            no_speech: id("<|nospeech|>").or_else(|| id("<|nocaptions|>")),
            no_timestamps,
            // Many files omit the timestamps; their numbers follow the last token.
            timestamp_begin: id("<|0.00|>").unwrap_or(no_timestamps.saturating_add(1)),
            n_timestamps: N_TIMESTAMPS,
            languages,
            multilingual: eot != ENGLISH_EOT,
        })
    }

    /// Returns whether a token is a timestamp.
    pub fn is_timestamp(&self, token: u32) -> bool {
        token >= self.timestamp_begin
    }

    /// Returns the time of a timestamp from the start of its window; 0 for other tokens.
    pub fn seconds(&self, token: u32) -> f64 {
        f64::from(token.saturating_sub(self.timestamp_begin)) * SECONDS_PER_TIMESTAMP
    }

    /// Returns the token of a language, by its code.
    pub fn language(&self, code: &str) -> Option<u32> {
        self.languages
            .iter()
            .find(|(known, _)| known == code)
            .map(|&(_, token)| token)
    }

    /// See [`Tokenizer::start`].
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the language is unknown, or the model is English-only and
    /// the options ask for something else.
    pub fn start(&self, language: Option<&str>, task: Task) -> Result<Vec<u32>> {
        if !self.multilingual {
            if let Some(code) = language.filter(|&code| code != "en") {
                return Err(Error::Tokenizer(format!(
                    "language: wanted en for an English-only model, got {code}"
                )));
            }
            if task == Task::Translate {
                return Err(Error::Tokenizer(
                    "task: wanted transcribe for an English-only model, got translate".into(),
                ));
            }
            return Ok(vec![self.sot]);
        }
        let code = language.unwrap_or("en");
        let token = self.language(code).ok_or_else(|| {
            let known: Vec<&str> = self
                .languages
                .iter()
                .map(|(code, _)| code.as_str())
                .collect();
            Error::Tokenizer(format!(
                "language: wanted one of {}, got {code}",
                known.join(" ")
            ))
        })?;
        Ok(vec![
            self.sot,
            token,
            if task == Task::Translate {
                self.translate
            } else {
                self.transcribe
            },
        ])
    }
}
