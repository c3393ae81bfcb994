//! A network as a compiled graph, one for all positions.

use mlx::Array;
use mlx_compiler::{CompileOptions, Jit, Report, jit_with};

use super::network::Network;
use crate::kv_cache::LayerKvCache;

type LogitsAndCache = (Array, Vec<LayerKvCache>);

/// A network whose steps are compiled.
///
/// The position is an array, so that the graph of a step holds for all positions.
pub(super) struct Compiled {
    /// Logits of the next token and the cache, from tokens, cache and the position of the first token.
    step: Jit<'static, (Array, Vec<LayerKvCache>, Array), LogitsAndCache>,
}

impl Compiled {
    pub(super) fn new(network: &Network, options: CompileOptions) -> Self {
        let network = network.clone();
        let step = move |tokens: &Array, cache: &Vec<LayerKvCache>, start: &Array| {
            network.next_token_logits(tokens, cache.clone(), start)
        };
        Self {
            step: jit_with(step, options),
        }
    }

    pub(super) fn next_token_logits(
        &self,
        tokens: &Array,
        cache: &Vec<LayerKvCache>,
        start: i32,
    ) -> mlx::Result<(Array, Vec<LayerKvCache>)> {
        let start = Array::scalar(start);
        Ok(self.step.call((tokens, cache, &start))?)
    }

    pub(super) fn report(&self) -> Option<Report> {
        self.step.report()
    }
}
