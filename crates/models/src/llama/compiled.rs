//! A network as a compiled graph, one for all positions.

use mlx::Array;
use mlx_compiler::{CompileOptions, Jit, Report, jit_with};

use super::network::Network;
use crate::kv_cache::LayerKvCache;

/// The logits of the next token, from tokens, cache and the position of the first token.
type Step =
    Box<dyn Fn(&Array, &Vec<LayerKvCache>, &Array) -> mlx::Result<(Array, Vec<LayerKvCache>)>>;

/// A network whose steps are compiled.
///
/// The position is an array, so that the graph of a step holds for all positions.
pub(super) struct Compiled {
    step: Jit<(Array, Vec<LayerKvCache>, Array), Step>,
}

impl Compiled {
    pub(super) fn new(network: &Network, options: CompileOptions) -> Self {
        let network = network.clone();
        let step: Step = Box::new(move |tokens, cache, start| {
            network.next_token_logits(tokens, cache.clone(), start)
        });
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
