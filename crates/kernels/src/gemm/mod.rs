//! Dense matrix products: GEMV for a few vectors, packed GEMM for many, and their microkernels.

mod batched;
pub(crate) mod blocked;
mod chunks;
pub(crate) mod factors;
mod gemv;
mod gevm;
mod matmul;
pub(crate) mod matrix_tiles;
pub(crate) mod microkernel;
pub(crate) mod packed;
pub(crate) mod pairs;
pub(crate) mod scratch;
mod shape;
mod split_tiles;
mod tasks;
mod tile_sums;

pub(crate) use batched::batched_matmul_instance;
pub use batched::{Addend, MatmulShape, StridedMatrices, batched_matmul};
pub use matmul::matmul;
pub(crate) use matmul::matmul_instance;
pub use shape::MatrixShape;
pub use split_tiles::splits_products;
