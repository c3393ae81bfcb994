//! The operations of Python's `mlx.core`, as methods where the first argument is an array.
//!
//! A file is a family; each function is one line that binds an [`Op`](crate::Op).

mod binary;
mod conv;
mod create;
mod join;
mod operators;
mod pad;
mod product;
mod quantized;
mod reduce;
mod scan;
mod shape;
mod sort;
mod unary;

pub use binary::where_;
pub use conv::{ConvGeneralOptions, ConvOptions, ConvTransposeOptions, ConvolveMode};
pub use create::{
    arange, bartlett, blackman, eye, full, full_like, hamming, hanning, identity, iota, linspace,
    ones, ones_like, tri, zeros, zeros_like,
};
pub use join::{broadcast_arrays, concatenate, meshgrid, stack};
pub use pad::PadWidth;
pub use product::{BlockMasks, GatherOptions, addmm, einsum};
pub use quantized::{Quantization, Quantized};
pub use scan::CumulativeOptions;
