//! Threads: a pool whose workers spin before they park, and the parallel loop that runs on it.

mod parallel_for;
mod thread_pool;

pub use parallel_for::threads;
pub(crate) use parallel_for::{parallel_for, weight_chunk_bytes};
