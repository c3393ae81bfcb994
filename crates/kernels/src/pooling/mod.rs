//! Pooling over windows of up to three axes, in MLX's layout.

mod gradient;
mod max;
mod mean;
mod shape;

pub use gradient::max_pool_gradient;
pub(crate) use gradient::max_pool_gradient_instance;
pub use max::max_pool;
pub(crate) use max::max_pool_instance;
pub use mean::{mean_pool, mean_pool_gradient};
pub(crate) use mean::{mean_pool_gradient_instance, mean_pool_instance};
pub use shape::{Pool, PoolAxis};
