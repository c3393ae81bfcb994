//! The operations of Python's `mlx.core`, as methods where the first argument is an array.
//!
//! A file is a family; each function is one line that binds an [`Op`](crate::Op).

mod binary;
mod create;
mod join;
mod product;
mod reduce;
mod shape;
mod unary;

pub use binary::where_;
pub use create::{
    arange, bartlett, blackman, eye, full, full_like, hamming, hanning, identity, iota, linspace,
    ones, ones_like, tri, zeros, zeros_like,
};
pub use join::{broadcast_arrays, concatenate, meshgrid, stack};
pub use product::{addmm, einsum};
