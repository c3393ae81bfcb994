//! Sampling of the next token.

use super::device_sampling::DeviceSampler;
use crate::argmax::argmax;
use crate::random::SplitMix64;
use crate::{Error, Result};

/// The options of sampling, under the names of `mlx_lm`; by default the most likely token.
///
/// The repetition penalty comes first; then `top_p`, `min_p` and `top_k` remove tokens, in this order and by the
/// model's probabilities; the temperature applies to the draw among the remaining ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// 0 for the most likely token; 1 for the model's probabilities; higher for a flatter distribution.
    pub temperature: f32,
    /// Keeps the `top_k` most likely tokens; 0 for all.
    pub top_k: usize,
    /// Keeps the most likely tokens that together have this probability; 1 for all.
    pub top_p: f32,
    /// Keeps tokens whose probability is at least this share of the highest; 0 for all.
    pub min_p: f32,
    /// Divides the positive logits of recent tokens and multiplies the negative ones; 1 for no penalty.
    pub repetition_penalty: f32,
    /// Number of recent tokens that the penalty applies to.
    pub repetition_context_size: usize,
    /// The seed: the same seed gives the same text.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_context_size: 20,
            seed: 0,
        }
    }
}

/// A sampler of tokens from logits.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    random: SplitMix64,
}

impl Sampler {
    /// Returns a sampler at the start of its seed's sequence.
    ///
    /// # Errors
    /// [`Error::Decoding`] when an option is out of its range.
    pub fn new(options: SamplingOptions) -> Result<Self> {
        let SamplingOptions {
            temperature,
            top_p,
            min_p,
            repetition_penalty,
            ..
        } = options;
        let at_least = |low: f32, value: f32| value.is_finite() && value >= low;
        let checks = [
            (
                "temperature",
                "0 or more",
                temperature,
                at_least(0.0, temperature),
            ),
            (
                "top_p",
                "above 0, up to 1",
                top_p,
                top_p > 0.0 && top_p <= 1.0,
            ),
            ("min_p", "from 0 to 1", min_p, (0.0..=1.0).contains(&min_p)),
            (
                "repetition_penalty",
                "above 0",
                repetition_penalty,
                repetition_penalty.is_finite() && repetition_penalty > 0.0,
            ),
        ];
        match checks.into_iter().find(|check| !check.3) {
            Some((name, wanted, got, _)) => Err(Error::Decoding(format!(
                "{name}: wanted {wanted}, got {got}"
            ))),
            None => Ok(Self {
                options,
                random: SplitMix64::new(options.seed),
            }),
        }
    }

    /// Returns the sampler of the tokens to come, on the device.
    pub(super) fn on_device(&self) -> DeviceSampler {
        DeviceSampler::new(self.options, self.random.clone())
    }

    /// Samples a token from the logits of all, after the tokens `before`.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no logits or one is NaN.
    pub fn choose(&mut self, logits: &mut [f32], before: &[u32]) -> Result<u32> {
        self.penalize(logits, before);
        if logits.is_empty() || logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::Decoding(format!(
                "scores: wanted numbers, got {}",
                if logits.is_empty() { "none" } else { "NaN" }
            )));
        }
        if self.options.temperature == 0.0 {
            return Ok(argmax(logits) as u32);
        }
        Ok(self.draw(&self.kept(logits), logits))
    }

    fn penalize(&self, logits: &mut [f32], before: &[u32]) {
        let penalty = self.options.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let start = before
            .len()
            .saturating_sub(self.options.repetition_context_size);
        let mut recent = before.get(start..).unwrap_or(&[]).to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// Returns the tokens that may be drawn, sorted by probability where the options require it.
    fn kept(&self, logits: &[f32]) -> Vec<u32> {
        let SamplingOptions {
            top_k,
            top_p,
            min_p,
            ..
        } = self.options;
        let logit = |token: u32| logits.get(token as usize).copied().unwrap_or(f32::MIN);
        let mut tokens: Vec<u32> = (0..logits.len() as u32).collect();
        if top_p >= 1.0 && min_p == 0.0 && top_k == 0 {
            return tokens;
        }
        let likelier_first =
            |a: &u32, b: &u32| logit(*b).total_cmp(&logit(*a)).then_with(|| a.cmp(b));
        if top_k > 0 && top_k < tokens.len() && top_p >= 1.0 {
            tokens.select_nth_unstable_by(top_k, likelier_first);
            tokens.truncate(top_k);
        }
        tokens.sort_unstable_by(likelier_first);
        let best = tokens.first().map_or(0.0, |&token| logit(token));
        let weight = |token: u32| f64::from(logit(token) - best).exp();
        if top_p < 1.0 {
            let wanted = f64::from(top_p) * tokens.iter().map(|&t| weight(t)).sum::<f64>();
            let mut sum = 0.0;
            let enough = tokens.iter().position(|&token| {
                sum += weight(token);
                sum >= wanted
            });
            tokens.truncate(enough.map_or(tokens.len(), |last| last + 1));
        }
        if min_p > 0.0 {
            let enough = tokens.partition_point(|&token| weight(token) >= f64::from(min_p));
            tokens.truncate(enough.max(1));
        }
        if top_k > 0 {
            tokens.truncate(top_k);
        }
        tokens
    }

    /// Draws one of the tokens with probability `softmax(logits / temperature)`.
    fn draw(&mut self, tokens: &[u32], logits: &[f32]) -> u32 {
        let logit = |token: u32| logits.get(token as usize).copied().unwrap_or(f32::MIN);
        let best = tokens
            .iter()
            .copied()
            .max_by(|&a, &b| logit(a).total_cmp(&logit(b)).then_with(|| b.cmp(&a)))
            .unwrap_or(0);
        let temperature = f64::from(self.options.temperature);
        let weight = |token: u32| (f64::from(logit(token) - logit(best)) / temperature).exp();
        let drawn = self.random.draw(tokens.iter().map(|&token| weight(token)));
        drawn
            .and_then(|index| tokens.get(index).copied())
            .unwrap_or(best)
    }
}
