//! A network over the ranks of a group by layers: each has a range of them, and sends hidden states to the next.
//!
//! The last rank's result goes to all, so that every rank computes the logits and chooses the same token. Python's `mlx_lm`
//! gives the last layers to the first rank; here the first rank has the first ones.

use std::ops::Range;

use mlx::distributed::{Group, all_sum, recv, send};
use mlx::{Array, Dtype, where_, zeros_like};

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::network::{Network, NetworkOptions};
use super::shard::share;
use super::weight_store::WeightStore;
use crate::{Error, Result};

/// What of a network a rank has.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    group: Group,
}

impl Stage {
    /// Whether the rank has the first layers, and so the embeddings of tokens.
    pub(super) fn is_first(&self) -> bool {
        self.group.rank() == 0
    }

    fn is_last(&self) -> bool {
        self.group.rank() + 1 == self.group.size()
    }

    /// Returns the hidden states that the rank before sends.
    pub(super) fn receive(&self, shape: [i32; 3], dtype: Dtype) -> Array {
        recv(shape, dtype, self.group.rank() - 1, &self.group)
    }

    /// Sends the hidden states to the next rank, if there is one, when the result is evaluated.
    pub(super) fn pass_on(&self, x: Array) -> Array {
        match self.is_last() {
            true => x,
            false => send(&x, self.group.rank() + 1, &self.group),
        }
    }

    /// Returns what the last rank has in `x`, on all ranks.
    pub(super) fn broadcast(&self, x: &Array) -> Array {
        // The other ranks add zeros, which depend on what they have sent.
        let own = Array::scalar(self.is_last());
        all_sum(&where_(&own, x, &zeros_like(x)), &self.group)
    }
}

/// Returns the layers of this rank, of which ranks have equal numbers or one more.
fn layers_of(config: &Config, group: &Group) -> Result<Range<usize>> {
    let n = config.num_hidden_layers;
    if n < group.size() {
        return Err(Error::Config(format!(
            "pipeline: wanted a layer for each of {} ranks at least, got {n}",
            group.size()
        )));
    }
    Ok(share(n, group))
}

impl Network {
    /// Builds this rank's part of a network: the layers that it has in [`Network::pipeline`]. The weights of others are not
    /// read. Layers are counted from the rank's first one, in names too.
    ///
    /// # Errors
    /// As for [`Network::new`], and [`Error::Config`] when there are fewer layers than ranks.
    pub fn new_pipelined(
        checkpoint: &Checkpoint,
        options: &NetworkOptions,
        group: &Group,
    ) -> Result<Self> {
        if group.size() == 1 {
            return Self::new(checkpoint, options);
        }
        let config = checkpoint.config.clone().check()?;
        let range = layers_of(&config, group)?;
        let weights: WeightStore = checkpoint.weights.layers(&range);
        let config = Config {
            num_hidden_layers: range.len(),
            ..config
        };
        let network = Self::from_store(config, &weights, options)?;
        Ok(network.with_stage(Stage {
            group: group.clone(),
        }))
    }

    /// Returns the network of which this rank of the group has some of the layers: the first rank the first ones.
    /// Embeddings, the last norm and the matrix of logits are on every rank.
    ///
    /// All ranks must call [`Network::forward`] with the same tokens, and get the same logits. Each waits for the one before:
    /// a pipeline is for models that one rank has no memory for, not for speed. [`Network::new_pipelined`] does not even read
    /// the layers of other ranks.
    ///
    /// # Errors
    /// [`Error::Config`] when there are fewer layers than ranks, or the network is compiled or has been cut already.
    pub fn pipeline(&self, group: &Group) -> Result<Self> {
        if self.is_compiled() || self.is_cut() {
            return Err(Error::Config(
                "pipeline: wanted a whole network that is not compiled".to_owned(),
            ));
        }
        if group.size() == 1 {
            return Ok(self.clone());
        }
        let range = layers_of(self.config(), group)?;
        let network = self.with_layers(range);
        Ok(network.with_stage(Stage {
            group: group.clone(),
        }))
    }
}
