//! Text generation: a prompt is continued token by token.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use mlx::Array;

use super::checkpoint::Checkpoint;
use super::device_sampling::{Chosen, DeviceSampler};
use super::network::Network;
use super::sampling::{Sampler, SamplingOptions};
use super::session::Session;
use super::stream::TextStream;
use super::tokenizer::Tokenizer;
use crate::{Error, Result};

/// The default capacity in tokens, where the model allows it.
const CAPACITY: usize = 4096;

/// The options of generation; by default up to 256 of the most likely tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Max number of generated tokens.
    pub max_tokens: usize,
    /// The sampling of each token.
    pub sampling: SamplingOptions,
    /// Stop strings: generation ends before them.
    pub stop: Vec<String>,
    /// Whether end-of-text tokens are generated like others.
    pub ignore_end: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            sampling: SamplingOptions::default(),
            stop: Vec::new(),
            ignore_end: false,
        }
    }
}

/// The reason why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model generated an end-of-text token.
    End,
    /// `max_tokens` tokens were generated.
    MaxTokens,
    /// A stop string occurred.
    Stop,
    /// The capacity is used up.
    Full,
    /// The callback returned `Break`.
    Cancelled,
}

/// The time that generation took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timings {
    /// Tokens of the prompt, with those of the reused prefix.
    pub prompt_tokens: usize,
    /// The time until the first token was sampled.
    pub prefill: Duration,
    /// Number of decoding steps after that.
    pub steps: usize,
    /// The time of these steps.
    pub decode: Duration,
}

impl Timings {
    /// Returns the tokens generated per second, after the first; 0 when there were none.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decode.as_secs_f64();
        if self.steps == 0 || seconds <= 0.0 {
            return 0.0;
        }
        self.steps as f64 / seconds
    }
}

/// The result of generation.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, without an end-of-text token.
    pub tokens: Vec<u32>,
    /// The text: all pieces together.
    pub text: String,
    /// The reason why it ended.
    pub finish: Finish,
    /// The time that it took.
    pub timings: Timings,
}

/// A generator that continues prompts. The prefix that a prompt shares with the last one and its continuation is
/// reused.
pub struct Generator<'a> {
    session: Session<'a>,
    tokenizer: &'a Tokenizer,
    end_tokens: &'a [u32],
}

impl<'a> Generator<'a> {
    /// Returns a generator with a capacity of 4096 tokens, or of the model's positions if they are fewer.
    ///
    /// # Errors
    /// As for [`Generator::with_capacity`].
    pub fn new(network: &'a Network, checkpoint: &'a Checkpoint) -> Result<Self> {
        let most = network.config().max_position_embeddings;
        Self::with_capacity(network, checkpoint, CAPACITY.min(most))
    }

    /// Returns a generator with a capacity of `capacity` tokens of prompt and continuation.
    ///
    /// # Errors
    /// [`Error::Decoding`] when that is 0, or more than the model's positions.
    pub fn with_capacity(
        network: &'a Network,
        checkpoint: &'a Checkpoint,
        capacity: usize,
    ) -> Result<Self> {
        Ok(Self {
            session: Session::new(network, capacity)?,
            tokenizer: &checkpoint.tokenizer,
            end_tokens: &checkpoint.end_tokens,
        })
    }

