//! The layers of a Llama network: attention with rotary embeddings and a cache, and the gated feed-forward network.

use mlx::Array;
use mlx::distributed::{Group, all_sum};
use mlx::fast::{AttentionMask, Offset, RopeOptions};
use mlx_nn::{Activations, FastOps, Module, RmsNorm};

use super::config::Config;
use super::quantizable::LinearLayer;
use super::shard::{self, Side};
use super::weight_store::WeightStore;
use crate::axis_size::axis_size;
use crate::kv_cache::{KvQuantization, LayerKvCache, append};
use crate::{Error, Result};

/// A builder of layers of zeros, quantized where a store has quantized weights.
pub(super) struct LayerBuilder<'a> {
    pub(super) config: &'a Config,
    pub(super) weights: &'a WeightStore,
    /// Whether all matrices are plain.
    pub(super) dequantized: bool,
    /// How quantized matrices take their input.
    pub(super) activations: Activations,
}

/// What all layers need to know of the positions of the tokens at hand.
pub(super) struct Positions {
    /// The position of the first token: a number, or an array whose value a compiled step is given.
    pub(super) start: Offset,
    pub(super) rope: RopeOptions,
}

#[derive(Clone, Module)]
pub(super) struct Layer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
}

#[derive(Clone, Module)]
struct Attention {
    q_proj: LinearLayer,
    k_proj: LinearLayer,
    v_proj: LinearLayer,
    o_proj: LinearLayer,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    head_dim: i32,
    kernels: FastOps,
    /// With whom the heads are shared.
    #[module(static)]
    group: Option<Group>,
}

#[derive(Clone, Module)]
struct GatedMlp {
    gate_proj: LinearLayer,
    up_proj: LinearLayer,
    down_proj: LinearLayer,
    kernels: FastOps,
    /// With whom the features are shared.
    #[module(static)]
    group: Option<Group>,
}

impl LayerBuilder<'_> {
    /// Returns a linear layer `[outputs, inputs]`; its full name tells whether it is quantized.
    pub(super) fn linear(
        &self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
    ) -> Result<LinearLayer> {
        let shape = [axis_size(outputs), axis_size(inputs)];
        let quantization = self.quantization(name);
        self.check_activations(name, quantization)?;
        let layer = LinearLayer::zeros(shape, bias, quantization).map_err(named(name))?;
        Ok(layer.with_activations(self.activations))
    }

    /// Returns how the matrix of a module is to be quantized.
    pub(super) fn quantization(&self, name: &str) -> Option<mlx::Quantization> {
        match self.dequantized {
            true => None,
            false => self.weights.quantization(name),
        }
    }

    /// Returns an error when a matrix cannot take its input as was asked for.
    pub(super) fn check_activations(
        &self,
        name: &str,
        quantization: Option<mlx::Quantization>,
    ) -> Result<()> {
        let Some(quantization) = quantization.filter(|_| self.activations == Activations::Int8)
        else {
            return Ok(());
        };
        let mlx::Quantization { bits, mode, .. } = quantization;
        if mode == mlx::QuantizationMode::Affine && matches!(bits, 4 | 8) {
            return Ok(());
        }
        Err(Error::Weights(format!(
            "{name}: activations int8: wanted affine weights of 4 or 8 bits, got {mode:?} with {bits}"
        )))
    }

    pub(super) fn norm(&self, dims: usize) -> RmsNorm {
        RmsNorm::new(axis_size(dims)).eps(self.config.rms_norm_eps)
    }

    pub(super) fn layer(&self, name: &str) -> Result<Layer> {
        let hidden = self.config.hidden_size;
        Ok(Layer {
            input_layernorm: self.norm(hidden),
            self_attn: self.attention(&format!("{name}.self_attn"))?,
            post_attention_layernorm: self.norm(hidden),
            mlp: self.mlp(&format!("{name}.mlp"))?,
        })
    }

    fn attention(&self, name: &str) -> Result<Attention> {
        let config = self.config;
        let (hidden, dim) = (config.hidden_size, config.head_dim);
        let queries = config.num_attention_heads * dim;
        let keys = config.num_key_value_heads * dim;
        let linear = |part: &str, shape, bias| self.linear(&format!("{name}.{part}"), shape, bias);
        let norm = || config.qk_norm.then(|| self.norm(dim));
        Ok(Attention {
            q_proj: linear("q_proj", [queries, hidden], config.qkv_bias)?,
            k_proj: linear("k_proj", [keys, hidden], config.qkv_bias)?,
            v_proj: linear("v_proj", [keys, hidden], config.qkv_bias)?,
            o_proj: linear("o_proj", [hidden, queries], config.output_bias)?,
            q_norm: norm(),
            k_norm: norm(),
            head_dim: axis_size(dim),
            kernels: FastOps::default(),
            group: None,
        })
    }

    fn mlp(&self, name: &str) -> Result<GatedMlp> {
        let (hidden, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let bias = self.config.mlp_bias;
        let linear = |part: &str, shape| self.linear(&format!("{name}.{part}"), shape, bias);
        Ok(GatedMlp {
            gate_proj: linear("gate_proj", [wide, hidden])?,
            up_proj: linear("up_proj", [wide, hidden])?,
            down_proj: linear("down_proj", [hidden, wide])?,
            kernels: FastOps::default(),
            group: None,
        })
    }
}

