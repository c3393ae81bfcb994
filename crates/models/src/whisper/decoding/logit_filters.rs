//! Logit filters: the tokens that may not come next.

use super::super::{GenerationConfig, SECONDS_PER_TIMESTAMP, SpecialTokens};
use super::DecodingOptions;
use super::scores::log_sum_exp;
use crate::Result;
use crate::argmax::max;

const SUPPRESSED: f32 = f32::NEG_INFINITY;

/// The filters that set the logits of tokens to negative infinity.
///
/// Timestamps come in pairs around text and never go back; the first token is one; when all
/// timestamps together are more likely than any one other token, the next token is a timestamp.
#[derive(Clone, Debug)]
pub struct LogitFilters {
    suppress: Vec<u32>,
    suppress_at_begin: Vec<u32>,
    timestamps: bool,
    last_initial: Option<u32>,
    special: SpecialTokens,
}

/// The former name of [`LogitFilters`].
#[deprecated(note = "renamed to LogitFilters")]
pub type Rules = LogitFilters;

impl LogitFilters {
    /// Returns the filters of a model for these options.
    pub fn new(
        special: &SpecialTokens,
        generation: &GenerationConfig,
        options: &DecodingOptions,
    ) -> Self {
        let list_of = |list: &[u32]| {
            if options.suppress {
                list.to_vec()
            } else {
                Vec::new()
            }
        };
        let steps = |seconds: f64| (seconds / SECONDS_PER_TIMESTAMP).round().clamp(0.0, 1e6) as u32;
        Self {
            suppress: list_of(&generation.suppress),
            suppress_at_begin: list_of(&generation.suppress_at_begin),
            timestamps: options.timestamps,
            last_initial: options
                .max_initial_timestamp
                .map(|s| special.timestamp_begin.saturating_add(steps(s))),
            special: special.clone(),
        }
    }

    /// Sets the logits of tokens that may not follow the tokens `written` to negative infinity.
    ///
    /// # Errors
    /// [`crate::Error::Decoding`] when a logit is NaN or infinite.
    pub fn apply(&self, written: &[u32], logits: &mut [f32]) -> Result<()> {
        let suppress = |logits: &mut [f32], tokens: &[u32]| {
            for &token in tokens {
                if let Some(logit) = logits.get_mut(token as usize) {
                    *logit = SUPPRESSED;
                }
            }
        };
        suppress(logits, &self.suppress);
        if written.is_empty() {
            suppress(logits, &self.suppress_at_begin);
        }
        if self.timestamps {
            self.apply_timestamps(written, logits)
        } else {
            // Models may produce them although the prompt says not to.
            suppress_range(logits, self.special.timestamp_begin, u32::MAX);
            Ok(())
        }
    }

    fn apply_timestamps(&self, written: &[u32], logits: &mut [f32]) -> Result<()> {
        let special = &self.special;
        let begin = special.timestamp_begin;
        suppress_range(logits, special.no_timestamps, special.no_timestamps + 1);
        let is_timestamp = |from_end: usize| {
            written
                .len()
                .checked_sub(from_end)
                .and_then(|i| written.get(i))
                .map(|&t| special.is_timestamp(t))
        };
        let last = is_timestamp(1).unwrap_or(false);
        // The first token counts as a pair with the start of the window.
        let pair = last && is_timestamp(2).unwrap_or(true);
        if pair {
            suppress_range(logits, begin, u32::MAX);
        } else if last {
            suppress_range(logits, 0, special.eot);
        }
        if let Some(&latest) = written
            .iter()
            .rev()
            .find(|&&token| special.is_timestamp(token))
        {
            // A segment may start when the last one ended, but must not end when it starts.
            let allowed = if last && !pair {
                latest
            } else {
                latest.saturating_add(1)
            };
            suppress_range(logits, begin, allowed);
        }
        if written.is_empty() {
            suppress_range(logits, 0, begin);
            if let Some(last_initial) = self.last_initial {
                suppress_range(logits, last_initial.saturating_add(1), u32::MAX);
            }
        }
        let split = (begin as usize).min(logits.len());
        let (text, times) = logits.split_at_mut(split);
        if log_sum_exp(times)? > max(text) {
            text.fill(SUPPRESSED);
        }
        Ok(())
    }
}

/// Suppresses tokens `from..to`, as far as the vocabulary goes.
fn suppress_range(logits: &mut [f32], from: u32, to: u32) {
    let n = logits.len();
    let (from, to) = ((from as usize).min(n), (to as usize).min(n));
    if from < to {
        logits[from..to].fill(SUPPRESSED);
    }
}
