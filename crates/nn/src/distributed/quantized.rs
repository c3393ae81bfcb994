//! Linear layers with packed weights of which each rank has a share. Their parameters are frozen.

use mlx::distributed::{Group, all_sum};
use mlx::{Array, Error, Quantization, Quantized, Result};

use super::Segments;
use super::linear::{share, sum_gradients};
use super::shard::{Sharding, share_of};
use crate::{Module, QuantizedLinear};

/// A linear layer with packed weights of which each rank computes a share of the output:
/// `mlx.nn.QuantizedAllToShardedLinear`.
#[derive(Clone, Module)]
pub struct QuantizedAllToShardedLinear {
    /// The layer of this rank's rows.
    #[module(flatten)]
    pub shard: QuantizedLinear,
    #[module(static)]
    group: Group,
}

/// A linear layer with packed weights of which each rank takes a share of the input:
/// `mlx.nn.QuantizedShardedToAllLinear`.
#[derive(Clone, Module)]
pub struct QuantizedShardedToAllLinear {
    /// The layer of this rank's columns, with the whole bias.
    #[module(flatten)]
    pub shard: QuantizedLinear,
    #[module(static)]
    group: Group,
}

impl QuantizedAllToShardedLinear {
    /// Returns a layer with uniform initial weights and a bias of 0.
    ///
    /// # Errors
    /// When the ranks of the group do not divide `output_dims`.
    #[track_caller]
    pub fn new(
        input_dims: i32,
        output_dims: i32,
        bias: bool,
        quantization: Quantization,
        group: &Group,
    ) -> Result<Self> {
        let outputs = share(
            "QuantizedAllToShardedLinear",
            "the output",
            output_dims,
            group,
        )?;
        let shard = QuantizedLinear::with_quantization(input_dims, outputs, quantization);
        Ok(Self {
            shard: shard.bias(bias),
            group: group.clone(),
        })
    }

    /// Returns this rank's share of a layer.
    ///
    /// # Errors
    /// When the ranks of the group do not divide a segment of the output, or the layer has an adapter.
    #[track_caller]
    pub fn from_quantized_linear(
        layer: &QuantizedLinear,
        segments: &Segments,
        group: &Group,
    ) -> Result<Self> {
        Ok(Self {
            shard: shards(layer, Sharding::AllToSharded, segments, group)?,
            group: group.clone(),
        })
    }

    /// Maps `[.., input_dims]` to this rank's `[.., output_dims / ranks]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        self.shard.forward(&sum_gradients(x, &self.group))
    }
}

impl QuantizedShardedToAllLinear {
    /// Returns a layer with uniform initial weights and a bias of 0.
    ///
    /// # Errors
    /// When the ranks of the group do not divide `input_dims`.
    #[track_caller]
    pub fn new(
        input_dims: i32,
        output_dims: i32,
        bias: bool,
        quantization: Quantization,
        group: &Group,
    ) -> Result<Self> {
        let inputs = share(
            "QuantizedShardedToAllLinear",
            "the input",
            input_dims,
            group,
        )?;
        let shard = QuantizedLinear::with_quantization(inputs, output_dims, quantization);
        Ok(Self {
            shard: shard.bias(bias),
            group: group.clone(),
        })
    }

    /// Returns this rank's share of a layer.
    ///
    /// # Errors
    /// When the ranks of the group do not divide a segment of the groups of the input, or the layer has an adapter.
    #[track_caller]
    pub fn from_quantized_linear(
        layer: &QuantizedLinear,
        segments: &Segments,
        group: &Group,
    ) -> Result<Self> {
        Ok(Self {
            shard: shards(layer, Sharding::ShardedToAll, segments, group)?,
            group: group.clone(),
        })
    }

    /// Maps this rank's `[.., input_dims / ranks]` to `[.., output_dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let mut share = self.shard.clone();
        share.bias = None;
        let sum = all_sum(&share.forward(x), &self.group);
        match &self.shard.bias {
            Some(bias) => sum + bias,
            None => sum,
        }
    }
}

/// Returns the layer of this rank's shards.
#[track_caller]
fn shards(
    layer: &QuantizedLinear,
    sharding: Sharding,
    segments: &Segments,
    group: &Group,
) -> Result<QuantizedLinear> {
    if layer.adapter.active().is_some() {
        return Err(Error::op(
            "shard_linear",
            "wanted a layer without an adapter, got one with",
        ));
    }
    let rule = (sharding, segments.clone());
    let of = |name: &str, parameter: &Array| share_of(parameter, name, &rule, group);
    let bias = layer.bias.as_ref().map(|bias| of("bias", bias));
    let biases = layer.biases.as_ref().map(|biases| of("biases", biases));
    let weights = Quantized {
        weight: of("weight", &layer.weight)?,
        scales: of("scales", &layer.scales)?,
        biases: biases.transpose()?,
        quantization: layer.quantization,
    };
    let mut sharded = QuantizedLinear::from_weights(weights, bias.transpose()?);
    sharded.kernels = layer.kernels;
    sharded.activations = layer.activations;
    Ok(sharded)
}
