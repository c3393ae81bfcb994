//! CPU kernels over slices: what the CPU needs to be fast where MLX has scalar loops or none.
//!
//! Nothing here knows of MLX: slices go in, a slice comes out, a parameter struct says the shape.
//! Each function documents its formula, how it is cut into blocks, what bounds its speed, and its error.
//!
//! - Vector instructions are chosen when the first kernel runs: AVX-512, AVX2 with FMA, NEON, or scalar code
//!   (`MLX_KERNELS_SIMD=avx2` or `scalar` asks for less).
//! - Work is split over a private pool of as many threads as cores; `MLX_NUM_THREADS` overrides.
//!   A result depends on the shape, the instruction set and the number of threads, never on timing.
//! - Values are stored as `f32`, and for most kernels also as `f16` or `bf16`; arithmetic is always `f32`.
//! - Wrong lengths are an [`Error`], never a panic, and then nothing was written.
//!
//! ```
//! let mut out = [0.0; 3];
//! mlx_kernels::exp(&[0.0, 1.0, f32::NEG_INFINITY], &mut out)?;
//! assert_eq!(out[0], 1.0);
//! assert_eq!(out[2], 0.0);
//! # Ok::<(), mlx_kernels::Error>(())
//! ```

#![deny(unsafe_code)]

mod attention;
mod conv;
mod element;
mod elementwise;
mod error;
mod gemm;
mod parallel;
mod quantized;
mod rope;
mod rowwise;
mod simd;
mod strided;

pub use attention::{
    AttentionGradient, AttentionInputs, AttentionShape, Mask, MaskStrides, Strided, Strides,
    attention, attention_gradient,
};
pub use conv::{Conv1d, conv1d};
pub use element::Element;
pub use elementwise::{
    Binary, Operand, Program, RegionInput, Simple, Step, Unary, Values, ValuesMut, binary, cos,
    erf, exp, gelu, gelu_tanh, log, sigmoid, silu, sin, swiglu, tanh, unary, unary_in_place,
};
pub use error::{Error, Result};
pub use gemm::{MatrixShape, matmul, matvec};
pub use parallel::threads;
pub use quantized::{Quantized, quantized_matmul, quantized_matmul_int8};
pub use rope::{Rope, RopeShape, Rotations, rope};
pub use rowwise::{
    NormGradient, ReduceShape, Reduction, RowIndex, Rows, cross_entropy, cross_entropy_gradient,
    gather, layer_norm, layer_norm_gradient, logsumexp, reduce, rms_norm, rms_norm_gradient,
    softmax, softmax_gradient,
};
pub use simd::instruction_set;
pub use strided::copy_strided;
