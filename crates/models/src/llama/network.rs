//! The network of the Llama family: the logits of the next token.
//!
//! ```text
//! x = embed(tokens)
//! for each layer:
//!     x = x + attention(rms_norm(x))
//!     x = x + down(silu(gate(rms_norm(x))) * up(rms_norm(x)))
//! logits = lm_head(rms_norm(x))
//! ```
//!
//! [`FastOps`] computes norms, rotary embeddings, attention and activations, by composed formulas or fused kernels.

use std::ops::Range;
use std::rc::Rc;

use mlx::distributed::Group;
use mlx::fast::{Offset, RopeFrequencies, RopeOptions};
use mlx::{Array, Dtype, Size};
use mlx_compiler::{CompileOptions, Profile, Report};
use mlx_nn::{Activations, FastOps, Module, RmsNorm};

use super::checkpoint::Checkpoint;
use super::compiled::Compiled;
use super::config::Config;
use super::layers::{Layer, LayerBuilder, Positions, named};
use super::pipeline::Stage;
use super::quantizable::{EmbeddingTable, LinearLayer};
use super::shard;
use super::weight_store::WeightStore;
use crate::axis_size::axis_size;
use crate::kv_cache::{KvQuantization, LayerKvCache};
use crate::weights::{Unused, load_weights};
use crate::{Error, Result};

/// The former name of [`LayerKvCache`].
#[deprecated(note = "renamed to LayerKvCache")]
pub type KeyValue = LayerKvCache;

/// The group size of mlx_lm.
const KV_GROUP_SIZE: i32 = 64;

/// Options of building a network from its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The dtype of activations and scales; by default `float16` on a GPU and `float32` on the CPU.
    pub dtype: Option<Dtype>,
    /// Whether matrices are dequantized when they are loaded: faster on a CPU, with several times the memory.
    pub unpacked: bool,
    /// How quantized matrices take their input: [`Activations::Int8`] makes decoding on the CPU faster and rounds, so that
    /// the text may become another one. It is refused on a GPU, and for matrices of other than 4 or 8 bits.
    pub activations: Activations,
    /// In how many bits keys and values are cached: 8, or `None` for the dtype of activations. Less than a third of the memory of
    /// `float32`, and the text may become another one.
    pub kv_bits: Option<i32>,
    /// How many numbers of a key or value in 8 bits share a scale and a bias: 32, 64 or 128, and a divisor of `head_dim`; 64
    /// by default.
    pub kv_group_size: i32,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            dtype: None,
            unpacked: false,
            activations: Activations::default(),
            kv_bits: None,
            kv_group_size: KV_GROUP_SIZE,
        }
    }
}

/// A model of the Llama family with its weights. Cloning shares the weights.
#[derive(Clone, Module)]
pub struct Network {
    #[module(static)]
    config: Config,
    #[module(rename = "model.embed_tokens")]
    embed_tokens: EmbeddingTable,
    #[module(rename = "model.layers")]
    layers: Vec<Layer>,
    #[module(rename = "model.norm")]
    norm: RmsNorm,
    /// `None` where the embedding table also computes the logits.
    lm_head: Option<LinearLayer>,
    /// The reciprocals of the angles, in radians, that pairs of features rotate by for each position, `[head_dim / 2]`.
    #[module(skip)]
    rope_freqs: Array,
    #[module(static)]
    dtype: Dtype,
    /// How many heads of keys and values this rank has, of a network over several.
    #[module(static)]
    kv_heads: usize,
    /// Which layers this rank has, of a network over several by layers.
    #[module(static)]
    stage: Option<Stage>,
    /// How new caches are quantized.
    #[module(skip)]
    kv_quantization: Option<KvQuantization>,
    /// The compiled network, one graph for each number of tokens, when that was asked for.
    #[module(skip)]
    compiled: Option<Rc<Compiled>>,
}

impl Network {
    /// Builds the network of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Weights`] when a weight is missing, has the wrong shape, or is none of the network's.
    pub fn new(checkpoint: &Checkpoint, options: &NetworkOptions) -> Result<Self> {
        Self::from_store(checkpoint.config.clone(), &checkpoint.weights, options)
    }

    /// Builds a network from weights under Hugging Face's names.
    ///
    /// # Errors
    /// As for [`Network::new`].
    pub fn from_store(
        config: Config,
        weights: &WeightStore,
        options: &NetworkOptions,
    ) -> Result<Self> {
        let config = config.check()?;
        let dtype = match options.dtype {
            Some(dtype) => dtype,
            None => mlx_nn::preferred_dtype().map_err(Error::model)?,
        };
        if options.activations == Activations::Int8 {
            check_int8(weights, options.unpacked)?;
        }
        // Some files hold the embedding table twice.
        let untied;
        let weights = if config.tie_word_embeddings {
            untied = weights.without_module("lm_head");
            &untied
        } else {
            weights
        };
        let mut network = Self::zeros(config, weights, dtype, options)?;
        let wanted = network.parameters().into_keys().collect();
        let map = weights.to_map(dtype, options.unpacked, &wanted)?;
        load_weights(&mut network, map, Unused::Refuse)?;
        network.compact().map_err(Error::model)?;
        Ok(network)
    }

