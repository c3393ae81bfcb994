//! Pooling over windows of up to three axes, in MLX's layout.

mod gradient;
mod max;
mod shape;

pub use gradient::max_pool_gradient;
pub(crate) use gradient::max_pool_gradient_instance;
pub use max::max_pool;
pub(crate) use max::max_pool_instance;
pub use shape::{Pool, PoolAxis};
