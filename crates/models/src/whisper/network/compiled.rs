//! How do encoder and decoder run as graphs that are traced once?

use mlx::Array;
use mlx::fast::Offset;
use mlx_compiler::{CompileOptions, Jit, Report, jit_with};

use super::Network;
use super::attention::KeyValue;
use super::cache::LayerCache;

type Encode = Box<dyn Fn(&Array) -> Vec<KeyValue>>;
type Score = Box<
    dyn Fn(&Array, &Option<Array>, &Vec<LayerCache>, &Array) -> mlx::Result<(Array, Vec<KeyValue>)>,
>;

/// A network whose halves are compiled.
///
/// The position of the first token is an array, so that the graph of a step holds for all positions.
pub(super) struct Compiled {
    encode: Jit<(Array,), Encode>,
    score: Jit<(Array, Option<Array>, Vec<LayerCache>, Array), Score>,
}

impl Compiled {
    pub(super) fn new(network: &Network, options: CompileOptions) -> Self {
        let encoder = network.clone();
        let encode: Encode = Box::new(move |mel| encoder.decoder.sound(&encoder.encode_array(mel)));
        let decoder = network.decoder.clone();
        let score: Score = Box::new(move |tokens, positions, layers, start| {
            let start = Offset::Array(start.clone());
            let (scores, layers) =
                decoder.forward(tokens, positions.as_ref(), layers.clone(), &start)?;
            // Keys and values of the sound do not change: they stay with the caller.
            Ok((
                scores,
                layers.into_iter().map(|layer| layer.tokens).collect(),
            ))
        });
        Self {
            encode: jit_with(encode, options.clone()),
            score: jit_with(score, options),
        }
    }

    pub(super) fn hear(&self, mel: &Array) -> mlx::Result<Vec<KeyValue>> {
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
            layer.tokens = tokens;
        }
        Ok((scores, layers))
    }

    pub(super) fn report(&self) -> Option<Report> {
        let mut report = self.encode.report()?;
        report.extend(&self.score.report()?);
        Some(report)
    }
}
