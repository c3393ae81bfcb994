//! The harness behind `cargo xtask bench`: the same work in our library and in its rivals, interleaved in one run.
//!
//! [`rows`] says what is measured, a [`runner`](process) is a process that measures it and speaks [`protocol`],
//! [`measure`] interleaves them, and [`results`] holds what came out, which [`table`], [`plots`] and [`compare`]
//! read. [`jit_vs_eager`] is a gate of its own: compiled functions against the same functions uncompiled.

pub mod check;
pub mod compare;
pub mod device;
pub mod environment;
pub mod export;
pub mod gpu_summary;
pub mod inputs;
pub mod jit_vs_eager;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod npy;
pub mod options;
pub mod plan;
pub mod plots;
pub mod process;
pub mod protocol;
pub mod results;
pub mod rows;
pub mod run;
pub mod statistics;
pub mod sweep_summary;
pub mod table;
