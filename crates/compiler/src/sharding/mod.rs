//! Sharding: one graph becomes a graph for each rank of a mesh, with collectives where values must be whole.
//!
//! [`Rules`] say how inputs are split, by patterns of their names; [`shard`] propagates that through the graph. Each
//! operation has a line in the table of `rules/`: how its inputs may be split so that each rank computes its part of the
//! result. Of the ways that there are, the one with the fewest bytes on the wire is taken. What has no way is computed
//! whole on every rank, and is in the [`ShardingReport`].
//!
//! Terms are those of JAX and Shardy: a [`Mesh`] has named axes, a [`PartitionSpec`] names one for each dimension of an
//! array, a value is replicated, sharded, or unreduced.

mod classes;
mod collectives;
mod control;
mod convert;
mod differentiate;
mod dimensions;
mod intervals;
mod layout;
mod masked_take;
mod mesh;
mod names;
mod order;
mod partition;
mod prepare;
mod report;
mod rules;
mod sections;
mod sharded_graph;
mod spec;
mod strategy;

pub use layout::DimLayout;
pub use mesh::{Mesh, MeshAxis};
pub use report::{Collective, CollectiveKind, ShardedValue, ShardingRefusal, ShardingReport};
pub use rules::whole_operations;
pub use sharded_graph::{ShardedGraph, shard};
pub use spec::{PartitionSpec, Rules};
pub use strategy::{Reduction, Sharding};

pub(crate) use names::TracedNames;
