//! How a graph runs: node by node through [`bind_all_at`](mlx::compiler_api::bind_all_at), or as one function that MLX replays.

mod control_flow;
mod executable;
mod executor;
pub(crate) mod guards;

pub(crate) use control_flow::{
    ScanLayout, eval_untransformed, loop_continues, read_predicate, run_scan, select,
};
pub(crate) use executable::{Executable, reads_values};
pub(crate) use executor::{Executor, Observer, check_types, in_own_memory};
