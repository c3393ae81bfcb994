//! Layers, losses and optimizers for models on `mlx`, with the names of Python's `mlx.nn` and `mlx.optimizers`.
//!
//! A layer is a plain struct with its parameters in public fields. [`Module`] has one required method,
//! which visits them by name; the tree of parameters, loading with a report and switching kernels follow from it.
//!
//! ```
//! use mlx_nn::{Init, Linear, Module};
//!
//! # fn main() -> mlx::Result<()> {
//! let layer = Linear::new(4, 2, true, &mut Init::seed(0));
//! let y = layer.forward(&mlx::array!([[1.0, 2.0, 3.0, 4.0]]));
//! assert_eq!(y.shape()?, [1, 2]);
//! assert_eq!(layer.parameters().into_keys().collect::<Vec<_>>(), ["bias", "weight"]);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod activation;
mod attention;
mod conv;
mod dropout;
mod embedding;
mod fast_ops;
mod init;
mod layer_error;
mod linear;
pub mod losses;
mod module;
mod norm;
pub mod optimizers;
mod quantized;
mod training;

pub use activation::{gelu, gelu_approx, gelu_fast_approx, relu, silu};
pub use attention::MultiHeadAttention;
pub use conv::{Conv1d, Conv2d};
pub use dropout::Dropout;
pub use embedding::Embedding;
#[allow(deprecated)]
pub use fast_ops::Kernels;
pub use fast_ops::{FastOps, preferred_dtype};
pub use init::{Fan, Init};
pub use linear::Linear;
#[allow(deprecated)]
pub use module::Parts;
pub use module::{LoadError, LoadReport, Module, ParameterVisitor, WeightMap};
pub use norm::{LayerNorm, RmsNorm};
pub use quantized::{Activations, QuantizedEmbedding, QuantizedLinear};
pub use training::{LossScale, LossScaler, cast, clip_grad_norm, select, value_and_grad};
