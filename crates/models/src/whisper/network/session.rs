//! How does the network plug into decoding?

use mlx::Array;

use super::attention::KeyValue;
use super::cache::Cache;
use super::{Network, encoder::size};
use crate::whisper::{Config, Logits, Mel, Model, Session};
use crate::{Error, Result};

/// What the encoder makes of a window: keys and values of the sound for every decoder layer.
pub struct Features {
    sound: Vec<KeyValue>,
}

/// The state of writing one window's text.
pub struct Writing<'a> {
    network: &'a Network,
    cache: Cache,
}

impl Model for Network {
    type Features = Features;
    type Session<'a> = Writing<'a>;

    fn config(&self) -> &Config {
        &self.config
    }

    fn encode(&self, mel: &Mel) -> Result<Features> {
        let shape = [1, size(mel.frames()), size(mel.n_mels())];
        let mel = Array::from_slice(mel.data(), shape).map_err(Error::model)?;
        let sound = self.hear(&mel).map_err(Error::model)?;
        mlx::eval(sound.iter().flat_map(|(keys, values)| [keys, values])).map_err(Error::model)?;
        Ok(Features { sound })
    }

    fn start<'a>(&'a self, features: &'a Features) -> Result<Writing<'a>> {
        let cache = Cache::new(&features.sound, self.decoder.capacity(), self.dtype)?;
        Ok(Writing {
            network: self,
            cache,
        })
    }
}

impl Network {
    /// Returns how much each token looks at each place of the sound, `[layers, heads, tokens, n_audio_ctx]`: rows sum to
    /// 1, and a place is 20 ms. `tokens` is a whole text from its start token on.
    ///
    /// # Errors
    /// [`Error::Decoding`] when there are no tokens or they do not fit, [`Error::Model`] when MLX fails.
    pub fn cross_attention(&self, features: &Features, tokens: &[u32]) -> Result<Array> {
        let length = size(tokens.len());
        if length == 0 {
            return Err(Error::Decoding(
                "cross_attention: wanted tokens, got none".into(),
            ));
        }
        let cache = Cache::new(&features.sound, self.decoder.capacity(), self.dtype)?;
        cache.check_room(length)?;
        let tokens = Array::from_slice(tokens, [1, length]).map_err(Error::model)?;
        let looks = self
            .decoder
            .looks(&tokens, cache.layers)
            .map_err(Error::model)?;
        mlx::concatenate(&looks, 0).checked().map_err(Error::model)
    }
}

impl Session for Writing<'_> {
    fn prompt(&mut self, tokens: &[u32], positions: &[usize]) -> Result<Logits> {
        let tokens = Array::from_slice(tokens, [1, size(tokens.len())]).map_err(Error::model)?;
        let positions: Vec<i32> = positions.iter().map(|&position| size(position)).collect();
        let positions =
            Array::from_slice(&positions, [size(positions.len())]).map_err(Error::model)?;
        self.logits(&tokens, Some(&positions))
    }

    fn step(&mut self, tokens: &[u32]) -> Result<Logits> {
        let tokens = Array::from_slice(tokens, [size(tokens.len()), 1]).map_err(Error::model)?;
        self.logits(&tokens, None)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        let rows: Vec<i32> = rows.iter().map(|&row| size(row)).collect();
        let rows = Array::from_slice(&rows, [size(rows.len())]).map_err(Error::model)?;
        self.cache.select(&rows)
    }
}

impl Writing<'_> {
    fn logits(&mut self, tokens: &Array, positions: Option<&Array>) -> Result<Logits> {
        let length = tokens.dim(1).map_err(Error::model)?;
        self.cache.check_room(length)?;
        let start = self.cache.n_tokens();
        // Without a second owner, MLX may write into the memory of the old arrays.
        let layers = std::mem::take(&mut self.cache.layers);
        let (scores, layers) = self
            .network
            .score(tokens, positions, layers, start)
            .map_err(Error::model)?;
        self.cache.layers = layers;
        self.cache.advance(length);
        let scores = scores.astype(mlx::Dtype::Float32);
        // The cache too: left lazy, each step would drag the whole history along.
        mlx::eval(self.cache.tokens().chain([&scores])).map_err(Error::model)?;
        let n_vocab = self.network.config.n_vocab;
        Logits::new(scores.to_vec::<f32>().map_err(Error::model)?, n_vocab)
    }
}
