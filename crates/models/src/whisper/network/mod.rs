//! Whisper's network on MLX, the implementation of [`Model`](super::Model).
//!
//! The encoder runs once for a window of log-mel features; the decoder returns the logits of the next token.
//! Weights have Hugging Face's names. Every norm and attention goes through [`FastOps`], so that one set of weights
//! runs with composed formulas or with fused kernels.

mod attention;
mod cache;
mod compiled;
mod decoder;
mod encoder;
mod session;

use std::rc::Rc;

use mlx::fast::Offset;
use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, Report};
use mlx_nn::{FastOps, Init, Module, ParameterVisitor, WeightMap};

#[allow(deprecated)]
pub use session::Writing;
pub use session::{DecoderSession, Features};

use cache::LayerCache;
use compiled::Compiled;
use decoder::Decoder;
use encoder::Encoder;

use super::Config;
use crate::kv_cache::LayerKvCache;
use crate::weights::{RawTensor, Unused, Weights, load_weights};
use crate::{Error, Result};

/// Whisper's encoder and decoder with their weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Network {
    config: Config,
    encoder: Encoder,
    decoder: Decoder,
    dtype: Dtype,
    /// Encoder and decoder as graphs that are traced once, when that was asked for.
    compiled: Option<Rc<Compiled>>,
}

impl Network {
    /// Builds the network from weights with Hugging Face's names, computing in `dtype`.
    ///
    /// Use `float32` on the CPU: MLX computes half precision there about thirty times slower.
    /// # Errors
    /// [`Error::Weights`] when a weight is missing, has the wrong shape, or is not one of Whisper's.
    pub fn new(config: Config, weights: &Weights, dtype: Dtype) -> Result<Self> {
        let mut init = Init::zeros();
        let mut network = Self {
            config,
            encoder: Encoder::new(&config, &mut init),
            decoder: Decoder::new(&config, &mut init),
            dtype,
            compiled: None,
        };
        let wanted = network.parameters();
        let mut map = WeightMap::new();
        let is_unused =
            |tensor: &RawTensor| tensor.is_foreign() && !wanted.contains_key(&tensor.name);
        for tensor in weights.iter().filter(|tensor| !is_unused(tensor)) {
            let array = tensor.to_array()?;
            // Convolutions are [out, in, width] in the file and [out, width, in] in MLX.
            let is_convolution = tensor.name.contains(".conv") && tensor.shape.len() == 3;
            let array = if is_convolution {
                array.swapaxes(1, 2).contiguous()
            } else {
                array
            };
            map.insert(
                tensor.name.clone(),
                in_compute_dtype(&tensor.name, array, dtype)?,
            );
        }
        load_weights(&mut network, map, Unused::Refuse)?;
        network.compact().map_err(Error::model)?;
        Ok(network)
    }

    /// Returns the dtype the network computes in.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns the network with composed formulas or with fused kernels; the weights are shared.
    #[must_use]
    pub fn with_kernels(&self, kernels: FastOps) -> Self {
        let mut network = self.clone();
        network.set_kernels(kernels);
        network
    }

    /// Returns the network compiled: encoder and decoder are traced once for each kind of input and then replayed.
    ///
    /// Formulas that the options name are recognized, whatever [`FastOps`] the network is written with; the weights are
    /// shared.
    #[must_use]
    pub fn compiled(&self, options: CompileOptions) -> Self {
        let mut network = self.clone();
        network.compiled = Some(Rc::new(Compiled::new(self, options)));
        network
    }

    /// Returns what the compiler made of the encoder and of the last form of the decoder, once they have run.
    pub fn report(&self) -> Option<Report> {
        self.compiled.as_ref()?.report()
    }

    /// Maps log-mel features to the keys and values of cross-attention, for every layer of the decoder.
    fn encoder_kv(&self, mel: &Array) -> mlx::Result<Vec<LayerKvCache>> {
        match &self.compiled {
            Some(compiled) => compiled.encode(mel),
            None => Ok(self.decoder.encoder_kv(&self.encode_array(mel))),
        }
    }

    /// Runs tokens, the first at position `start`, and returns logits and the updated caches.
    fn score(
        &self,
        tokens: &Array,
        positions: Option<&Array>,
        layers: Vec<LayerCache>,
        start: i32,
    ) -> mlx::Result<(Array, Vec<LayerCache>)> {
        match &self.compiled {
            Some(compiled) => compiled.score(tokens, positions, layers, start),
            None => self
                .decoder
                .forward(tokens, positions, layers, &Offset::Int(start)),
        }
    }

    /// Maps log-mel features `[batch, frames, n_mels]` to `[batch, n_audio_ctx, n_audio_state]`.
    #[track_caller]
    pub fn encode_array(&self, mel: &Array) -> Array {
        self.encoder.forward(&mel.astype(self.dtype))
    }
}

/// Returns a weight in the compute dtype, or in its stored half precision where a kernel reads that directly.
///
/// The decoder runs one position at a time and is limited by reading its matrices from memory.
fn in_compute_dtype(name: &str, array: Array, dtype: Dtype) -> Result<Array> {
    let stored = array.array_type().map_err(Error::model)?;
    let is_matrix = name.starts_with("model.decoder.") && stored.shape.len() == 2;
    let keeps_half = is_matrix
        && !name.contains("embed_positions")
        && dtype == Dtype::Float32
        && matches!(stored.dtype, Dtype::Float16 | Dtype::Bfloat16)
        && mlx::Device::current().map_err(Error::model)? == mlx::Device::Cpu;
    Ok(if keeps_half {
        array
    } else {
        array.astype(dtype)
    })
}

impl Module for Network {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("model.encoder", &mut self.encoder);
        visitor.module("model.decoder", &mut self.decoder);
    }
}
