//! Dense matrix products: a vector, a few vectors, many.

mod gemv;
mod matmul;
pub(crate) mod microkernel;
pub(crate) mod packed;
mod shape;

pub use matmul::matmul;
pub use shape::MatrixShape;
