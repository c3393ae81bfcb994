//! How parameters are cut into shards, one for each rank.

use mlx::distributed::Group;
use mlx::{Array, Error, Result, concatenate};

use super::{
    AllToShardedLinear, QuantizedAllToShardedLinear, QuantizedShardedToAllLinear,
    ShardedToAllLinear,
};
use crate::module::ParameterVisitor;
use crate::{Linear, Module, QuantizedLinear};

/// How a linear layer is sharded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharding {
    /// Every rank has the whole input, and computes its share of the output: `"all-to-sharded"`.
    AllToSharded,
    /// Every rank has its share of the input, and all get the whole output: `"sharded-to-all"`.
    ShardedToAll,
}

/// The parts of a fused weight, each of which is sharded by itself: queries, keys and values in one matrix are three.
#[derive(Clone, Debug, PartialEq)]
pub enum Segments {
    /// This many parts of one size.
    Equal(i32),
    /// Parts that begin at these indices, the first at 0.
    At(Vec<i32>),
    /// Parts that begin at these shares of the axis, the first at 0.
    Fractions(Vec<f64>),
}

impl Default for Segments {
    fn default() -> Self {
        Segments::Equal(1)
    }
}

impl From<i32> for Segments {
    fn from(parts: i32) -> Self {
        Segments::Equal(parts)
    }
}

/// Says of each parameter, by its name, along which axis it is sharded and of which segments it is made; `None` for those
/// that every rank has.
pub trait ShardRule {
    /// Returns the axis and the segments.
    fn axis(&self, name: &str, parameter: &Array) -> Option<(i32, Segments)>;
}

impl ShardRule for Sharding {
    fn axis(&self, name: &str, parameter: &Array) -> Option<(i32, Segments)> {
        (*self, Segments::default()).axis(name, parameter)
    }
}

impl ShardRule for (Sharding, Segments) {
    fn axis(&self, name: &str, parameter: &Array) -> Option<(i32, Segments)> {
        let (sharding, segments) = self;
        let axis = match (sharding, name.ends_with("bias")) {
            (Sharding::AllToSharded, true) => -1,
            (Sharding::AllToSharded, false) => {
                let ndim = parameter.ndim().unwrap_or(0);
                i32::try_from(ndim.saturating_sub(2)).unwrap_or(0)
            }
            (Sharding::ShardedToAll, true) => return None,
            (Sharding::ShardedToAll, false) => -1,
        };
        Some((axis, segments.clone()))
    }
}

impl<F: Fn(&str, &Array) -> Option<(i32, Segments)>> ShardRule for F {
    fn axis(&self, name: &str, parameter: &Array) -> Option<(i32, Segments)> {
        self(name, parameter)
    }
}

/// Returns this rank's share of a parameter of this name, which is all of it where the rule says so.
#[track_caller]
pub(super) fn share_of(
    parameter: &Array,
    name: &str,
    rule: &impl ShardRule,
    group: &Group,
) -> Result<Array> {
    match rule.axis(name, parameter) {
        Some((axis, segments)) => shard(parameter, axis, &segments, group),
        None => Ok(parameter.clone()),
    }
}

/// Replaces the parameters of a module by this rank's shards.
///
/// The module is the same otherwise: it communicates only if it does so by itself.
///
/// # Errors
/// When an axis is not divisible by the number of ranks; the module is unchanged.
#[track_caller]
pub fn shard_inplace(
    module: &mut impl Module,
    sharding: impl ShardRule,
    group: &Group,
) -> Result<()> {
    let mut sharded = crate::module::copy(module);
    for part in ParameterVisitor::of(&mut sharded).parts {
        if let Some((axis, segments)) = sharding.axis(&part.name, part.array) {
            *part.array = shard(part.array, axis, &segments, group)
                .map_err(|error| Error::op("shard_inplace", format!("{}: {error}", part.name)))?;
        }
    }
    *module = sharded;
    Ok(())
}

/// Returns this rank's shard of a parameter: its share of each segment, one after the other.
#[track_caller]
pub(super) fn shard(
    parameter: &Array,
    axis: i32,
    segments: &Segments,
    group: &Group,
) -> Result<Array> {
    let ranks = to_i32(group.size());
    let mut shards = Vec::new();
    for segment in split(parameter, segments, axis)? {
        let length = segment.dim(axis)?;
        if length % ranks != 0 {
            return Err(Error::op(
                "shard",
                format!(
                    "wanted an axis that {ranks} ranks divide, got a segment of {length} of shape {:?} at axis {axis}",
                    parameter.shape()?
                ),
            ));
        }
        let mut parts = segment.split(ranks, axis)?;
        shards.push(parts.swap_remove(group.rank()));
    }
    Ok(concatenate(&shards, axis).contiguous())
}

