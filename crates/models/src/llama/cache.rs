//! What does a network remember of the tokens it has read?

use mlx::Array;

use super::network::{KeyValue, Network};
use crate::{Error, Result};

/// Keys and values of the tokens read so far, for every layer.
///
/// Room for `capacity` positions is made once; each step writes its tokens in place. MLX reuses the memory because
/// nobody else holds the arrays.
pub struct Cache {
    layers: Vec<KeyValue>,
    n_tokens: usize,
    capacity: usize,
}

impl Cache {
    /// Returns an empty cache with room for `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Decoding`] when that is none, or more than the network's positions.
    pub fn new(network: &Network, capacity: usize) -> Result<Self> {
        let most = network.config().max_position_embeddings;
        match i32::try_from(capacity) {
            Ok(room) if room > 0 && capacity <= most => Ok(Self {
                layers: network.room(1, room),
                n_tokens: 0,
                capacity,
            }),
            _ => Err(Error::Decoding(format!(
                "cache: wanted room for 1 to {most} tokens, got {capacity}"
            ))),
        }
    }

    /// Returns the number of tokens read.
    pub fn len(&self) -> usize {
        self.n_tokens
    }

    /// Returns whether no tokens have been read.
    pub fn is_empty(&self) -> bool {
        self.n_tokens == 0
    }

    /// Returns the number of tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all but the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.n_tokens = self.n_tokens.min(n);
    }

    /// Returns the arrays that change with each token.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.layers.iter().flat_map(|(keys, values)| [keys, values])
    }

    /// Lets the network read tokens behind those read before, and scores what follows the last: `[1, vocab_size]`.
    ///
    /// Nothing is computed yet: evaluate the scores and [`Cache::arrays`] together.
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens or they do not fit; the cache is as before then.
    pub fn read(&mut self, network: &Network, tokens: &[u32]) -> Result<Array> {
        let after = self.n_tokens.saturating_add(tokens.len());
        if tokens.is_empty() || after > self.capacity {
            return Err(Error::Decoding(format!(
                "cache: wanted 1 to {} more tokens, got {}",
                self.capacity - self.n_tokens,
                tokens.len()
            )));
        }
        // Both are at most the capacity, which fits.
        let array = Array::from_slice(tokens, [1, tokens.len() as i32]).map_err(Error::model)?;
        let layers = self.layers.clone();
        let (logits, layers) = network
            .next(&array, layers, self.n_tokens as i32)
            .map_err(Error::model)?;
        // The old arrays are dropped here, so MLX may write into their memory.
        self.layers = layers;
        self.n_tokens = after;
        Ok(logits)
    }
}
