//! How does a model of the Llama family score the next token?
//!
//! Tokens become vectors; each layer adds to them what attention finds in earlier positions, then what a gated
//! network makes of each position; a last norm and a matrix score every token of the vocabulary:
//!
//! ```text
//! x = embed(tokens)
//! for each layer:
//!     x = x + attention(rms_norm(x))
//!     x = x + down(silu(gate(rms_norm(x))) * up(rms_norm(x)))
//! logits = lm_head(rms_norm(x))
//! ```
//!
//! The formulas are written out below, [`rms_norm`], [`rope`], [`attention`]; [`FastOps`] chooses between them and
//! the fused kernels that compute the same.

use std::rc::Rc;

use mlx::fast::{AttentionMask, Offset, RopeFrequencies, RopeOptions};
use mlx::index::Slice;
use mlx::{Array, Dtype, concatenate, iota, keepdims, stack, where_};
use mlx_compiler::{CompileOptions, Report};
use mlx_nn::{FastOps, Module, ParameterVisitor, RmsNorm};

use super::checkpoint::Checkpoint;
use super::compiled::Compiled;
use super::config::Config;
use super::projection::{Projection, Table};
use super::store::{Loader, Store};
use crate::{Error, Result};

/// Returns `x / sqrt(mean(x^2) + eps) * weight`, the mean over the last axis.
fn rms_norm(x: &Array, weight: &Array, eps: f32) -> Array {
    x * (x.square().mean(keepdims(-1)) + eps).rsqrt() * weight
}

/// Turns pairs of features `(a, b)` by an angle: `(a cos - b sin, a sin + b cos)`.
///
/// Pairs are half a head apart, or neighbours when `traditional`; `cos` and `sin` are `[length, head_dim / 2]`.
fn rope(x: &Array, cos: &Array, sin: &Array, traditional: bool) -> mlx::Result<Array> {
    let [batch, n_heads, length, dim] = x.dims()?;
    if traditional {
        let (even, odd) = (Slice::from(..).by(2), Slice::from(1..).by(2));
        let (a, b) = (x.i((.., .., .., even)), x.i((.., .., .., odd)));
        let turned = stack([&(&a * cos - &b * sin), &(&a * sin + &b * cos)], -1);
        Ok(turned.reshape([batch, n_heads, length, dim]))
    } else {
        let half = dim / 2;
        let (a, b) = (x.i((.., .., .., ..half)), x.i((.., .., .., half..)));
        Ok(concatenate(
            [&(&a * cos - &b * sin), &(&a * sin + &b * cos)],
            -1,
        ))
    }
}

/// Returns `softmax(q @ k^T / sqrt(dim)) @ v` over the keys that are `visible`, `[queries, keys]`.
///
/// There are fewer heads of keys and values than of queries; each serves several neighbours.
fn attention(q: &Array, k: &Array, v: &Array, visible: &Array) -> mlx::Result<Array> {
    let [_, n_heads, _, dim] = q.dims()?;
    let [_, n_kv_heads, _, _] = k.dims()?;
    let served = n_heads / n_kv_heads;
    let (k, v) = (k.repeat(served, 1), v.repeat(served, 1));
    let scores = q.matmul(&k.swapaxes(-1, -2)) * (dim as f32).sqrt().recip();
    let scores = where_(visible, scores, f32::NEG_INFINITY);
    Ok(scores.softmax(-1).matmul(&v))
}

/// Keys and values of one layer, `[batch, n_kv_heads, capacity, head_dim]` each.
pub type KeyValue = (Array, Array);

/// How a network is built from its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// What activations and scales are computed in; by default `float16` on a GPU and `float32` on the CPU.
    pub dtype: Option<Dtype>,
    /// Whether matrices are unpacked when they are loaded: faster on a CPU, and several times the memory.
    pub unpacked: bool,
}

/// A model of the Llama family with its weights. Cloning shares the weights.
#[derive(Clone)]
pub struct Network {
    config: Config,
    embed_tokens: Table,
    layers: Vec<Layer>,
    norm: RmsNorm,
    /// None when the table of tokens also scores them.
    lm_head: Option<Projection>,
    /// Radians that each pair of features turns for a position, `[head_dim / 2]`.
    radians: Array,
    dtype: Dtype,
    kernels: FastOps,
    /// The network as one graph for each length of text read at once, when that was asked for.
    compiled: Option<Rc<Compiled>>,
}

#[derive(Clone)]
struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

#[derive(Clone)]
struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    head_dim: i32,
    kernels: FastOps,
}

#[derive(Clone)]
struct GatedMlp {
    gate_proj: Projection,
    up_proj: Projection,
    down_proj: Projection,
}

