//! The network as a [`Model`] and its decoding state as a [`Session`].

use mlx::Array;

use super::Network;
use super::cache::Cache;
use crate::axis_size::axis_size;
use crate::kv_cache::LayerKvCache;
use crate::whisper::{Config, Logits, Mel, Model, Session};
use crate::{Error, Result};

/// The encoder's output for a window: keys and values of cross-attention for every decoder layer.
pub struct Features {
    encoder_kv: Vec<LayerKvCache>,
}

/// The decoding state of one window.
pub struct DecoderSession<'a> {
    network: &'a Network,
    cache: Cache,
}

/// The former name of [`DecoderSession`].
#[deprecated(note = "renamed to DecoderSession")]
pub type Writing<'a> = DecoderSession<'a>;

impl Model for Network {
    type Features = Features;
    type Session<'a> = DecoderSession<'a>;

    fn config(&self) -> &Config {
        &self.config
    }

    fn encode(&self, mel: &Mel) -> Result<Features> {
        let shape = [1, axis_size(mel.frames()), axis_size(mel.n_mels())];
        let mel = Array::from_slice(mel.data(), shape).map_err(Error::model)?;
        let encoder_kv = self.encoder_kv(&mel).map_err(Error::model)?;
        mlx::eval(encoder_kv.iter().flat_map(|(keys, values)| [keys, values]))
            .map_err(Error::model)?;
        Ok(Features { encoder_kv })
    }

    fn start<'a>(&'a self, features: &'a Features) -> Result<DecoderSession<'a>> {
        let cache = Cache::new(&features.encoder_kv, self.decoder.capacity(), self.dtype)?;
        Ok(DecoderSession {
            network: self,
            cache,
        })
    }
}

impl Network {
    /// Returns the cross-attention weights of tokens over the audio, `[layers, heads, tokens, n_audio_ctx]`.
    ///
    /// Rows sum to 1, and a position of the audio is 20 ms. `tokens` is a whole text with its start token.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens or they do not fit, [`Error::Model`] when MLX fails.
    pub fn cross_attention(&self, features: &Features, tokens: &[u32]) -> Result<Array> {
        let length = axis_size(tokens.len());
        if length == 0 {
            return Err(Error::Decoding(
                "cross_attention: wanted tokens, got none".into(),
            ));
        }
        let cache = Cache::new(&features.encoder_kv, self.decoder.capacity(), self.dtype)?;
        cache.check_capacity(length)?;
        let tokens = Array::from_slice(tokens, [1, length]).map_err(Error::model)?;
        let weights = self
            .decoder
            .cross_attention_weights(&tokens, cache.layers)
            .map_err(Error::model)?;
        mlx::concatenate(&weights, 0)
            .checked()
            .map_err(Error::model)
    }
}

impl Session for DecoderSession<'_> {
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits> {
        let tokens =
            Array::from_slice(tokens, [1, axis_size(tokens.len())]).map_err(Error::model)?;
        let positions: Vec<i32> = positions
            .iter()
            .map(|&position| axis_size(position))
            .collect();
        let positions =
            Array::from_slice(&positions, [axis_size(positions.len())]).map_err(Error::model)?;
        self.logits(&tokens, Some(&positions))
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits> {
        let tokens =
            Array::from_slice(tokens, [axis_size(tokens.len()), 1]).map_err(Error::model)?;
        self.logits(&tokens, None)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        let rows: Vec<i32> = rows.iter().map(|&row| axis_size(row)).collect();
        let rows = Array::from_slice(&rows, [axis_size(rows.len())]).map_err(Error::model)?;
        self.cache.select(&rows)
    }
}

impl DecoderSession<'_> {
    fn logits(&mut self, tokens: &Array, positions: Option<&Array>) -> Result<Logits> {
        let length = tokens.dim(1).map_err(Error::model)?;
        self.cache.check_capacity(length)?;
        let start = self.cache.n_tokens();
        // Taken out, because MLX writes in place only where there is no other reference.
        let layers = std::mem::take(&mut self.cache.layers);
        let (scores, layers) = self
            .network
            .score(tokens, positions, layers, start)
            .map_err(Error::model)?;
        self.cache.layers = layers;
        self.cache.advance(length);
        let scores = scores.astype(mlx::Dtype::Float32);
        // The cache too: left lazy, the graph would grow with each step.
        mlx::eval(self.cache.tokens().chain([&scores])).map_err(Error::model)?;
        let n_vocab = self.network.config.n_vocab;
        Logits::new(scores.to_vec::<f32>().map_err(Error::model)?, n_vocab)
    }
}
