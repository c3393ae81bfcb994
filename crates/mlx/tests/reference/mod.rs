//! What the fused kernels should give: the formulas in plain Rust over `Vec<f64>`, sharing no code with the crate.
//!
//! Loops follow the mathematics, not MLX: one output element at a time. Inputs are first rounded to the dtype that
//! the kernel will see, so that only its own arithmetic differs.
#![allow(dead_code, unused_imports)]

pub mod attention;
pub mod compare;
pub mod norm;
pub mod numbers;
pub mod rope;

pub use compare::assert_close;
pub use numbers::{Numbers, Tensor};