/// What all layers need to know of the positions at hand.
struct Here {
    /// The position of the first token: a number, or an array whose value a compiled step is given.
    start: Offset,
    length: i32,
    cos: Array,
    sin: Array,
    /// Which positions each token sees, `[length, positions]`.
    visible: Array,
    rope: RopeOptions,
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
    pub fn from_store(config: Config, weights: &Store, options: &NetworkOptions) -> Result<Self> {
        let config = config.check()?;
        let dtype = match options.dtype {
            Some(dtype) => dtype,
            None => mlx_nn::preferred_dtype().map_err(Error::model)?,
        };
        let mut loader = Loader::new(weights, dtype, !options.unpacked);
        let (hidden, vocabulary) = (config.hidden_size, config.vocab_size);
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(&config, &mut loader, &format!("model.layers.{index}")))
            .collect::<Result<Vec<_>>>()?;
        let lm_head = if config.tie_word_embeddings {
            loader.ignore("lm_head.weight");
            None
        } else {
            Some(loader.projection("lm_head", [vocabulary, hidden], false)?)
        };
        let radians = config.rope.radians_per_position(config.head_dim)?;
        let mut network = Self {
            embed_tokens: loader.table("model.embed_tokens", [vocabulary, hidden])?,
            layers,
            norm: loader.norm("model.norm", hidden, config.rms_norm_eps)?,
            lm_head,
            radians: Array::from_slice(&radians, [size(radians.len())]).map_err(Error::model)?,
            dtype,
            kernels: FastOps::default(),
            compiled: None,
            config,
        };
        loader.finish()?;
        mlx::eval(network.parameters().values()).map_err(Error::model)?;
        network.compact().map_err(Error::model)?;
        Ok(network)
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

    /// Returns the network compiled: each length of text that is read at once is traced once and then replayed.
    ///
    /// Formulas that the options name are recognized, whatever [`FastOps`] the network is written with; the weights are
    /// shared.
    #[must_use]
    pub fn compiled(&self, options: CompileOptions) -> Self {
        let mut network = self.clone();
        network.compiled = Some(Rc::new(Compiled::new(self, options)));
        network
    }

    /// Returns what the compiler made of the network, once it has read something.
    pub fn report(&self) -> Option<Report> {
        self.compiled.as_ref()?.report()
    }

    /// Returns empty room for the keys and values of `capacity` positions, for every layer.
    pub fn room(&self, batch: i32, capacity: i32) -> Vec<KeyValue> {
        let heads = size(self.config.num_key_value_heads);
        let shape = [batch, heads, capacity, size(self.config.head_dim)];
        let empty = || mlx::zeros(shape, self.dtype);
        self.layers.iter().map(|_| (empty(), empty())).collect()
    }

    /// Scores what follows each of the tokens `[batch, length]`, whose first has position `start`; returns
    /// `[batch, length, vocab_size]` and the cache with these tokens in it.
    ///
    /// A pure function of arrays, for tracing as it is. With a number for `start`, attention looks at the positions
    /// filled so far, and the graph changes from step to step. With an `int32` array it looks at the whole cache
    /// through a mask, and one graph serves all steps. The cache is written in place when nobody else holds it.
    /// Nothing runs until [`eval`](mlx::eval()).
    ///
    /// # Errors
    /// When `tokens` is not `[batch, length]`, the cache is not of this network, or a number `start` leaves no room;
    /// with an array, that is found when the graph runs.
    pub fn forward(
        &self,
        tokens: &Array,
        cache: Vec<KeyValue>,
        start: impl Into<Offset>,
    ) -> mlx::Result<(Array, Vec<KeyValue>)> {
        let (x, cache) = self.hidden(tokens, cache, start)?;
        Ok((self.logits(&x), cache))
    }

    /// Like [`Network::forward`], but scores only what follows the last token: `[batch, vocab_size]`.
    ///
    /// # Errors
    /// As for [`Network::forward`].
    pub fn next(
        &self,
        tokens: &Array,
        cache: Vec<KeyValue>,
        start: impl Into<Offset>,
    ) -> mlx::Result<(Array, Vec<KeyValue>)> {
        let start = start.into();
        if let (Some(compiled), Offset::Int(start)) = (&self.compiled, &start) {
            self.check_room(*start, tokens, &cache)?;
            return compiled.next(tokens, &cache, *start);
        }
        let (x, cache) = self.hidden(tokens, cache, start)?;
        Ok((self.logits(&x.i((.., -1))), cache))
    }

    /// Refuses tokens that do not fit into the cache, which a graph that is replayed cannot do.
    #[track_caller]
    fn check_room(&self, start: i32, tokens: &Array, cache: &[KeyValue]) -> mlx::Result<()> {
        let length = tokens.dim(-1)?;
        let capacity = cache.first().map_or(Ok(0), |(keys, _)| keys.dim(2))?;
        if start >= 0 && start.saturating_add(length) <= capacity {
            return Ok(());
        }
        Err(wrong(format!(
            "cache: wanted at most {capacity} positions, got {length} more behind {start}"
        )))
    }

