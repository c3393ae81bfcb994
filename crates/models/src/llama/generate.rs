//! How is a prompt continued?

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::checkpoint::Checkpoint;
use super::network::Network;
use super::sampling::{Sampler, SamplingOptions};
use super::session::Session;
use super::stream::TextStream;
use super::tokenizer::Tokenizer;
use crate::{Error, Result};

/// The room for tokens that a generator makes unless told otherwise, where the model allows.
const CAPACITY: usize = 4096;

/// How a text is continued; by default up to 256 of the likeliest tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens that are written.
    pub max_tokens: usize,
    /// How each is chosen.
    pub sampling: SamplingOptions,
    /// Texts in front of which writing ends.
    pub stop: Vec<String>,
    /// Whether tokens that end a text are written like others.
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

/// Why writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The model wrote a token that ends the text.
    End,
    /// There are as many tokens as were asked for.
    MaxTokens,
    /// A stop string came.
    Stop,
    /// The context is full.
    Full,
    /// Whoever was told the text wanted no more.
    Cancelled,
}

/// How long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timings {
    /// Tokens of the prompt, read now or known from before.
    pub prompt_tokens: usize,
    /// The time until the first token could be chosen.
    pub prefill: Duration,
    /// Tokens that were read after that, one at a time.
    pub steps: usize,
    /// The time for those.
    pub decode: Duration,
}

impl Timings {
    /// Returns the tokens written in a second, after the first; 0 when there were none.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decode.as_secs_f64();
        if self.steps == 0 || seconds <= 0.0 {
            return 0.0;
        }
        self.steps as f64 / seconds
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, without the one that ended the text.
    pub tokens: Vec<u32>,
    /// The text: all pieces together.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// How long it took.
    pub timings: Timings,
}

/// Continues prompts. What a prompt has in common with the last one and its continuation is not read again.
pub struct Generator<'a> {
    session: Session<'a>,
    tokenizer: &'a Tokenizer,
    end_tokens: &'a [u32],
}

impl<'a> Generator<'a> {
    /// Returns a generator with room for 4096 tokens, or as many as the model was made for.
    ///
    /// # Errors
    /// As for [`Generator::with_capacity`].
    pub fn new(network: &'a Network, checkpoint: &'a Checkpoint) -> Result<Self> {
        let most = network.config().max_position_embeddings;
        Self::with_capacity(network, checkpoint, CAPACITY.min(most))
    }

    /// Returns a generator with room for `capacity` tokens of prompt and continuation.
    ///
    /// # Errors
    /// [`Error::Decoding`] when that is none, or more than the model's positions.
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

    /// Continues a prompt and tells each piece of text as soon as it is certain.
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

    /// Continues a prompt like [`Generator::generate`], until `tell` breaks off.
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
        let mut logits = self.session.prefill_with_prefix_reuse(prompt)?;
        let (prefill, started) = (started.elapsed(), Instant::now());
        let mut steps = 0;
        let mut tokens = Vec::new();
        let finish = loop {
            if tokens.len() >= options.max_tokens {
                break Finish::MaxTokens;
            }
            let token = sampler.choose(&mut logits, self.session.tokens())?;
            if !options.ignore_end && self.end_tokens.contains(&token) {
                break Finish::End;
            }
            tokens.push(token);
            if tell(stream.push(token)?).is_break() {
                break Finish::Cancelled;
            }
            if stream.stopped() {
                break Finish::Stop;
            }
            if tokens.len() >= options.max_tokens {
                break Finish::MaxTokens;
            }
            if self.session.tokens().len() >= self.session.capacity() {
                break Finish::Full;
            }
            logits = self.session.append(&[token])?;
            steps += 1;
        };
        let decode = started.elapsed();
        if finish != Finish::Cancelled {
            // There is nothing left to break off.
            let _ = tell(stream.finish()?);
        }
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
}
