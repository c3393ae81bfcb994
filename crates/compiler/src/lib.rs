//! Compiles Rust functions over arrays: traces them, fuses what is proven, keeps the rest as it was written.
#![forbid(unsafe_code)]

mod control;
mod error;
mod fusions;
pub mod graph;
pub mod interpret;
mod run;
mod trace;

pub use control::{ScanOptions, cond, scan, while_loop};
pub use error::{Error, Result};
pub use fusions::Fusion;
pub use graph::Graph;