    fn hidden(
        &self,
        tokens: &Array,
        cache: Vec<KeyValue>,
        start: impl Into<Offset>,
    ) -> mlx::Result<(Array, Vec<KeyValue>)> {
        let [_, length] = tokens.dims()?;
        let n_layers = self.layers.len();
        let (Some((first, _)), true) = (cache.first(), cache.len() == n_layers) else {
            let n = cache.len();
            return Err(wrong(format!(
                "cache: wanted that of {n_layers} layers, got {n}"
            )));
        };
        let here = self.here(start.into(), length, first.dim(2)?)?;
        let mut x = self.embed_tokens.forward(tokens);
        let mut grown = Vec::with_capacity(n_layers);
        for (layer, memory) in self.layers.iter().zip(cache) {
            let (y, memory) = layer.forward(&x, &here, memory)?;
            x = y;
            grown.push(memory);
        }
        Ok((normalized(&self.norm, &x), grown))
    }

    fn logits(&self, x: &Array) -> Array {
        match &self.lm_head {
            Some(lm_head) => lm_head.forward(x),
            None => self.embed_tokens.as_linear(x),
        }
    }

    fn here(&self, start: Offset, length: i32, capacity: i32) -> mlx::Result<Here> {
        let n_keys = match &start {
            Offset::Int(start) => start.saturating_add(length),
            Offset::Array(_) => capacity,
        };
        if n_keys < length || length > capacity || n_keys > capacity {
            return Err(wrong(format!(
                "cache: wanted at most {capacity} positions, got {length} more behind {}",
                n_keys.saturating_sub(length)
            )));
        }
        let first = match &start {
            Offset::Int(start) => Array::scalar(*start),
            Offset::Array(start) => start.reshape(()).astype(Dtype::Int32),
        };
        let positions = (iota(length) + &first).reshape([length, 1]);
        let angles = positions.astype(Dtype::Float32) * &self.radians;
        Ok(Here {
            cos: angles.cos().astype(self.dtype),
            sin: angles.sin().astype(self.dtype),
            visible: iota(n_keys).less_equal(&positions),
            rope: RopeOptions {
                traditional: self.config.rope.traditional,
                frequencies: RopeFrequencies::Freqs(self.radians.reciprocal()),
                offset: start.clone(),
                ..RopeOptions::default()
            },
            start,
            length,
        })
    }
}

impl Layer {
    fn forward(&self, x: &Array, here: &Here, memory: KeyValue) -> mlx::Result<(Array, KeyValue)> {
        let normed = normalized(&self.input_layernorm, x);
        let (attended, memory) = self.self_attn.forward(&normed, here, memory)?;
        let x = x + attended;
        let normed = normalized(&self.post_attention_layernorm, &x);
        let kernels = self.post_attention_layernorm.kernels;
        let x = &x + self.mlp.forward(&normed, kernels);
        Ok((x, memory))
    }
}

impl GatedMlp {
    fn forward(&self, x: &Array, kernels: FastOps) -> Array {
        let (gate, up) = (self.gate_proj.forward(x), self.up_proj.forward(x));
        self.down_proj.forward(&kernels.swiglu(&gate, &up))
    }
}

impl Attention {
    fn forward(
        &self,
        x: &Array,
        here: &Here,
        (keys, values): KeyValue,
    ) -> mlx::Result<(Array, KeyValue)> {
        let heads = |x: Array| x.unflatten(-1, [-1, self.head_dim]);
        let by_head = |x: Array| x.transpose([0, 2, 1, 3]);
        let mut q = heads(self.q_proj.forward(x));
        let mut k = heads(self.k_proj.forward(x));
        let v = by_head(heads(self.v_proj.forward(x)));
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            (q, k) = (normalized(q_norm, &q), normalized(k_norm, &k));
        }
        let q = self.turned(&by_head(q), here)?;
        let k = self.turned(&by_head(k), here)?;
        let (keys, seen_keys) = here.remember(keys, &k);
        let (values, seen_values) = here.remember(values, &v);
        let mixed = match self.kernels {
            FastOps::Composed => attention(&q, &seen_keys, &seen_values, &here.visible)?,
            FastOps::Fused => {
                let mask = AttentionMask::causal().offset(here.start.clone());
                self.kernels.attention(&q, &seen_keys, &seen_values, &mask)
            }
        };
        let mixed = mixed.transpose([0, 2, 1, 3]).flatten(2, 3);
        Ok((self.o_proj.forward(&mixed), (keys, values)))
    }

    fn turned(&self, x: &Array, here: &Here) -> mlx::Result<Array> {
        match self.kernels {
            FastOps::Composed => rope(x, &here.cos, &here.sin, here.rope.traditional),
            FastOps::Fused => Ok(self.kernels.rope(x, &here.rope)),
        }
    }
}

