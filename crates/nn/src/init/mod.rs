//! Initial values of parameters: the initializers of `mlx.nn.init`, and the source of random numbers that layers take.
//!
//! `init::normal(0.0, 0.02)` is a function that gives an array like the one it is called with; [`Init`] gives arrays of a
//! shape, from a seed or a key of one's own.
//!
//! ```
//! use mlx_nn::{Linear, Module, init};
//!
//! # fn main() -> mlx::Result<()> {
//! let mut layer = Linear::new(3, 3);
//! layer.weight = init::orthogonal(1.0)(&layer.weight);
//! layer.apply(init::normal(0.0, 0.02));
//! assert_eq!(layer.weight.shape()?, [3, 3]);
//! # Ok(())
//! # }
//! ```

mod functions;
mod source;

pub use functions::{
    constant, glorot_normal, glorot_uniform, he_normal, he_uniform, identity, normal, orthogonal,
    sparse, uniform,
};
pub(crate) use source::thread_key;
pub use source::{Fan, Init, seed};
