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
mod binary;
mod conv;
mod cross_entropy_gradient;
mod element;
mod elementwise;
mod error;
mod gather;
mod half_dots;
mod lanes;
mod many;
mod matvec;
mod norm;
mod norm_gradient;
mod pool;
mod powers;
mod quantized;
mod reduce;
mod region;
mod rope;
mod simd;
mod softmax;
mod stream;
mod team;
mod tiles;
mod widen;

pub use attention::{
    AttentionGradient, AttentionInputs, AttentionShape, Mask, MaskStrides, Strided, Strides,
    attention, attention_gradient,
};
pub use binary::{Operand, binary};
pub use conv::{Conv1d, conv1d};
pub use cross_entropy_gradient::cross_entropy_gradient;
pub use element::Element;
pub use elementwise::{
    Unary, cos, erf, exp, gelu, gelu_tanh, log, sigmoid, silu, sin, swiglu, tanh, unary,
    unary_in_place,
};
pub use error::{Error, Result};
pub use gather::{RowIndex, gather};
pub use matvec::{MatrixShape, matmul, matvec};
pub use norm::{Rows, layer_norm, rms_norm};
pub use norm_gradient::{NormGradient, layer_norm_gradient, rms_norm_gradient};
pub use pool::{parallel_for, threads};
pub use quantized::{Quantized, quantized_matmul, quantized_matmul_int8};
pub use reduce::{ReduceShape, Reduction, reduce};
pub use region::{Binary, Program, RegionInput, Simple, Step, Values, ValuesMut};
pub use rope::{Rope, RopeShape, Rotations, rope};
pub use simd::instruction_set;
pub use softmax::{cross_entropy, logsumexp, softmax, softmax_gradient};