    /// Continues a prompt and calls `tell` with each piece of text once it is final.
    ///
    /// # Errors
    /// [`Error::Decoding`] when the prompt is empty or does not fit, or an option is out of its range;
    /// [`Error::Model`] when the network fails.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        mut tell: impl FnMut(&str),
    ) -> Result<Generated> {
        self.generate_while(prompt, options, |piece| {
            tell(piece);
            ControlFlow::Continue(())
        })
    }

    /// Continues a prompt like [`Generator::generate`], until `tell` returns `Break`.
    ///
    /// # Errors
    /// As for [`Generator::generate`].
    pub fn generate_while(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        mut tell: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated> {
        if prompt.is_empty() || prompt.len() > self.session.capacity() {
            return Err(Error::Decoding(format!(
                "prompt: wanted 1 to {} tokens, got {}",
                self.session.capacity(),
                prompt.len()
            )));
        }
        let mut sampler = Sampler::new(options.sampling)?;
        let mut stream = TextStream::new(self.tokenizer, &options.stop);
        let mut text = String::new();
        let mut tell = |piece: String| {
            text.push_str(&piece);
            match piece.is_empty() {
                true => ControlFlow::Continue(()),
                false => tell(&piece),
            }
        };
        let started = Instant::now();
        let logits = self.session.prefill_with_prefix_reuse(prompt)?;
        let (prefill, started) = (started.elapsed(), Instant::now());
        let mut tokens = Vec::new();
        let finish = self.decode(
            logits,
            &mut tokens,
            options,
            &mut sampler,
            |token| match tell(stream.push(token)?).is_break() {
                true => Ok(Some(Finish::Cancelled)),
                false => Ok(stream.stopped().then_some(Finish::Stop)),
            },
        )?;
        let decode = started.elapsed();
        if finish != Finish::Cancelled {
            // There is nothing to break off.
            let _ = tell(stream.finish()?);
        }
        // The tokens of the session that the prompt does not have were decoding steps.
        let steps = self.session.tokens().len() - prompt.len();
        Ok(Generated {
            tokens,
            text,
            finish,
            timings: Timings {
                prompt_tokens: prompt.len(),
                prefill,
                steps,
                decode,
            },
        })
    }

    /// Generates tokens until there is a reason to finish; `take` adds each to the text.
    fn decode(
        &mut self,
        mut logits: Vec<f32>,
        tokens: &mut Vec<u32>,
        options: &GenerateOptions,
        sampler: &mut Sampler,
        mut take: impl FnMut(u32) -> Result<Option<Finish>>,
    ) -> Result<Finish> {
        while tokens.len() < options.max_tokens {
            let token = sampler.choose(&mut logits, self.session.tokens())?;
            if !options.ignore_end && self.end_tokens.contains(&token) {
                return Ok(Finish::End);
            }
            tokens.push(token);
            if let Some(finish) = take(token)? {
                return Ok(finish);
            }
            if tokens.len() >= options.max_tokens {
                break;
            }
            if self.session.tokens().len() >= self.session.capacity() {
                return Ok(Finish::Full);
            }
            if self.session.can_run_ahead() {
                return self.decode_ahead(token, tokens, options, sampler, take);
            }
            logits = self.session.append(&[token])?;
        }
        Ok(Finish::MaxTokens)
    }

    /// Generates the tokens after `token` as [`decode`](Self::decode) does, but chooses them on the device, which computes a
    /// step while the token of the one before is read.
    fn decode_ahead(
        &mut self,
        token: u32,
        tokens: &mut Vec<u32>,
        options: &GenerateOptions,
        sampler: &Sampler,
        mut take: impl FnMut(u32) -> Result<Option<Finish>>,
    ) -> Result<Finish> {
        let mut sampler = sampler.on_device();
        let given = Array::from_slice(&[token], [1, 1]).map_err(Error::model)?;
        let result = (|| {
            let mut newest = self.step_ahead(&given, &mut sampler)?;
            self.session.confirm(token);
            loop {
                // The token of this step is the last one, or the step after it has no room.
                let is_last = tokens.len() + 1 >= options.max_tokens;
                let is_full = self.session.n_cached() >= self.session.capacity();
                let next = match is_last || is_full {
                    true => None,
                    false => {
                        let unknown = newest.token.clone();
                        Some(self.step_ahead(&unknown, &mut sampler)?)
                    }
                };
                let token = newest.read()?;
                if !options.ignore_end && self.end_tokens.contains(&token) {
                    return Ok(Finish::End);
                }
                tokens.push(token);
                if let Some(finish) = take(token)? {
                    return Ok(finish);
                }
                match next {
                    Some(next) => newest = next,
                    None if is_last => return Ok(Finish::MaxTokens),
                    None => return Ok(Finish::Full),
                }
                self.session.confirm(token);
            }
        })();
        match &result {
            Ok(_) => self.session.drop_unknown(),
            Err(_) => self.session.reset()?,
        }
        result
    }

    /// Starts a step with a token that may not be known, and the choice of the next one.
    fn step_ahead(&mut self, token: &Array, sampler: &mut DeviceSampler) -> Result<Chosen> {
        let chosen = self.session.choose_after(token, sampler)?;
        mlx::async_eval(chosen.arrays()).map_err(Error::model)?;
        Ok(chosen)
    }
}