    /// Returns the network without its weights, quantized where the weights are.
    fn zeros(
        config: Config,
        weights: &WeightStore,
        dtype: Dtype,
        options: &NetworkOptions,
    ) -> Result<Self> {
        let builder = LayerBuilder {
            config: &config,
            weights,
            dequantized: options.unpacked,
            activations: options.activations,
        };
        let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
        let layers = (0..config.num_hidden_layers)
            .map(|index| builder.layer(&format!("model.layers.{index}")))
            .collect::<Result<_>>()?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(builder.linear("lm_head", [vocabulary, hidden], false)?),
        };
        let table = "model.embed_tokens";
        let quantization = builder.quantization(table);
        if lm_head.is_none() {
            builder.check_activations(table, quantization)?;
        }
        let sizes = [axis_size(vocabulary), axis_size(hidden)];
        let embed_tokens = EmbeddingTable::zeros(sizes, quantization).map_err(named(table))?;
        let radians = config.rope.radians_per_position(config.head_dim)?;
        let radians = Array::from_slice(&radians, [axis_size(radians.len())]);
        Ok(Self {
            embed_tokens: embed_tokens.with_activations(options.activations),
            layers,
            norm: builder.norm(hidden),
            lm_head,
            rope_freqs: radians.map_err(Error::model)?.reciprocal(),
            dtype,
            kv_heads: config.num_key_value_heads,
            stage: None,
            kv_quantization: kv_quantization(&config, options.kv_bits, options.kv_group_size)?,
            compiled: None,
            config,
        })
    }

    /// Returns the dimensions.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the dtype of activations.
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

    /// Returns the network with caches of 8 bits in groups of `group_size`, or of the network's dtype for `None`: see
    /// [`NetworkOptions::kv_bits`]. The weights are shared.
    ///
    /// # Errors
    /// [`Error::Config`] for other numbers of bits, or groups that do not divide `head_dim`.
    pub fn with_kv_bits(&self, bits: Option<i32>, group_size: i32) -> Result<Self> {
        let mut network = self.clone();
        network.kv_quantization = kv_quantization(&self.config, bits, group_size)?;
        Ok(network)
    }

    /// Returns the network of which this rank of the group has a share of every layer: its heads and feed-forward features.
    /// Embeddings and norms are on every rank.
    ///
    /// All ranks must call [`Network::forward`] with the same tokens, and get the same logits. The weights of all layers are
    /// about `1 / group.size()` of those of the whole; drop that to have the memory.
    ///
    /// # Errors
    /// When quantized weights cannot be cut where the ranks of the group do, or the network is compiled or has been cut
    /// already.
    pub fn shard(&self, group: &Group) -> Result<Self> {
        if self.compiled.is_some() || self.is_cut() {
            return Err(Error::Config(
                "shard: wanted a whole network that is not compiled".to_owned(),
            ));
        }
        if group.size() == 1 {
            return Ok(self.clone());
        }
        let layers = self.layers.iter();
        let mut network = Self {
            layers: layers
                .map(|layer| layer.shard(&self.config, group))
                .collect::<Result<_>>()?,
            kv_heads: shard::share(self.config.num_key_value_heads, group).len(),
            ..self.clone()
        };
        mlx::eval(&network).map_err(Error::model)?;
        network.compact().map_err(Error::model)?;
        Ok(network)
    }

    /// Returns whether it is a rank's part of one.
    pub(super) fn is_cut(&self) -> bool {
        self.stage.is_some() || self.layers.iter().any(Layer::is_sharded)
    }

    /// Returns the network with some of its layers; the weights are shared.
    pub(super) fn with_layers(&self, range: Range<usize>) -> Self {
        let mut network = self.clone();
        network.config.num_hidden_layers = range.len();
        network.layers = self.layers[range].to_vec();
        network
    }

    pub(super) fn with_stage(mut self, stage: Stage) -> Self {
        self.stage = Some(stage);
        self
    }

    /// Returns the network compiled: it is traced once for each number of tokens in a call, and then replayed.
    ///
    /// Formulas that the options name are recognized in composed networks too; the weights are shared.
    #[must_use]
    pub fn compiled(&self, options: CompileOptions) -> Self {
        let mut network = self.clone();
        network.compiled = Some(Rc::new(Compiled::new(self, options)));
        network
    }

    /// Returns whether it is compiled.
    pub fn is_compiled(&self) -> bool {
        self.compiled.is_some()
    }

    /// Returns what it was compiled with.
    pub(super) fn compile_options(&self) -> Option<CompileOptions> {
        Some(self.compiled.as_ref()?.options().clone())
    }

    /// Returns the compiler's report on the network, once it has run.
    pub fn report(&self) -> Option<Report> {
        self.compiled.as_ref()?.report()
    }

    /// Traces a prompt of 16 tokens and the step after it, and returns what the compiler makes of both. Nothing is run,
    /// except what depends on no input.
    ///
    /// # Errors
    /// When the options ask for what the network does not allow.
    pub fn trace_report(&self, options: CompileOptions) -> mlx::Result<Report> {
        let tokens = |n: i32| mlx::zeros_with([1, n], Dtype::Uint32);
        let cache = self.new_kv_cache(1, 64);
        Compiled::new(self, options).trace_report(&tokens(16), &tokens(1), &cache)
    }

    /// Measures a prompt of 16 tokens and the step after it, compiled, with a cache of 256 positions: see
    /// [`Jit::profile`](mlx_compiler::Jit::profile).
    ///
    /// # Errors
    /// When the network cannot be compiled or run, and on other devices than the CPU.
    pub fn profile(&self, options: CompileOptions) -> mlx::Result<(Profile, Profile)> {
        let tokens = |n: i32| mlx::zeros_with([1, n], Dtype::Uint32);
        let cache = self.new_kv_cache(1, 256);
        Compiled::new(self, options).profile(&tokens(16), &tokens(1), &cache)
    }

    /// Returns empty key-value caches of `capacity` positions, one for each layer: quantized where
    /// [`NetworkOptions::kv_bits`] says so.
    pub fn new_kv_cache(&self, batch: i32, capacity: i32) -> Vec<LayerKvCache> {
        let heads = axis_size(self.kv_heads);
        let dim = axis_size(self.config.head_dim);
        let bytes = self.kv_quantization.and_then(|kv| kv.row_bytes(dim));
        let (size, dtype) = match bytes {
            Some(bytes) => (bytes, Dtype::Uint8),
            None => (dim, self.dtype),
        };
        let empty = || mlx::zeros_with([batch, heads, capacity, size], dtype);
        self.layers.iter().map(|_| (empty(), empty())).collect()
    }

    /// The former name of [`Network::new_kv_cache`].
    #[deprecated(note = "renamed to new_kv_cache")]
    pub fn room(&self, batch: i32, capacity: i32) -> Vec<LayerKvCache> {
        self.new_kv_cache(batch, capacity)
    }

    /// Returns the logits that follow each of the tokens `[batch, length]`, the first at position `start`, as
    /// `[batch, length, vocab_size]`, and the cache with these tokens.
    ///
    /// It is a pure function of arrays and can be traced. With a number for `start`, attention reads the positions
    /// filled so far, and the graph changes from step to step. With an `int32` array it reads the whole cache through
    /// a mask, and one graph serves all steps. A cache of numbers and a quantized one are told apart by their dtype, whatever
    /// the network's options say. The cache is written in place where there is no other reference to it.
    /// Nothing runs until [`eval`](mlx::eval()).
    ///
    /// # Errors
    /// When `tokens` is not `[batch, length]`, the cache is not of this network, or a number `start` exceeds its
    /// capacity; with an array, that is found when the graph runs.
    pub fn forward(
        &self,
        tokens: &Array,
        cache: Vec<LayerKvCache>,
        start: impl Into<Offset>,
    ) -> mlx::Result<(Array, Vec<LayerKvCache>)> {
        let (x, cache) = self.hidden(tokens, cache, start.into())?;
        Ok((self.logits(x), cache))
    }

    /// Like [`Network::forward`], but returns only the logits that follow the last token: `[batch, vocab_size]`.
    ///
    /// # Errors
    /// As for [`Network::forward`].
    pub fn next_token_logits(
        &self,
        tokens: &Array,
        cache: Vec<LayerKvCache>,
        start: impl Into<Offset>,
    ) -> mlx::Result<(Array, Vec<LayerKvCache>)> {
        let start = start.into();
        if let (Some(compiled), Offset::Int(start)) = (&self.compiled, &start) {
            // The graph cannot check this when it is replayed.
            check_capacity(*start, &tokens.axis_size(-1)?, &capacity(&cache)?)?;
            return compiled.next_token_logits(tokens, &cache, *start);
        }
        let (x, cache) = self.hidden(tokens, cache, start)?;
        Ok((self.logits(x.i((.., -1))), cache))
    }

    /// The former name of [`Network::next_token_logits`].
    ///
    /// # Errors
    /// As for [`Network::forward`].
    #[deprecated(note = "renamed to next_token_logits")]
    pub fn next(
        &self,
        tokens: &Array,
        cache: Vec<LayerKvCache>,
        start: impl Into<Offset>,
    ) -> mlx::Result<(Array, Vec<LayerKvCache>)> {
        self.next_token_logits(tokens, cache, start)
    }

    /// The output of the last layer that this rank has, `[batch, length, hidden_size]`.
    fn hidden(
        &self,
        tokens: &Array,
        mut cache: Vec<LayerKvCache>,
        start: Offset,
    ) -> mlx::Result<(Array, Vec<LayerKvCache>)> {
        let shape = tokens.sizes()?;
        let [batch, length] = shape.as_slice() else {
            return Err(wrong(format!(
                "tokens: wanted [batch, length], got {shape:?}"
            )));
        };
        let (wanted, got) = (self.layers.len(), cache.len());
        if got != wanted || got == 0 {
            return Err(wrong(format!(
                "cache: wanted that of {wanted} layers, got {got}"
            )));
        }
        let first = match &start {
            Offset::Int(start) => *start,
            Offset::Array(_) => 0,
        };
        check_capacity(first, length, &capacity(&cache)?)?;
        let positions = self.positions(start);
        let mut x = match &self.stage {
            Some(stage) if !stage.is_first() => {
                let hidden = axis_size(self.config.hidden_size);
                let shape = [batch.fixed(), length.fixed(), hidden];
                stage.receive(shape, self.dtype)
            }
            _ => self.embed_tokens.forward(tokens),
        };
        for (layer, cache) in self.layers.iter().zip(&mut cache) {
            x = layer.forward(&x, &positions, cache)?;
        }
        if let Some(stage) = &self.stage {
            x = stage.pass_on(x);
            // Who evaluates the caches alone sends too: the next rank waits for it.
            if let Some((keys, _)) = cache.last_mut() {
                *keys = mlx::depends(&*keys, &x)?.remove(0);
            }
        }
        Ok((x, cache))
    }

    /// The logits of what the last layer gives.
    fn logits(&self, mut x: Array) -> Array {
        if let Some(stage) = &self.stage {
            x = stage.broadcast(&x);
        }
        let x = self.norm.forward(&x);
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(&x),
            None => self.embed_tokens.as_linear(&x),
        }
    }

    fn positions(&self, start: Offset) -> Positions {
        Positions {
            rope: RopeOptions {
                traditional: self.config.rope.traditional,
                frequencies: RopeFrequencies::Freqs(self.rope_freqs.clone()),
                offset: start.clone(),
                ..RopeOptions::default()
            },
            start,
        }
    }
}

