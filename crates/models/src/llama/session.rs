//! A network with its cache: prompts are prefilled and continued token by token.

use mlx::{Array, Device, Dtype};
use mlx_compiler::CompileOptions;

use super::cache::Cache;
use super::compiled::ChoosingStep;
use super::device_sampling::{Chosen, DeviceSampler};
use super::network::Network;
use crate::{Error, Result};

/// Max tokens of one prefill step: the attention scores of more would take much memory.
const CHUNK: usize = 512;

/// A network with the tokens in its cache.
pub struct Session<'a> {
    network: &'a Network,
    /// What computes one token at a time: on a GPU the network compiled, so that a step is launched as a whole.
    step: Network,
    /// The step with the choice of the next token, of the options that were used last.
    choosing: Option<ChoosingStep>,
    cache: Cache,
    tokens: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Returns a session without tokens, of `capacity` tokens.
    ///
    /// # Errors
    /// As for [`Cache::new`].
    pub fn new(network: &'a Network, capacity: usize) -> Result<Self> {
        let is_gpu = Device::current().map_err(Error::model)? == Device::Gpu;
        let step = match is_gpu && !network.is_compiled() {
            true => network.compiled(CompileOptions::default()),
            false => network.clone(),
        };
        Ok(Self {
            network,
            step,
            choosing: None,
            cache: Cache::new(network, capacity)?,
            tokens: Vec::new(),
        })
    }

    /// Returns the tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Returns the max number of tokens.
    pub fn capacity(&self) -> usize {
        self.cache.capacity()
    }

    /// Appends tokens and returns the logits of the next one.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens, they exceed the capacity, or one is not in the vocabulary.
    /// [`Error::Model`] when the network fails; the session is then empty.
    pub fn append(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let vocabulary = self.network.config().vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Decoding(format!(
                "session: wanted tokens below {vocabulary}, got {token}"
            )));
        }
        let max = self.cache.capacity() - self.cache.len();
        if tokens.is_empty() || tokens.len() > max {
            return Err(Error::Decoding(format!(
                "session: wanted 1 to {max} more tokens, got {}",
                tokens.len()
            )));
        }
        let mut scores = None;
        for chunk in tokens.chunks(CHUNK) {
            let network = if chunk.len() == 1 {
                &self.step
            } else {
                self.network
            };
            let logits = self.cache.append(network, chunk)?;
            // The cache too: left lazy, the graph would grow with each step.
            if let Err(error) = mlx::eval(self.cache.arrays().chain([&logits])) {
                self.reset()?;
                return Err(Error::model(error));
            }
            self.tokens.extend(chunk);
            scores = Some(logits);
        }
        match scores {
            Some(scores) => scores
                .astype(Dtype::Float32)
                .to_vec::<f32>()
                .map_err(Error::model),
            None => Ok(Vec::new()),
        }
    }

    /// Returns whether a step can be started before the token of the last one is known: on a GPU, which computes meanwhile.
    pub(super) fn can_run_ahead(&self) -> bool {
        self.step.is_compiled() && Device::current().is_ok_and(|device| device == Device::Gpu)
    }

    /// Appends a token that may not be computed yet, `[1, 1]`, and chooses the next one, which is not computed either.
    /// [`Session::confirm`] tells the value of `token`.
    pub(super) fn choose_after(
        &mut self,
        token: &Array,
        sampler: &mut DeviceSampler,
    ) -> Result<Chosen> {
        let Some(sampling) = sampler.joins_step() else {
            let logits = self.cache.append_array(&self.step, token, 1)?;
            return sampler.choose(&logits, &self.tokens, token);
        };
        let kept = self.choosing.take();
        let kept = kept.filter(|step| *step.sampling() == sampling);
        let step = self.choosing.insert(kept.unwrap_or_else(|| {
            let options = self.step.compile_options().unwrap_or_default();
            ChoosingStep::new(self.network, sampling, options)
        }));
        let (recent, uniform) = sampler.inputs(&self.tokens, token)?;
        self.cache.append_with(1, |layers, start| {
            let (token, number, layers) =
                step.next_token(token, &layers, start, &recent, &uniform)?;
            Ok((Chosen { token, number }, layers))
        })
    }

    /// Returns the number of tokens in the cache, with those that are not known yet.
    pub(super) fn n_cached(&self) -> usize {
        self.cache.len()
    }

    /// Adds the value of the first appended token that was not known.
    pub(super) fn confirm(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Drops appended tokens whose values are not wanted.
    pub(super) fn drop_unknown(&mut self) {
        self.cache.truncate(self.tokens.len());
    }

    /// Empties the session, after an error: the contents of the cache are undefined.
    pub(super) fn reset(&mut self) -> Result<()> {
        self.cache = Cache::new(self.network, self.cache.capacity())?;
        self.tokens.clear();
        Ok(())
    }

    /// Replaces the tokens by a whole text, reusing the cache of their common prefix, and returns the logits of the
    /// next token.
    ///
    /// # Errors
    /// As for [`Session::append`].
    pub fn prefill_with_prefix_reuse(&mut self, text: &[u32]) -> Result<Vec<f32>> {
        let pairs = self.tokens.iter().zip(text);
        let same = pairs.take_while(|(old, new)| old == new).count();
        // The last token always runs: its logits are wanted.
        let kept = same.min(text.len().saturating_sub(1));
        self.truncate(kept);
        self.append(text.get(kept..).unwrap_or(&[]))
    }

    /// The former name of [`Session::append`].
    ///
    /// # Errors
    /// As for [`Session::append`].
    #[deprecated(note = "renamed to append")]
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.append(tokens)
    }

    /// The former name of [`Session::prefill_with_prefix_reuse`].
    ///
    /// # Errors
    /// As for [`Session::append`].
    #[deprecated(note = "renamed to prefill_with_prefix_reuse")]
    pub fn reread(&mut self, text: &[u32]) -> Result<Vec<f32>> {
        self.prefill_with_prefix_reuse(text)
    }

    /// Drops all but the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        self.cache.truncate(n);
        self.tokens.truncate(n);
    }
}

