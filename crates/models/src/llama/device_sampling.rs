//! Sampling as operations on arrays: the next token is chosen where the logits are, and only its number is copied.

use mlx::{Array, Dtype};
use mlx_compiler::{Jit, jit};

use super::sampling::SamplingOptions;
use crate::random::SplitMix64;
use crate::{Error, Result};

/// The number that is read in place of a token when a logit is NaN.
const NAN: u32 = u32::MAX;

/// A token that was chosen on the device.
pub(super) struct Chosen {
    /// `[1, 1]`, for the next step.
    pub(super) token: Array,
    /// The same to be read: [`Chosen::read`].
    pub(super) number: Array,
}

impl Chosen {
    /// Returns both arrays, to be started together.
    pub(super) fn arrays(&self) -> [&Array; 2] {
        [&self.token, &self.number]
    }

    /// Waits for the token and returns it.
    ///
    /// # Errors
    /// [`Error::Decoding`] when a logit is NaN, [`Error::Model`] when the network failed.
    pub(super) fn read(&self) -> Result<u32> {
        match self.number.item::<u32>().map_err(Error::model)? {
            NAN => Err(Error::Decoding(
                "scores: wanted numbers, got NaN".to_owned(),
            )),
            token => Ok(token),
        }
    }
}

/// A sampler of the same distribution as [`Sampler`](super::sampling::Sampler), on the device.
///
/// Draws are by sums in `float32`: next to a border between two tokens the other one may be drawn.
pub(super) struct DeviceSampler {
    options: SamplingOptions,
    random: SplitMix64,
    /// Tokens that are penalized: as many as fit, the last ones.
    window: usize,
    choose: Jit<'static, (Array, Array, Array), (Array, Array)>,
}

impl DeviceSampler {
    /// Returns a sampler of checked options, whose random numbers go on where `random` is.
    pub(super) fn new(options: SamplingOptions, random: SplitMix64) -> Self {
        let penalizes = options.repetition_penalty != 1.0;
        Self {
            options,
            random,
            window: if penalizes {
                options.repetition_context_size
            } else {
                0
            },
            choose: jit(move |logits: &Array, recent: &Array, uniform: &Array| {
                choose(&options, logits, recent, uniform)
            }),
        }
    }

    /// Returns the options where the choice can be part of the step before it: filters sort, which is not recorded with it.
    pub(super) fn joins_step(&self) -> Option<SamplingOptions> {
        let is_plain = self.options.temperature == 0.0 || !has_filters(&self.options);
        is_plain.then_some(self.options)
    }

    /// Chooses a token from logits `[1, vocabulary]`, after the tokens `before` and then `last`, which may not be known.
    ///
    /// # Errors
    /// [`Error::Model`] when an operation cannot be applied.
    pub(super) fn choose(
        &mut self,
        logits: &Array,
        before: &[u32],
        last: &Array,
    ) -> Result<Chosen> {
        let (recent, uniform) = self.inputs(before, last)?;
        let chosen = self.choose.call((logits, &recent, &uniform));
        let (token, number) = chosen.map_err(|error| Error::model(mlx::Error::from(error)))?;
        Ok(Chosen { token, number })
    }

    /// Returns what a choice after the tokens `before` and then `last` needs beside logits: recent tokens and a random number.
    ///
    /// # Errors
    /// [`Error::Model`] when an operation cannot be applied.
    pub(super) fn inputs(&mut self, before: &[u32], last: &Array) -> Result<(Array, Array)> {
        let uniform = match self.options.temperature == 0.0 {
            true => 0.0,
            false => self.random.next_f64(),
        };
        Ok((self.recent(before, last)?, Array::scalar(uniform as f32)))
    }

