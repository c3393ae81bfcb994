//! Timing lazy arrays rightly: helpers for your own benches, and the harness that runs the rivals beside us.
//!
//! An operation of MLX only notes what is to be done, so a clock around it measures nothing. What is timed here ends
//! in [`mlx::eval`] and [`mlx::synchronize`], and runs unmeasured first, because kernels are compiled and memory is
//! fetched on the first call.
//!
//! - [`time`] for one number in a script, a test or a notebook;
//! - [`bench_lazy`] for a [criterion](criterion::Criterion) group, with [`Work`] for true throughput;
//! - the command `cargo xtask bench` for a table of us and our rivals (feature `harness`; see [`harness`]).
#![forbid(unsafe_code)]

mod clock;
mod lazy;

pub use clock::{Timing, once, time, time_with};
pub use lazy::{Work, bench_lazy, normal, ready};

#[cfg(feature = "harness")]
pub mod harness;