#[cfg(test)]
mod tests {
    use mlx_testdata::assets;

    use super::*;
    use crate::argmax::argmax;
    use crate::llama::{Checkpoint, NetworkOptions, Sampler, SamplingOptions};

    #[test]
    fn tokens_that_are_chosen_in_the_step_are_those_of_its_logits() {
        let checkpoint = Checkpoint::open(assets::smollm2().unwrap()).unwrap();
        let network = Network::new(&checkpoint, &NetworkOptions::default()).unwrap();
        let prompt = [504, 2365, 6354, 16438, 27003, 690, 260, 23790, 2767, 30];
        let mut plain = Session::new(&network, 32).unwrap();
        let mut logits = plain.append(&prompt).unwrap();
        let mut wanted = Vec::new();
        for _ in 0..8 {
            let token = argmax(&logits) as u32;
            wanted.push(token);
            logits = plain.append(&[token]).unwrap();
        }
        let penalized = SamplingOptions {
            repetition_penalty: 1.0001,
            ..SamplingOptions::default()
        };
        let mut session = Session::new(&network, 32).unwrap();
        let mut known = argmax(&session.append(&prompt).unwrap()) as u32;
        let mut got = vec![known];
        let mut token = Array::from_slice(&[known], [1, 1]).unwrap();
        // Other options make another step of the same session.
        for options in [SamplingOptions::default(), penalized] {
            let mut sampler = Sampler::new(options).unwrap().on_device();
            for _ in 0..4.min(8 - got.len()) {
                let chosen = session.choose_after(&token, &mut sampler).unwrap();
                session.confirm(known);
                known = chosen.read().unwrap();
                got.push(known);
                token = chosen.token;
            }
        }
        assert_eq!(got, wanted);
        assert_eq!(session.tokens().len(), prompt.len() + 7);
    }
}