    /// The last tokens, `[1, window]`: one graph serves all steps. Where there are fewer, the last one is repeated.
    fn recent(&self, before: &[u32], last: &Array) -> Result<Array> {
        let Some(n) = self.window.checked_sub(1) else {
            return Array::from_slice::<u32>(&[], [1, 0]).map_err(Error::model);
        };
        let known = before.get(before.len().saturating_sub(n)..).unwrap_or(&[]);
        let axis = i32::try_from(known.len()).unwrap_or(i32::MAX);
        let missing = i32::try_from(n - known.len()).unwrap_or(i32::MAX);
        let known = Array::from_slice(known, [1, axis]).map_err(Error::model)?;
        let repeated = last.broadcast_to([1, missing + 1]);
        Ok(mlx::concatenate([&known, &repeated], 1))
    }
}

/// Returns the token as `[1, 1]` and as the number to be read.
pub(super) fn choose(
    options: &SamplingOptions,
    logits: &Array,
    recent: &Array,
    uniform: &Array,
) -> mlx::Result<(Array, Array)> {
    let logits = logits.astype(Dtype::Float32);
    let is_nan = logits.isnan().any(());
    let logits = penalized(options, &logits, recent)?;
    let token = if options.temperature == 0.0 {
        logits.argmax(-1)
    } else {
        drawn(options, &logits, uniform)?
    };
    let token = token.astype(Dtype::Uint32).reshape([1, 1]);
    let number = mlx::where_(&is_nan, Array::scalar(NAN), &token);
    Ok((token, number))
}

/// Divides the positive logits of recent tokens and multiplies the negative ones.
fn penalized(options: &SamplingOptions, logits: &Array, recent: &Array) -> mlx::Result<Array> {
    if options.repetition_penalty == 1.0 || recent.dim(1)? == 0 {
        return Ok(logits.clone());
    }
    let penalty = options.repetition_penalty;
    let old = logits.take_along_axis(recent, 1);
    let new = mlx::where_(old.greater(0.0), &old / penalty, &old * penalty);
    Ok(logits.put_along_axis(recent, &new, 1))
}

/// Whether some tokens are never drawn.
fn has_filters(options: &SamplingOptions) -> bool {
    options.top_p < 1.0 || options.min_p > 0.0 || options.top_k > 0
}

/// Draws by the sums of probabilities: in the order of tokens, or of the likelier first where some are left out.
fn drawn(options: &SamplingOptions, logits: &Array, uniform: &Array) -> mlx::Result<Array> {
    if !has_filters(options) {
        let weights = ((logits - logits.max(-1).expand_dims(-1)) / options.temperature).exp();
        return first_beyond(&weights, uniform);
    }
    let order = (-logits).argsort(-1);
    let sorted = logits.take_along_axis(&order, 1);
    let best = sorted.i((.., ..1));
    let shares = (&sorted - &best).exp();
    let sums = shares.cumsum(1);
    let last = sums.dim(1)?;
    let wanted = sums.i((.., last - 1..)) * options.top_p;
    let mut kept = mlx::iota(last).reshape([1, -1]).less(1);
    let mut wants = (&sums - &shares).less(&wanted);
    if options.min_p > 0.0 {
        wants = wants.logical_and(shares.greater_equal(options.min_p));
    }
    if options.top_k > 0 {
        let k = i32::try_from(options.top_k).unwrap_or(i32::MAX);
        wants = wants.logical_and(mlx::iota(last).reshape([1, -1]).less(k));
    }
    kept = kept.logical_or(wants);
    let weights = ((&sorted - &best) / options.temperature).exp();
    let weights = mlx::where_(&kept, &weights, 0.0);
    let place = first_beyond(&weights, uniform)?;
    Ok(order.take_along_axis(&place.reshape([1, 1]), 1))
}

/// The first place where the sum of weights passes `uniform` of the whole; the last with a weight where rounding leaves none.
fn first_beyond(weights: &Array, uniform: &Array) -> mlx::Result<Array> {
    let sums = weights.cumsum(1);
    let last = sums.dim(1)?;
    let whole = sums.i((.., last - 1..));
    let is_below = sums.less_equal(&whole * uniform);
    let is_whole = sums.greater_equal(&whole);
    // A place behind the sum's last growth has no weight.
    let count = |which: Array| which.astype(Dtype::Int32).sum(-1);
    let most = -count(is_whole) + last;
    Ok(count(is_below).minimum(most))
}
