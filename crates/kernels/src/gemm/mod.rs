//! Dense matrix products: GEMV for a few vectors, packed GEMM for many, and their microkernels.

mod gemv;
mod matmul;
pub(crate) mod microkernel;
pub(crate) mod packed;
mod shape;

pub use matmul::matmul;
pub use shape::MatrixShape;
