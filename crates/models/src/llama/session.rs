//! A network with its cache: prompts are prefilled and continued token by token.

use mlx::Dtype;

use super::cache::Cache;
use super::network::Network;
use crate::{Error, Result};

/// Max tokens of one prefill step: the attention scores of more would take much memory.
const CHUNK: usize = 512;

/// A network with the tokens in its cache.
pub struct Session<'a> {
    network: &'a Network,
    cache: Cache,
    tokens: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Returns a session without tokens, of `capacity` tokens.
    ///
    /// # Errors
    /// As for [`Cache::new`].
    pub fn new(network: &'a Network, capacity: usize) -> Result<Self> {
        Ok(Self {
            network,
            cache: Cache::new(network, capacity)?,
            tokens: Vec::new(),
        })
    }

    /// Returns the tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the max number of tokens.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Appends tokens and returns the logits of the next one.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens, they exceed the capacity, or one is not in the vocabulary.
    /// [`Error::Model`] when the network fails; the session is then empty.
    pub fn append(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let vocabulary = self.network.config().vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Decoding(format!(
                "session: wanted tokens below {vocabulary}, got {token}"
            )));
        }
        let max = self.cache.capacity() - self.cache.len();
        if tokens.is_empty() || tokens.len() > max {
            return Err(Error::Decoding(format!(
                "session: wanted 1 to {max} more tokens, got {}",
                tokens.len()
            )));
        }
        let mut scores = None;
        for chunk in tokens.chunks(CHUNK) {
            let logits = self.cache.append(self.network, chunk)?;
            // The cache too: left lazy, the graph would grow with each step.
            if let Err(error) = mlx::eval(self.cache.arrays().chain([&logits])) {
                // The contents of the cache are undefined.
                self.cache = Cache::new(self.network, self.cache.capacity())?;
                self.tokens.clear();
                return Err(Error::model(error));
            }
            self.tokens.extend(chunk);
            scores = Some(logits);
        }
        match scores {
            Some(scores) => scores
                .astype(Dtype::Float32)
                .to_vec::<f32>()
                .map_err(Error::model),
            None => Ok(Vec::new()),
        }
    }

    /// Replaces the tokens by a whole text, reusing the cache of their common prefix, and returns the logits of the
    /// next token.
    ///
    /// # Errors
    /// As for [`Session::append`].
    pub fn prefill_with_prefix_reuse(&mut self, text: &[u32]) -> Result<Vec<f32>> {
        let pairs = self.tokens.iter().zip(text);
        let same = pairs.take_while(|(old, new)| old == new).count();
        // The last token always runs: its logits are wanted.
        let kept = same.min(text.len().saturating_sub(1));
        self.truncate(kept);
        self.append(text.get(kept..).unwrap_or(&[]))
    }

    /// The former name of [`Session::append`].
    ///
    /// # Errors
    /// As for [`Session::append`].
    #[deprecated(note = "renamed to append")]
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.append(tokens)
    }

    /// The former name of [`Session::prefill_with_prefix_reuse`].
    ///
    /// # Errors
    /// As for [`Session::append`].
    #[deprecated(note = "renamed to prefill_with_prefix_reuse")]
    pub fn reread(&mut self, text: &[u32]) -> Result<Vec<f32>> {
        self.prefill_with_prefix_reuse(text)
    }

    /// Drops all but the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.cache.truncate(n);
        self.tokens.truncate(n);
    }
}