fn split(parameter: &Array, segments: &Segments, axis: i32) -> Result<Vec<Array>> {
    match segments {
        Segments::Equal(1) => Ok(vec![parameter.clone()]),
        Segments::Equal(parts) => parameter.split(*parts, axis),
        Segments::At(indices) => parameter.split_at(indices.clone(), axis),
        Segments::Fractions(fractions) => {
            let length = f64::from(parameter.dim(axis)?);
            #[allow(clippy::cast_possible_truncation)]
            let indices: Vec<i32> = fractions
                .iter()
                .map(|share| (share * length) as i32)
                .collect();
            parameter.split_at(indices, axis)
        }
    }
}

pub(super) fn to_i32(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What [`shard_linear`] makes of a layer.
#[derive(Clone, Module)]
pub enum ShardedLinear {
    /// Of a plain layer, for its outputs.
    AllToSharded(AllToShardedLinear),
    /// Of a plain layer, for its inputs.
    ShardedToAll(ShardedToAllLinear),
    /// Of a layer with packed weights, for its outputs.
    QuantizedAllToSharded(QuantizedAllToShardedLinear),
    /// Of a layer with packed weights, for its inputs.
    QuantizedShardedToAll(QuantizedShardedToAllLinear),
}

impl ShardedLinear {
    /// Computes this rank's share of the output, or the whole output of this rank's share of the input.
    #[track_caller]
    pub fn forward(&self, x: &Array) -> Array {
        match self {
            Self::AllToSharded(layer) => layer.forward(x),
            Self::ShardedToAll(layer) => layer.forward(x),
            Self::QuantizedAllToSharded(layer) => layer.forward(x),
            Self::QuantizedShardedToAll(layer) => layer.forward(x),
        }
    }
}

/// A linear layer that [`shard_linear`] takes.
pub trait ToShardedLinear {
    /// Returns the layer with this rank's shards of its parameters.
    ///
    /// # Errors
    /// As [`shard_linear`].
    fn to_sharded(
        &self,
        sharding: Sharding,
        segments: &Segments,
        group: &Group,
    ) -> Result<ShardedLinear>;
}

impl ToShardedLinear for Linear {
    #[track_caller]
    fn to_sharded(
        &self,
        sharding: Sharding,
        segments: &Segments,
        group: &Group,
    ) -> Result<ShardedLinear> {
        Ok(match sharding {
            Sharding::AllToSharded => {
                let layer = AllToShardedLinear::from_linear(self, segments, group)?;
                ShardedLinear::AllToSharded(layer)
            }
            Sharding::ShardedToAll => {
                let layer = ShardedToAllLinear::from_linear(self, segments, group)?;
                ShardedLinear::ShardedToAll(layer)
            }
        })
    }
}

impl ToShardedLinear for QuantizedLinear {
    #[track_caller]
    fn to_sharded(
        &self,
        sharding: Sharding,
        segments: &Segments,
        group: &Group,
    ) -> Result<ShardedLinear> {
        Ok(match sharding {
            Sharding::AllToSharded => {
                let layer =
                    QuantizedAllToShardedLinear::from_quantized_linear(self, segments, group)?;
                ShardedLinear::QuantizedAllToSharded(layer)
            }
            Sharding::ShardedToAll => {
                let layer =
                    QuantizedShardedToAllLinear::from_quantized_linear(self, segments, group)?;
                ShardedLinear::QuantizedShardedToAll(layer)
            }
        })
    }
}

/// Returns a linear layer with this rank's shards of the parameters, which communicates in its gradient
/// (`AllToSharded`) or its result (`ShardedToAll`). The layer itself is not changed.
///
/// # Errors
/// When an axis is not divisible by the number of ranks, or the layer was packed in place or has an adapter.
#[track_caller]
pub fn shard_linear(
    layer: &impl ToShardedLinear,
    sharding: Sharding,
    segments: impl Into<Segments>,
    group: &Group,
) -> Result<ShardedLinear> {
    layer.to_sharded(sharding, &segments.into(), group)
}