/// Returns a function that puts a weight's name in front of MLX's error.
pub(super) fn named(name: &str) -> impl FnOnce(mlx::Error) -> Error + '_ {
    move |error| Error::Weights(format!("{name}: {error}"))
}

impl Layer {
    pub(super) fn forward(
        &self,
        x: &Array,
        positions: &Positions,
        cache: &mut LayerKvCache,
    ) -> mlx::Result<Array> {
        let normed = self.input_layernorm.forward(x);
        let x = x + self.self_attn.forward(&normed, positions, cache)?;
        let normed = self.post_attention_layernorm.forward(&x);
        Ok(&x + self.mlp.forward(&normed))
    }

    /// Returns whether other ranks have a part of it.
    pub(super) fn is_sharded(&self) -> bool {
        self.self_attn.group.is_some()
    }

    /// Returns the layer with this rank's heads and features.
    pub(super) fn shard(&self, config: &Config, group: &Group) -> Result<Self> {
        Ok(Self {
            self_attn: self.self_attn.shard(config, group)?,
            mlp: self.mlp.shard(config, group)?,
            ..self.clone()
        })
    }
}

impl Attention {
    /// This rank's heads: those that share a key and a value stay together.
    fn shard(&self, config: &Config, group: &Group) -> Result<Self> {
        let dim = config.head_dim;
        let keys = shard::times(&shard::share(config.num_key_value_heads, group), dim);
        let repeats = config.num_attention_heads / config.num_key_value_heads.max(1);
        let queries = shard::times(&keys, repeats);
        Ok(Self {
            q_proj: shard::cut(&self.q_proj, Side::Outputs, &queries, group)?,
            k_proj: shard::cut(&self.k_proj, Side::Outputs, &keys, group)?,
            v_proj: shard::cut(&self.v_proj, Side::Outputs, &keys, group)?,
            o_proj: shard::cut(&self.o_proj, Side::Inputs, &queries, group)?,
            group: Some(group.clone()),
            ..self.clone()
        })
    }

    fn forward(
        &self,
        x: &Array,
        positions: &Positions,
        cache: &mut LayerKvCache,
    ) -> mlx::Result<Array> {
        let Some(group) = &self.group else {
            return self.own_heads(x, positions, cache);
        };
        // More ranks than keys and values: nothing to add.
        let share = match cache.0.axis_size(1)? == 0 {
            true => mlx::zeros_like(x),
            false => self.own_heads(x, positions, cache)?,
        };
        Ok(all_sum(&share, group))
    }

    /// The output of the heads that this rank has.
    fn own_heads(
        &self,
        x: &Array,
        positions: &Positions,
        cache: &mut LayerKvCache,
    ) -> mlx::Result<Array> {
        let heads = |x: Array| x.unflatten(-1, [-1, self.head_dim]);
        let by_head = |x: Array| x.transpose([0, 2, 1, 3]);
        let mut q = heads(self.q_proj.forward(x));
        let mut k = heads(self.k_proj.forward(x));
        let v = by_head(heads(self.v_proj.forward(x)));
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            (q, k) = (q_norm.forward(&q), k_norm.forward(&k));
        }
        let q = self.kernels.rope(&by_head(q), &positions.rope);
        let k = self.kernels.rope(&by_head(k), &positions.rope);
        let mask = AttentionMask::causal().offset(positions.start.clone());
        let mixed = match KvQuantization::of(cache, self.head_dim)? {
            None => {
                let (keys, values) = append(cache, &positions.start, &(k, v))?;
                self.kernels.attention(&q, &keys, &values, &mask)
            }
            Some(kv) => {
                let rows = (kv.quantize(&k), kv.quantize(&v));
                let (keys, values) = append(cache, &positions.start, &rows)?;
                let rows = (&keys, &values);
                self.kernels
                    .quantized_attention(&q, rows, kv.group_size, &mask)
            }
        };
        let mixed = mixed.transpose([0, 2, 1, 3]).flatten(2, 3);
        Ok(self.o_proj.forward(&mixed))
    }
}

impl GatedMlp {
    /// This rank's features, in whole groups that share a scale.
    fn shard(&self, config: &Config, group: &Group) -> Result<Self> {
        let unit = shard::unit(&self.down_proj);
        let units = shard::share(config.intermediate_size / unit, group);
        let features = shard::times(&units, unit);
        Ok(Self {
            gate_proj: shard::cut(&self.gate_proj, Side::Outputs, &features, group)?,
            up_proj: shard::cut(&self.up_proj, Side::Outputs, &features, group)?,
            down_proj: shard::cut(&self.down_proj, Side::Inputs, &features, group)?,
            group: Some(group.clone()),
            ..self.clone()
        })
    }

    fn forward(&self, x: &Array) -> Array {
        let (gate, up) = (self.gate_proj.forward(x), self.up_proj.forward(x));
        let y = self.down_proj.forward(&self.kernels.swiglu(&gate, &up));
        match &self.group {
            Some(group) => all_sum(&y, group),
            None => y,
        }
    }
}