/// Returns an error where no matrix can take its input in 8 bits.
fn check_int8(weights: &WeightStore, unpacked: bool) -> Result<()> {
    let refused = |got| Err(Error::Config(format!("activations int8: {got}")));
    if mlx::Device::current().map_err(Error::model)? == mlx::Device::Gpu {
        return refused("wanted the CPU, got a GPU");
    }
    let modules = weights
        .names()
        .filter_map(|name| name.strip_suffix(".weight"));
    if unpacked
        || modules
            .filter_map(|module| weights.quantization(module))
            .count()
            == 0
    {
        return refused("wanted quantized matrices, got plain ones");
    }
    Ok(())
}

/// Returns how caches are to be quantized, or why they cannot.
fn kv_quantization(
    config: &Config,
    bits: Option<i32>,
    group_size: i32,
) -> Result<Option<KvQuantization>> {
    let Some(bits) = bits else {
        return Ok(None);
    };
    if bits != 8 {
        return Err(Error::Config(format!("kv_bits: wanted 8, got {bits}")));
    }
    let dim = config.head_dim;
    let quantization = KvQuantization { group_size };
    if matches!(group_size, 32 | 64 | 128) && quantization.row_bytes(axis_size(dim)).is_some() {
        return Ok(Some(quantization));
    }
    Err(Error::Config(format!(
        "kv_group_size: wanted 32, 64 or 128, and a divisor of head_dim {dim}, got {group_size}"
    )))
}

/// The number of positions that a cache has memory for.
fn capacity(cache: &[LayerKvCache]) -> mlx::Result<Size> {
    let first = cache.first();
    first.map_or(Ok(0.into()), |(keys, _)| keys.axis_size(2))
}

/// Returns an error when tokens do not fit into a cache.
#[track_caller]
fn check_capacity(start: i32, length: &Size, capacity: &Size) -> mlx::Result<()> {
    if start >= 0 && length + start <= *capacity {
        return Ok(());
    }
    Err(wrong(format!(
        "cache: wanted at most {capacity} positions, got {length} more behind {start}"
    )))
}

#[track_caller]
fn wrong(message: String) -> mlx::Error {
    mlx::Error::op("llama", message)
}
