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

use std::path::Path;
use std::rc::Rc;

use mlx::fast::Offset;
use mlx::{Array, Dtype};
use mlx_compiler::{CompileOptions, Profile, Report};
use mlx_nn::{FastOps, Init, Module, WeightMap};

#[allow(deprecated)]
pub use session::Writing;
pub use session::{DecoderSession, Features};

use cache::{Cache, LayerCache};
use compiled::Compiled;
use decoder::Decoder;
use encoder::Encoder;

use super::Config;
use crate::kv_cache::LayerKvCache;
use crate::weights::{
    Dtype as Stored, RawTensor, Request, Unused, Weights, contiguous, load_weights,
};
use crate::{Error, Result};

/// Whisper's encoder and decoder with their weights. Cloning shares the weights.
#[derive(Clone, Module)]
pub struct Network {
    #[module(static)]
    config: Config,
    #[module(rename = "model.encoder")]
    encoder: Encoder,
    #[module(rename = "model.decoder")]
    decoder: Decoder,
    #[module(static)]
    dtype: Dtype,
    /// Encoder and decoder as graphs that are traced once, when that was asked for.
    #[module(skip)]
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
        let is_unused =
            |tensor: &RawTensor| tensor.is_foreign() && !wanted.contains_key(&tensor.name);
        let is_cpu = mlx::Device::current().map_err(Error::model)? == mlx::Device::Cpu;
        let requests: Vec<Request> = weights
            .iter()
            .filter(|tensor| !is_unused(tensor))
            .map(|tensor| Request {
                dtype: load_dtype(tensor, dtype, is_cpu),
                tensor: tensor.clone(),
            })
            .collect();
        let is_contiguous = is_cpu && requests.iter().all(Request::is_direct);
        let mut map = match is_contiguous {
            true => contiguous(requests)?,
            false => one_by_one(&requests)?,
        };
        // Convolutions are [out, in, width] in the file and [out, width, in] in MLX.
        for (name, array) in &mut map {
            if name.contains(".conv") && array.ndim().map_err(Error::model)? == 3 {
                *array = array.swapaxes(1, 2).contiguous();
            }
        }
        load_weights(&mut network, map, Unused::Refuse)?;
        if !is_contiguous {
            network.compact().map_err(Error::model)?;
        }
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

    /// Traces the encoder on a window and the decoder on one token, and returns what the compiler makes of both: the
    /// first part is the encoder's. Nothing is run, except what depends on no input.
    ///
    /// # Errors
    /// When the library cannot be loaded, or the options ask for what the network does not allow.
    pub fn trace_report(&self, options: CompileOptions) -> Result<Report> {
        let (mel, cache) = self.example_inputs()?;
        Compiled::new(self, options)
            .trace_report(&mel, &cache.layers)
            .map_err(Error::model)
    }

    /// Writes the encoder and the decoder of one token to files that need no trace: see
    /// [`save_functions`](crate::whisper::save_functions).
    pub(super) fn save(&self, encoder: &Path, decoder: &Path) -> Result<()> {
        let (mel, cache) = self.example_inputs()?;
        Compiled::new(self, CompileOptions::default())
            .save(&mel, &cache.layers, [encoder, decoder])
            .map_err(Error::model)
    }

    /// Measures the encoder on a window, and the decoder on one token, compiled: see [`Jit::profile`](mlx_compiler::Jit::profile).
    ///
    /// # Errors
    /// When the network cannot be compiled or run, and on other devices than the CPU.
    pub fn profile(&self, options: CompileOptions) -> Result<(Profile, Profile)> {
        let (mel, cache) = self.example_inputs()?;
        mlx::eval(&cache.layers).map_err(Error::model)?;
        Compiled::new(self, options)
            .profile(&mel, &cache.layers)
            .map_err(Error::model)
    }

    /// Returns a window of silence, and a cache of it for all tokens of a text.
    fn example_inputs(&self) -> Result<(Array, Cache)> {
        let size = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let frames = size(2 * self.config.n_audio_ctx);
        let mel = mlx::zeros_with([1, frames, size(self.config.n_mels)], Dtype::Float32);
        let encoder_kv = self.decoder.encoder_kv(&self.encode_array(&mel));
        let cache = Cache::new(&encoder_kv, size(self.config.n_text_ctx), self.dtype)?;
        Ok((mel, cache))
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

/// Returns weights by their names, each in an array of its own.
fn one_by_one(requests: &[Request]) -> Result<WeightMap> {
    let load = |Request { tensor, dtype }: &Request| {
        let array = tensor.to_array()?;
        Ok((tensor.name.clone(), array.astype(*dtype)))
    };
    requests.iter().map(load).collect()
}

/// Returns the compute dtype, or a weight's stored half precision where a kernel reads that directly.
///
/// The decoder runs one position at a time and is limited by reading its matrices from memory.
fn load_dtype(tensor: &RawTensor, dtype: Dtype, is_cpu: bool) -> Dtype {
    let name = &tensor.name;
    let is_matrix = name.starts_with("model.decoder.") && tensor.shape.len() == 2;
    let may_stay =
        is_matrix && !name.contains("embed_positions") && dtype == Dtype::Float32 && is_cpu;
    match tensor.dtype {
        Stored::F16 if may_stay => Dtype::Float16,
        Stored::BF16 if may_stay => Dtype::Bfloat16,
        _ => dtype,
    }
}
