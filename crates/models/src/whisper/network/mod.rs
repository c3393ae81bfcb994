//! How does Whisper turn features of sound into scores of tokens?
//!
//! The implementation of [`Model`](super::Model) on MLX.
//! An encoder reads a window of log-mel features once; a decoder reads the tokens so far and scores the next one.
//! Weights have Hugging Face's names. Every norm and attention goes through [`Kernels`], so that one set of weights
//! runs with composed formulas or with fused kernels.

mod attention;
mod cache;
mod decoder;
mod encoder;
mod session;

use mlx::{Array, Dtype};
use mlx_nn::{Init, Kernels, Module, Parts, WeightMap};

pub use session::{Features, Writing};

use decoder::Decoder;
use encoder::Encoder;

use super::Config;
use crate::weights::Weights;
use crate::{Error, Result};

/// Whisper's encoder and decoder with their weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Network {
    config: Config,
    encoder: Encoder,
    decoder: Decoder,
    dtype: Dtype,
}

impl Network {
    /// Builds the network from weights with Hugging Face's names, computing in `dtype`.
    ///
    /// On the CPU use `float32`: MLX computes half precision there some thirty times slower.
    /// # Errors
    /// [`Error::Weights`] when a weight is missing, has the wrong shape, or is not one of Whisper's.
    pub fn new(config: Config, weights: &Weights, dtype: Dtype) -> Result<Self> {
        let mut init = Init::zeros();
        let mut network = Self {
            config,
            encoder: Encoder::new(&config, &mut init),
            decoder: Decoder::new(&config, &mut init),
            dtype,
        };
        let mut map = WeightMap::new();
        for tensor in weights.iter() {
            let array = tensor.to_array()?;
            // Convolutions are [out, in, width] in the file and [out, width, in] in MLX.
            let is_convolution = tensor.name.contains(".conv") && tensor.shape.len() == 3;
            let array = if is_convolution {
                array.swapaxes(1, 2).contiguous()
            } else {
                array
            };
            map.insert(tensor.name.clone(), array.astype(dtype));
        }
        network
            .load(map)
            .require_exact()
            .map_err(|error| Error::Weights(error.to_string()))?;
        mlx::eval(network.parameters().values()).map_err(Error::model)?;
        Ok(network)
    }

    /// Returns the dtype the network computes in.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns the network with composed formulas or with fused kernels; the weights are shared.
    #[must_use]
    pub fn with_kernels(&self, kernels: Kernels) -> Self {
        let mut network = self.clone();
        network.set_kernels(kernels);
        network
    }

    /// Maps log-mel features `[batch, frames, n_mels]` to `[batch, n_audio_ctx, n_audio_state]`.
    #[track_caller]
    pub fn encode_array(&self, mel: &Array) -> Array {
        self.encoder.forward(&mel.astype(self.dtype))
    }
}

impl Module for Network {
    fn parts<'a>(&'a mut self, parts: &mut Parts<'a>) {
        parts.module("model.encoder", &mut self.encoder);
        parts.module("model.decoder", &mut self.decoder);
    }
}
