//! Threads: a pool that waits awake for short kernels, and loops whose pieces it takes.

pub(crate) mod parallel_for;
mod thread_pool;

pub use parallel_for::threads;
