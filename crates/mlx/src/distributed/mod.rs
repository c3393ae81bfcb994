//! Communication between processes, as Python's `mlx.core.distributed`: groups, sums and gathers over their ranks.
//!
//! Each process of a program is a rank of a [`Group`]. `mlx launch` starts them; a process that was started by itself is a
//! group of one, in which all functions here return their input.
//!
//! ```
//! use mlx::{Array, array, distributed};
//!
//! # fn main() -> mlx::Result<()> {
//! let group = distributed::init("any", false)?;
//! let sum = distributed::all_sum(&array!([1.0, 2.0]), &group);
//! assert_eq!(sum.to_vec::<f32>()?, vec![group.size() as f32, 2.0 * group.size() as f32]);
//! # Ok(())
//! # }
//! ```
//!
//! Communication is lazy as everything else: it happens when its result is evaluated. All ranks of a group must evaluate
//! the same communications in the same order.
//!
//! The backend `ring`, over TCP, is this crate's own (decision 0038). It speaks as MLX's does, so that Python and Rust
//! ranks meet in one group. So does `mpi`, which calls Open MPI's library. `nccl` and `jaccl` are MLX's.
//!
//! # Errors
//! In a ring every wait ends within [`InitOptions::timeout`]: a rank that is missing or has died, and shapes that differ,
//! are an error on every rank. The group has failed then, and a new one can be formed.
//! MPI has no limit of time, and ranks whose group has failed must be started anew.

mod collectives;
mod group;
mod mpi;
mod reduce;
mod ring;

pub use collectives::{all_gather, all_max, all_min, all_sum, recv, recv_like, send, sum_scatter};
pub use group::{Group, InitOptions, init, init_with, is_available};
