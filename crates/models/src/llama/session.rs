//! How is a text read and continued, token by token?

use mlx::Dtype;

use super::cache::Cache;
use super::network::Network;
use crate::{Error, Result};

/// Tokens read at a time: the scores of attention of more would take much memory.
const CHUNK: usize = 512;

/// A network and what it has read.
pub struct Session<'a> {
    network: &'a Network,
    cache: Cache,
    tokens: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Returns a session that has read nothing, with room for `capacity` tokens.
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

    /// Returns the tokens read so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the number of tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Reads tokens behind those read before, and returns the scores of all tokens to follow.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens, they do not fit, or one is not in the vocabulary.
    /// [`Error::Model`] when the network fails; the session has read nothing then.
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let vocabulary = self.network.config().vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Decoding(format!(
                "session: wanted tokens below {vocabulary}, got {token}"
            )));
        }
        let room = self.cache.capacity() - self.cache.len();
        if tokens.is_empty() || tokens.len() > room {
            return Err(Error::Decoding(format!(
                "session: wanted 1 to {room} more tokens, got {}",
                tokens.len()
            )));
        }
        let mut scores = None;
        for chunk in tokens.chunks(CHUNK) {
            let logits = self.cache.read(self.network, chunk)?;
            // The cache too: left lazy, each step would drag the whole history along.
            if let Err(error) = mlx::eval(self.cache.arrays().chain([&logits])) {
                // What is in the cache now is not known.
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

    /// Reads a whole text anew, except for what it has in common with the text read before.
    ///
    /// # Errors
    /// As for [`Session::read`].
    pub fn reread(&mut self, text: &[u32]) -> Result<Vec<f32>> {
        let pairs = self.tokens.iter().zip(text);
        let same = pairs.take_while(|(old, new)| old == new).count();
        // The last token is read again: its scores are wanted.
        let kept = same.min(text.len().saturating_sub(1));
        self.truncate(kept);
        self.read(text.get(kept..).unwrap_or(&[]))
    }

    /// Forgets all but the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.cache.truncate(n);
        self.tokens.truncate(n);
    }
}
