//! Encoder and decoder as compiled graphs that are traced once.

use std::path::Path;

use mlx::fast::Offset;
use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, Jit, Profile, Report, jit_with};

use super::Network;
use super::cache::LayerCache;
use crate::kv_cache::LayerKvCache;

/// Tokens, their positions, the caches of the layers, the position of the first token.
type ScoreInputs = (Array, Option<Array>, Vec<LayerCache>, Array);
type ScoresAndCache = (Array, Vec<LayerKvCache>);

/// The compiled encoder and decoder of a network.
///
/// The position of the first token is an array, so that the graph of a step holds for all positions.
pub(super) struct Compiled {
    encode: Jit<'static, (Array,), Vec<LayerKvCache>>,
    score: Jit<'static, ScoreInputs, ScoresAndCache>,
}

impl Compiled {
    pub(super) fn new(network: &Network, options: CompileOptions) -> Self {
        let encoder = network.clone();
        let encode = move |mel: &Array| encoder.decoder.encoder_kv(&encoder.encode_array(mel));
        let decoder = network.decoder.clone();
        let score = move |tokens: &Array,
                          positions: &Option<Array>,
                          layers: &Vec<LayerCache>,
                          start: &Array| {
            let start = Offset::Array(start.clone());
            let (scores, layers) =
                decoder.forward(tokens, positions.as_ref(), layers.clone(), &start)?;
            // Keys and values of the encoder do not change: the caller keeps them.
            let layers: Vec<LayerKvCache> =
                layers.into_iter().map(|layer| layer.token_kv).collect();
            Ok::<_, mlx::Error>((scores, layers))
        };
        Self {
            encode: jit_with(encode, options.clone()),
            score: jit_with(score, options),
        }
    }

    pub(super) fn encode(&self, mel: &Array) -> mlx::Result<Vec<LayerKvCache>> {
        Ok(self.encode.call(mel)?)
    }

    pub(super) fn score(
        &self,
        tokens: &Array,
        positions: Option<&Array>,
        mut layers: Vec<LayerCache>,
        start: i32,
    ) -> mlx::Result<(Array, Vec<LayerCache>)> {
        let (positions, start) = (positions.cloned(), Array::scalar(start));
        let (scores, tokens) = self.score.call((tokens, &positions, &layers, &start))?;
        for (layer, tokens) in layers.iter_mut().zip(tokens) {
            layer.token_kv = tokens;
        }
        Ok((scores, layers))
    }

    /// Traces encoder and one step of the decoder, without running them, and returns what the compiler made of both.
    pub(super) fn trace_report(
        &self,
        mel: &Array,
        layers: &Vec<LayerCache>,
    ) -> mlx::Result<Report> {
        let (token, start) = (mlx::zeros_with([1, 1], Dtype::Int32), Array::scalar(0));
        let mut report = self.encode.lower(mel)?.report().clone();
        let step = self.score.lower((&token, &None, layers, &start))?;
        report.extend(step.report());
        Ok(report)
    }

    /// Measures the encoder and one step of the decoder.
    pub(super) fn profile(
        &self,
        mel: &Array,
        layers: &Vec<LayerCache>,
    ) -> mlx::Result<(Profile, Profile)> {
        let (token, start) = (mlx::zeros_with([1, 1], Dtype::Int32), Array::scalar(0));
        let encoder = self.encode.profile(mel)?;
        let step = self.score.profile((&token, &None, layers, &start))?;
        Ok((encoder, step))
    }

    /// Writes the encoder, and the decoder of one token, as functions.
    pub(super) fn save(
        &self,
        mel: &Array,
        layers: &Vec<LayerCache>,
        [encoder, decoder]: [&Path; 2],
    ) -> mlx::Result<()> {
        let (token, start) = (mlx::zeros_with([1, 1], Dtype::Int32), Array::scalar(0));
        self.encode.lower(mel)?.save(encoder)?;
        let step = self.score.lower((&token, &None, layers, &start))?;
        Ok(step.save(decoder)?)
    }

    pub(super) fn report(&self) -> Option<Report> {
        let mut report = self.encode.report()?;
        report.extend(&self.score.report()?);
        Some(report)
    }
}