impl Here {
    /// Writes new keys or values behind the old ones; returns the memory, and the part of it that is looked at.
    fn remember(&self, memory: Array, new: &Array) -> (Array, Array) {
        match &self.start {
            Offset::Int(start) => {
                let end = start + self.length;
                let memory = memory.at((.., .., *start..end)).set(new);
                let seen = memory.i((.., .., ..end));
                (memory, seen)
            }
            Offset::Array(start) => {
                let memory = memory.slice_update(new, &start.reshape([1]), 2);
                (memory.clone(), memory)
            }
        }
    }
}

fn normalized(norm: &RmsNorm, x: &Array) -> Array {
    match norm.kernels {
        FastOps::Composed => rms_norm(x, &norm.weight, norm.eps),
        FastOps::Fused => norm.forward(x),
    }
}

/// Sizes of a checked configuration fit.
fn size(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

fn wrong(message: String) -> mlx::Error {
    mlx::Error::op("llama", message)
}

impl Layer {
    fn load(config: &Config, loader: &mut Loader, name: &str) -> Result<Self> {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        Ok(Self {
            input_layernorm: loader.norm(&format!("{name}.input_layernorm"), hidden, eps)?,
            self_attn: Attention::load(config, loader, &format!("{name}.self_attn"))?,
            post_attention_layernorm: loader.norm(
                &format!("{name}.post_attention_layernorm"),
                hidden,
                eps,
            )?,
            mlp: GatedMlp::load(config, loader, &format!("{name}.mlp"))?,
        })
    }
}

impl Attention {
    fn load(config: &Config, loader: &mut Loader, name: &str) -> Result<Self> {
        let (hidden, dim) = (config.hidden_size, config.head_dim);
        let queries = config.num_attention_heads * dim;
        let keys = config.num_key_value_heads * dim;
        let bias = config.qkv_bias;
        let mut norm = |what: &str| match config.qk_norm {
            true => loader
                .norm(&format!("{name}.{what}"), dim, config.rms_norm_eps)
                .map(Some),
            false => Ok(None),
        };
        let (q_norm, k_norm) = (norm("q_norm")?, norm("k_norm")?);
        let mut projection =
            |what: &str, shape, bias| loader.projection(&format!("{name}.{what}"), shape, bias);
        Ok(Self {
            q_proj: projection("q_proj", [queries, hidden], bias)?,
            k_proj: projection("k_proj", [keys, hidden], bias)?,
            v_proj: projection("v_proj", [keys, hidden], bias)?,
            o_proj: projection("o_proj", [hidden, queries], config.output_bias)?,
            q_norm,
            k_norm,
            head_dim: size(dim),
            kernels: FastOps::default(),
        })
    }
}

impl GatedMlp {
    fn load(config: &Config, loader: &mut Loader, name: &str) -> Result<Self> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let mut projection = |what: &str, shape| {
            loader.projection(&format!("{name}.{what}"), shape, config.mlp_bias)
        };
        Ok(Self {
            gate_proj: projection("gate_proj", [wide, hidden])?,
            up_proj: projection("up_proj", [wide, hidden])?,
            down_proj: projection("down_proj", [hidden, wide])?,
        })
    }
}

impl Module for Network {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("model.embed_tokens", &mut self.embed_tokens);
        visitor.list("model.layers", &mut self.layers);
        visitor.module("model.norm", &mut self.norm);
        if let Some(lm_head) = &mut self.lm_head {
            visitor.module("lm_head", lm_head);
        }
        visitor.kernels(&mut self.kernels);
    }
}

impl Module for Layer {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("input_layernorm", &mut self.input_layernorm);
        visitor.module("self_attn", &mut self.self_attn);
        visitor.module(
            "post_attention_layernorm",
            &mut self.post_attention_layernorm,
        );
        visitor.module("mlp", &mut self.mlp);
    }
}

impl Module for Attention {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("q_proj", &mut self.q_proj);
        visitor.module("k_proj", &mut self.k_proj);
        visitor.module("v_proj", &mut self.v_proj);
        visitor.module("o_proj", &mut self.o_proj);
        for (name, norm) in [("q_norm", &mut self.q_norm), ("k_norm", &mut self.k_norm)] {
            if let Some(norm) = norm {
                visitor.module(name, norm);
            }
        }
        visitor.kernels(&mut self.kernels);
    }
}

impl Module for GatedMlp {
    fn visit_parameters<'a>(&'a mut self, visitor: &mut ParameterVisitor<'a>) {
        visitor.module("gate_proj", &mut self.gate_proj);
        visitor.module("up_proj", &mut self.up_proj);
        visitor.module("down_proj", &mut self.down_proj);
    }
}
