//! Dense matrix products: a vector, a few vectors, many.

pub(crate) mod gemv;
pub(crate) mod microkernel;
pub(crate) mod packed;

pub use gemv::{MatrixShape, matmul, matvec};
