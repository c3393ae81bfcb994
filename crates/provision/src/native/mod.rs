//! The native library: mlx-c and our own C++, built once and kept.

mod build;
mod child;
mod key;
mod log;

pub(crate) use build::{BuildInputs, build};
pub use child::run_cmake_child_if_requested;
pub(crate) use key::{built_by_any_compiler, names};
