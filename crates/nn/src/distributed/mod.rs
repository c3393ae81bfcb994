//! Layers, gradients and parameters over the ranks of a [`Group`](mlx::distributed::Group), as Python's
//! `mlx.nn.layers.distributed`: tensor parallel linear layers, data parallel gradients, fully sharded modules.

mod fully_sharded;
mod gradients;
mod linear;
mod quantized;
mod shard;

pub use fully_sharded::{FullyShardedModule, fully_shard};
pub use gradients::{
    AverageOptions, average_gradients, average_gradients_with, clip_grad_norm_sharded,
};
pub use linear::{AllToShardedLinear, ShardedToAllLinear};
pub use quantized::{QuantizedAllToShardedLinear, QuantizedShardedToAllLinear};
pub use shard::{
    Segments, ShardRule, ShardedLinear, Sharding, ToShardedLinear, shard_inplace, shard_linear,
};
