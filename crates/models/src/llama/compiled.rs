//! A network as a compiled graph, one for all positions.

use mlx::Array;
use mlx_compiler::{CompileOptions, Jit, Profile, Report, jit_with};

use super::device_sampling::choose;
use super::network::Network;
use super::sampling::SamplingOptions;
use crate::kv_cache::LayerKvCache;

type LogitsAndCache = (Array, Vec<LayerKvCache>);

/// A network whose steps are compiled.
///
/// The position is an array, so that the graph of a step holds for all positions.
pub(super) struct Compiled {
    /// Logits of the next token and the cache, from tokens, cache and the position of the first token.
    step: Jit<'static, (Array, Vec<LayerKvCache>, Array), LogitsAndCache>,
    options: CompileOptions,
}

impl Compiled {
    pub(super) fn new(network: &Network, options: CompileOptions) -> Self {
        let network = network.clone();
        let step = move |tokens: &Array, cache: &Vec<LayerKvCache>, start: &Array| {
            network.next_token_logits(tokens, cache.clone(), start)
        };
        Self {
            step: jit_with(step, options.clone()),
            options,
        }
    }

    pub(super) fn options(&self) -> &CompileOptions {
        &self.options
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

    /// Traces a prompt and the step after it, without running them, and returns what the compiler made of both.
    pub(super) fn trace_report(
        &self,
        prompt: &Array,
        token: &Array,
        cache: &Vec<LayerKvCache>,
    ) -> mlx::Result<Report> {
        let start = Array::scalar(0);
        let mut report = self.step.lower((prompt, cache, &start))?.report().clone();
        report.extend(self.step.lower((token, cache, &start))?.report());
        Ok(report)
    }

    /// Measures a prompt, and the step after it.
    pub(super) fn profile(
        &self,
        prompt: &Array,
        token: &Array,
        cache: &Vec<LayerKvCache>,
    ) -> mlx::Result<(Profile, Profile)> {
        let start = Array::scalar(0);
        let prompt = self.step.profile((prompt, cache, &start))?;
        Ok((prompt, self.step.profile((token, cache, &start))?))
    }

    pub(super) fn report(&self) -> Option<Report> {
        self.step.report()
    }
}

type TokenAndCache = (Array, Array, Vec<LayerKvCache>);
type ChoosingInputs = (Array, Vec<LayerKvCache>, Array, Array, Array);

/// A compiled step that also chooses the token after it, so that its logits stay where they are.
pub(super) struct ChoosingStep {
    sampling: SamplingOptions,
    /// The token, its number to be read, and the cache, from a token, the cache, its position, recent tokens and a random number.
    step: Jit<'static, ChoosingInputs, TokenAndCache>,
}

impl ChoosingStep {
    pub(super) fn new(
        network: &Network,
        sampling: SamplingOptions,
        options: CompileOptions,
    ) -> Self {
        let network = network.clone();
        let step = move |token: &Array,
                         cache: &Vec<LayerKvCache>,
                         start: &Array,
                         recent: &Array,
                         uniform: &Array| {
            let (logits, cache) = network.next_token_logits(token, cache.clone(), start)?;
            let (token, number) = choose(&sampling, &logits, recent, uniform)?;
            Ok::<_, mlx::Error>((token, number, cache))
        };
        Self {
            sampling,
            step: jit_with(step, options),
        }
    }

    pub(super) fn sampling(&self) -> &SamplingOptions {
        &self.sampling
    }

    /// Returns the token, its number and the cache after `token` at position `start`.
    pub(super) fn next_token(
        &self,
        token: &Array,
        cache: &Vec<LayerKvCache>,
        start: i32,
        recent: &Array,
        uniform: &Array,
    ) -> mlx::Result<TokenAndCache> {
        let start = Array::scalar(start);
        Ok(self.step.call((token, cache, &start, recent, uniform))?)
    }
}
