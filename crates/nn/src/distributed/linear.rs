//! Linear layers of which each rank has a share of the weights.

use mlx::distributed::{Group, all_sum};
use mlx::{Array, Error, Result, custom_vjp};

use super::Segments;
use super::shard::{Sharding, share_of, to_i32};
use crate::{Init, Linear, Module, ModuleState};

/// Returns `x`, whose gradient is summed over the ranks of the group.
#[track_caller]
pub(super) fn sum_gradients(x: &Array, group: &Group) -> Array {
    if group.size() == 1 {
        return x.clone();
    }
    let group = group.clone();
    let identity = custom_vjp(
        |x: &Array| x.clone(),
        move |_: &Array, cotangent: &Array, _: &Array| all_sum(cotangent, &group),
    );
    identity(x).unwrap_or_else(Array::failed)
}

/// Refuses sizes that the ranks of a group do not divide.
#[track_caller]
pub(super) fn share(layer: &str, what: &str, size: i32, group: &Group) -> Result<i32> {
    let ranks = to_i32(group.size());
    if size % ranks == 0 {
        return Ok(size / ranks);
    }
    Err(Error::op(
        layer,
        format!("cannot shard {what} of {size} across {ranks} ranks"),
    ))
}

/// A linear layer of which each rank computes a share of the output: `mlx.nn.AllToShardedLinear`.
///
/// The input is the same on all ranks, and its gradient is summed over them.
#[derive(Clone, Module)]
pub struct AllToShardedLinear {
    /// `[output_dims / ranks, input_dims]`.
    pub weight: Array,
    /// `[output_dims / ranks]`.
    pub bias: Option<Array>,
    #[module(static)]
    group: Group,
    /// What is frozen.
    pub state: ModuleState,
}

/// A linear layer of which each rank takes a share of the input: `mlx.nn.ShardedToAllLinear`.
///
/// The results are summed, so that all ranks have the same output.
#[derive(Clone, Module)]
pub struct ShardedToAllLinear {
    /// `[output_dims, input_dims / ranks]`.
    pub weight: Array,
    /// `[output_dims]`.
    pub bias: Option<Array>,
    #[module(static)]
    group: Group,
    /// What is frozen.
    pub state: ModuleState,
}

impl AllToShardedLinear {
    /// Returns a layer with values uniformly distributed from `-1 / sqrt(input_dims)` to `1 / sqrt(input_dims)`.
    ///
    /// # Errors
    /// When the ranks of the group do not divide `output_dims`.
    #[track_caller]
    pub fn new(input_dims: i32, output_dims: i32, bias: bool, group: &Group) -> Result<Self> {
        let outputs = share("AllToShardedLinear", "the output", output_dims, group)?;
        let shard = Linear::with_init(input_dims, outputs, bias, &mut Init::default());
        Ok(Self::of(shard.weight, shard.bias, group))
    }

    /// Returns this rank's share of a layer.
    ///
    /// # Errors
    /// When the ranks of the group do not divide a segment of the output, or the weights are packed or adapted.
    #[track_caller]
    pub fn from_linear(layer: &Linear, segments: &Segments, group: &Group) -> Result<Self> {
        let (weight, bias) = shards(layer, Sharding::AllToSharded, segments, group)?;
        Ok(Self::of(weight, bias, group))
    }

    fn of(weight: Array, bias: Option<Array>, group: &Group) -> Self {
        Self {
            weight,
            bias,
            group: group.clone(),
            state: ModuleState::default(),
        }
    }

    /// Maps `[.., input_dims]` to this rank's `[.., output_dims / ranks]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let x = sum_gradients(x, &self.group);
        Linear::from_weights(self.weight.clone(), self.bias.clone()).forward(&x)
    }
}

impl ShardedToAllLinear {
    /// Returns a layer with values uniformly distributed from `-1 / sqrt(input_dims)` to `1 / sqrt(input_dims)`. The bias
    /// is this rank's own: give all ranks the same seed.
    ///
    /// # Errors
    /// When the ranks of the group do not divide `input_dims`.
    #[track_caller]
    pub fn new(input_dims: i32, output_dims: i32, bias: bool, group: &Group) -> Result<Self> {
        let inputs = share("ShardedToAllLinear", "the input", input_dims, group)?;
        let mut init = Init::default();
        #[allow(clippy::cast_precision_loss)]
        let scale = (1.0 / input_dims.max(1) as f32).sqrt();
        let weight = init.uniform(&[output_dims, inputs], scale);
        let bias = bias.then(|| init.uniform(&[output_dims], scale));
        Ok(Self::of(weight, bias, group))
    }

    /// Returns this rank's share of a layer.
    ///
    /// # Errors
    /// When the ranks of the group do not divide a segment of the input, or the weights are packed or adapted.
    #[track_caller]
    pub fn from_linear(layer: &Linear, segments: &Segments, group: &Group) -> Result<Self> {
        let (weight, bias) = shards(layer, Sharding::ShardedToAll, segments, group)?;
        Ok(Self::of(weight, bias, group))
    }

    fn of(weight: Array, bias: Option<Array>, group: &Group) -> Self {
        Self {
            weight,
            bias,
            group: group.clone(),
            state: ModuleState::default(),
        }
    }

    /// Maps this rank's `[.., input_dims / ranks]` to `[.., output_dims]`.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        let share = Linear::from_weights(self.weight.clone(), None).forward(x);
        let sum = all_sum(&share, &self.group);
        match &self.bias {
            Some(bias) => sum + bias,
            None => sum,
        }
    }
}

/// Returns this rank's shards of the weight and the bias.
#[track_caller]
fn shards(
    layer: &Linear,
    sharding: Sharding,
    segments: &Segments,
    group: &Group,
) -> Result<(Array, Option<Array>)> {
    if layer.packed.is_some() || layer.adapter.active().is_some() {
        return Err(Error::op(
            "shard_linear",
            "wanted a plain layer, got one with packed weights or an adapter: pack as a QuantizedLinear",
        ));
    }
    let rule = (sharding, segments.clone());
    let of = |name: &str, parameter: &Array| share_of(parameter, name, &rule, group);
    let bias = layer.bias.as_ref().map(|bias| of("bias", bias));
    Ok((of("weight", &layer.weight)?, bias.transpose()?))
}
