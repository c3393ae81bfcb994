//! Streaming detokenization.

use super::tokenizer::Tokenizer;
use crate::Result;

/// A stream that converts tokens to text as they come.
///
/// A character may span several tokens, and the text of a token may depend on the one before; so a piece
/// is returned only when its characters are complete. The pieces together are the text of all tokens.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The tokens of the last piece and those after it.
    tokens: Vec<u32>,
    /// Number of tokens of the last piece.
    told: usize,
    /// The stop strings, which are not returned.
    stop: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

impl<'a> TextStream<'a> {
    /// Returns a stream that ends before the first of the `stop` strings; empty ones are ignored.
    pub fn new(tokenizer: &'a Tokenizer, stop: &[String]) -> Self {
        let stop = stop.iter().filter(|text| !text.is_empty());
        Self {
            tokenizer,
            tokens: Vec::new(),
            told: 0,
            stop: stop.cloned().collect(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Returns whether a stop string occurred.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Adds a token and returns the text that is final now, which may be empty.
    ///
    /// # Errors
    /// As for [`Tokenizer::decode`].
    pub fn push(&mut self, token: u32) -> Result<String> {
        if self.stopped {
            return Ok(String::new());
        }
        self.tokens.push(token);
        let (old, new) = self.texts()?;
        // A replacement character at the end is an incomplete character.
        if new.len() <= old.len() || new.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.tokens.drain(..self.told);
        self.told = self.tokens.len();
        Ok(self.release(new.get(old.len()..).unwrap_or_default(), false))
    }

    /// Returns the rest of the text when no more tokens come.
    ///
    /// # Errors
    /// As for [`Tokenizer::decode`].
    pub fn finish(&mut self) -> Result<String> {
        if self.stopped {
            return Ok(String::new());
        }
        let (old, new) = self.texts()?;
        self.tokens.clear();
        self.told = 0;
        Ok(self.release(new.get(old.len()..).unwrap_or_default(), true))
    }

    /// Returns the text of the last piece, and that with the tokens after it.
    fn texts(&self) -> Result<(String, String)> {
        let told = self.tokens.get(..self.told).unwrap_or_default();
        Ok((
            self.tokenizer.decode(told)?,
            self.tokenizer.decode(&self.tokens)?,
        ))
    }

    /// Adds text to the held text, and returns what cannot belong to a stop string.
    fn release(&mut self, text: &str, all: bool) -> String {
        self.held.push_str(text);
        let found = self
            .stop
            .iter()
            .filter_map(|stop| self.held.find(stop))
            .min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let kept = if all { 0 } else { self.longest_beginning() };
        let rest = self.held.split_off(self.held.len() - kept);
        std::mem::replace(&mut self.held, rest)
    }

    /// Returns the number of bytes at the end of the held text that begin a stop string.
    fn longest_beginning(&self) -> usize {
        let begins = |stop: &String| {
            let ends = stop.char_indices().map(|(end, _)| end).rev();
            let mut ends = ends.filter(|&end| end > 0);
            ends.find(|&end| self.held.ends_with(&stop[..end]))
                .unwrap_or(0)
        };
        self.stop.iter().map(begins).max().unwrap_or(0)
    }
}
