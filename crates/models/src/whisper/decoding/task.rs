//! The decoding task of one window: prompt, search, and the choice of the best hypothesis.

use super::super::{GenerationConfig, Model, Session, SpecialTokens};
use super::logit_filters::LogitFilters;
use super::scores::log_sum_exp;
use super::{DecodingOptions, beam, sampling};
use crate::{Error, Result};

/// The decoded text of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingResult {
    /// The tokens, timestamps among them, without the end of text.
    pub tokens: Vec<u32>,
    /// The mean log probability of the tokens, with the end of text.
    pub avg_logprob: f32,
    /// The probability of no speech; 0 when the vocabulary has no token for that.
    pub no_speech_prob: f32,
    /// The temperature of decoding.
    pub temperature: f32,
}

/// The former name of [`DecodingResult`].
#[deprecated(note = "renamed to DecodingResult")]
pub type Decoded = DecodingResult;

/// Decodes one window: by sampling when the temperature is above 0, else by beam search, or greedily with one beam.
///
/// # Errors
/// [`Error::Decoding`] when the options do not fit the model or its logits are NaN;
/// [`Error::Tokenizer`] when the language is unknown; or an error of the model.
pub fn decode<M: Model>(
    model: &M,
    features: &M::Features,
    special: &SpecialTokens,
    generation: &GenerationConfig,
    options: &DecodingOptions,
) -> Result<DecodingResult> {
    let task = DecodingTask::new(model.config().n_text_ctx, special, generation, options)?;
    let mut session = model.start(features)?;
    let positions = [task.sot_position, task.prompt.len() - 1];
    let mut logits = session
        .prompt(&task.prompt, &positions)?
        .expect_rows(positions.len())?;
    let mut rows = logits.rows_mut();
    let (at_start, first) = (
        rows.next().unwrap_or_default(),
        rows.next().unwrap_or_default(),
    );
    let no_speech_prob = no_speech(at_start, special)?;
    let hypotheses = if task.temperature == 0.0 && task.beam_size > 1 {
        beam::search(&mut session, first, &task)?
    } else {
        sampling::sample(&mut session, first, &task, options.best_of)?
    };
    let best = hypotheses.into_iter().reduce(|best, other| {
        if other.rank(options.length_penalty) > best.rank(options.length_penalty) {
            other
        } else {
            best
        }
    });
    let best = best.ok_or_else(|| Error::Decoding("wanted a text, got none".into()))?;
    let avg_logprob = (best.sum_logprob / (best.tokens.len() + 1) as f64) as f32;
    let mut tokens = options.prefix.clone();
    tokens.extend(best.tokens);
    Ok(DecodingResult {
        tokens,
        avg_logprob,
        no_speech_prob,
        temperature: options.temperature,
    })
}

/// The probability of "no speech" where the transcript starts.
fn no_speech(logits: &[f32], special: &SpecialTokens) -> Result<f32> {
    let logit = special
        .no_speech
        .and_then(|token| logits.get(token as usize).copied());
    match logit {
        Some(logit) => Ok((logit - log_sum_exp(logits)?).exp()),
        None => Ok(0.0),
    }
}

/// A partial text with its score.
#[derive(Clone, Debug, Default)]
pub(super) struct Hypothesis {
    pub(super) tokens: Vec<u32>,
    pub(super) sum_logprob: f64,
    pub(super) ended: bool,
}

impl Hypothesis {
    /// Appends a token, or ends the text.
    pub(super) fn push(&mut self, token: u32, eot: u32) {
        if token == eot {
            self.ended = true;
        } else {
            self.tokens.push(token);
        }
    }

    fn rank(&self, length_penalty: Option<f32>) -> f64 {
        let length = self.tokens.len().max(1) as f64;
        match length_penalty {
            None => self.sum_logprob / length,
            Some(alpha) => self.sum_logprob / ((5.0 + length) / 6.0).powf(f64::from(alpha)),
        }
    }
}

/// The prompt, filters and settings of one window, from options and model.
pub(super) struct DecodingTask {
    pub(super) prompt: Vec<u32>,
    pub(super) sot_position: usize,
    pub(super) filters: LogitFilters,
    pub(super) max_tokens: usize,
    pub(super) temperature: f32,
    pub(super) beam_size: usize,
    pub(super) patience: f32,
    pub(super) eot: u32,
    pub(super) seed: u64,
}

impl DecodingTask {
    fn new(
        n_text_ctx: usize,
        special: &SpecialTokens,
        generation: &GenerationConfig,
        options: &DecodingOptions,
    ) -> Result<Self> {
        check(options)?;
        let half = n_text_ctx / 2;
        let mut prompt = Vec::new();
        if !options.prompt.is_empty() {
            prompt.push(special.prev);
            prompt.extend(tail(&options.prompt, half.saturating_sub(1)));
        }
        let sot_position = prompt.len();
        prompt.extend(special.start(options.language.as_deref(), options.task)?);
        if !options.timestamps {
            prompt.push(special.no_timestamps);
        }
        prompt.extend(&options.prefix);
        // Every token but the last runs through the decoder, and needs a position.
        let free = n_text_ctx.saturating_sub(prompt.len());
        if free == 0 {
            return Err(Error::Decoding(format!(
                "prompt: wanted fewer than {n_text_ctx} tokens, got {}",
                prompt.len()
            )));
        }
        Ok(Self {
            sot_position,
            prompt,
            filters: LogitFilters::new(special, generation, options),
            max_tokens: options.max_tokens.unwrap_or(half).clamp(1, free),
            temperature: options.temperature,
            beam_size: options.beam_size,
            patience: options.patience,
            eot: special.eot,
            seed: options.seed,
        })
    }
}

fn check(options: &DecodingOptions) -> Result<()> {
    let wanted = |what: &str, got: &dyn std::fmt::Display| {
        Err(Error::Decoding(format!("{what}, got {got}")))
    };
    if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
        return wanted("temperature: wanted 0 or more", &options.temperature);
    }
    // An upper bound against typos, which would allocate all memory.
    for (name, n) in [
        ("beam_size", options.beam_size),
        ("best_of", options.best_of),
    ] {
        if !(1..=64).contains(&n) {
            return wanted(&format!("{name}: wanted 1 to 64"), &n);
        }
    }
    if !(options.patience > 0.0 && options.patience <= 64.0) {
        return wanted(
            "patience: wanted more than 0 and at most 64",
            &options.patience,
        );
    }
    Ok(())
}

fn tail(tokens: &[u32], n: usize) -> &[u32] {
    &tokens[tokens.len() - n.min(tokens.len())..]
}
