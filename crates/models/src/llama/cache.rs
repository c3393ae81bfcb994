//! The key-value cache of a network.

use mlx::Array;

use super::network::Network;
use crate::kv_cache::LayerKvCache;
use crate::{Error, Result};

/// Keys and values of the tokens so far, for every layer.
///
/// Buffers for `capacity` positions are allocated once; each step writes its tokens in place. MLX reuses the memory
/// because there is no other reference to the arrays.
pub struct Cache {
    layers: Vec<LayerKvCache>,
    n_tokens: usize,
    capacity: usize,
}

impl Cache {
    /// Returns an empty cache of `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Decoding`] when that is 0, or more than the network's positions.
    pub fn new(network: &Network, capacity: usize) -> Result<Self> {
        let max = network.config().max_position_embeddings;
        match i32::try_from(capacity) {
            Ok(positions) if positions > 0 && capacity <= max => Ok(Self {
                layers: network.new_kv_cache(1, positions),
                n_tokens: 0,
                capacity,
            }),
            _ => Err(Error::Decoding(format!(
                "cache: wanted room for 1 to {max} tokens, got {capacity}"
            ))),
        }
    }

    /// Returns the number of cached tokens.
    pub fn len(&self) -> usize {
        self.n_tokens
    }

    /// Returns whether there are no cached tokens.
    pub fn is_empty(&self) -> bool {
        self.n_tokens == 0
    }

    /// Returns the max number of tokens.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the memory of the keys and values of `capacity` tokens, in bytes.
    ///
    /// # Errors
    /// [`Error::Model`] when an array carries an error.
    pub fn nbytes(&self) -> Result<usize> {
        let sizes = self.arrays().map(Array::nbytes);
        sizes.sum::<mlx::Result<usize>>().map_err(Error::model)
    }

    /// Drops all but the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.n_tokens = self.n_tokens.min(n);
    }

    /// Returns the arrays that change with each token.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.layers.iter().flat_map(|(keys, values)| [keys, values])
    }

    /// Appends tokens and returns the logits that follow the last, `[1, vocab_size]`.
    ///
    /// Nothing is computed yet: evaluate the logits and [`Cache::arrays`] together.
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens or they exceed the capacity; the cache is then unchanged.
    pub fn append(&mut self, network: &Network, tokens: &[u32]) -> Result<Array> {
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
        self.append_array(network, &array, tokens.len())
    }

    /// Appends `n` tokens whose values may not be computed yet, and for which there is room.
    pub(super) fn append_array(
        &mut self,
        network: &Network,
        tokens: &Array,
        n: usize,
    ) -> Result<Array> {
        self.append_with(n, |layers, start| {
            network.next_token_logits(tokens, layers, start)
        })
    }

    /// Has a step append `n` tokens, for which there is room: it gets the layers and the position of the first token.
    pub(super) fn append_with<Output>(
        &mut self,
        n: usize,
        step: impl FnOnce(Vec<LayerKvCache>, i32) -> mlx::Result<(Output, Vec<LayerKvCache>)>,
    ) -> Result<Output> {
        let (output, layers) =
            step(self.layers.clone(), self.n_tokens as i32).map_err(Error::model)?;
        // The old arrays are dropped here, so that MLX may write into their memory.
        self.layers = layers;
        self.n_tokens += n;
        Ok(output)
    }

    /// The former name of [`Cache::append`].
    ///
    /// # Errors
    /// As for [`Cache::append`].
    #[deprecated(note = "renamed to append")]
    pub fn read(&mut self, network: &Network, tokens: &[u32]) -> Result<Array> {
        self.append(network, tokens)
    }
}
