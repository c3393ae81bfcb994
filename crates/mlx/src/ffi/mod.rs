//! The fence: the only place that calls the native library, and the only `unsafe` in this crate.
//!
//! Rules, each kept by one file:
//! - a handle is owned by exactly one Rust value and freed by its `Drop` (`handle`, `vector`, `stream`, `closure`, `custom_function`);
//! - every status is checked, and the text of a failure taken, by the same call (`call`);
//! - data is read only after evaluation and only as the type it has (`data`);
//! - no panic crosses into C, and none is lost (`closure`, `host`);
//! - what a thread's closures capture is dropped by that thread (`thread_bound`);
//! - everything here works on handles; shapes, names and policy are the callers' business.
#![allow(unsafe_code)]

pub(crate) mod call;
pub(crate) mod closure;
pub(crate) mod compiled;
pub(crate) mod cpu;
pub(crate) mod custom;
pub(crate) mod custom_function;
pub(crate) mod data;
pub(crate) mod device_info;
pub(crate) mod distributed;
#[cfg(feature = "dlpack")]
pub(crate) mod dlpack;
pub(crate) mod eval;
pub(crate) mod exporting;
pub(crate) mod gpu_kernel;
pub(crate) mod graph_text;
pub(crate) mod handle;
pub(crate) mod host;
pub(crate) mod host_array;
pub(crate) mod inspect;
pub(crate) mod memory;
pub(crate) mod memory_plan;
pub(crate) mod metal;
pub(crate) mod mpi;
pub(crate) mod process;
mod program;
pub(crate) mod random_key;
pub(crate) mod scoped_closure;
pub(crate) mod shared;

pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod table_op;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod thread_bound;
pub(crate) mod transform;
pub(crate) mod vector;

pub(crate) use crate::error::NativeError;
pub(crate) use handle::Handle;
