//! How a graph runs: node by node through [`bind_all_at`](mlx::bind_all_at), or as one function that MLX replays.

mod executable;
mod executor;

pub(crate) use executable::Executable;
pub(crate) use executor::Plan;
