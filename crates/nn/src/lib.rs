//! Layers, losses and optimizers for models on `mlx`, with the names of Python's `mlx.nn` and `mlx.optimizers`.
//!
//! A layer is a plain struct with its parameters in public fields, and a model is a struct of layers. Both derive
//! [`Module`], which finds the parameters by name; loading with a report, freezing, training and a summary follow from
//! it. `forward` is a method, or the trait [`Forward`] where generic code calls it.
//!
//! ```
//! use mlx::Array;
//! use mlx_nn::optimizers::{Optimizer, SGD};
//! use mlx_nn::{Linear, Module, losses, relu, value_and_grad};
//!
//! #[derive(Clone, Module)]
//! struct Mlp {
//!     layers: Vec<Linear>,
//! }
//!
//! impl Mlp {
//!     fn forward(&self, x: &Array) -> Array {
//!         let (last, first) = self.layers.split_last().expect("layers");
//!         last.forward(&first.iter().fold(x.clone(), |x, layer| relu(&layer.forward(&x))))
//!     }
//! }
//!
//! # fn main() -> mlx::Result<()> {
//! let mut model = Mlp { layers: vec![Linear::new(2, 16), Linear::new(16, 1)] };
//! let step = value_and_grad(&model, |model: &Mlp, (x, y): &(Array, Array)| {
//!     losses::mse_loss(&model.forward(x), y)
//! });
//! let mut optimizer = SGD::new(0.1);
//! let batch = (mlx::array!([[1.0, 2.0]]), mlx::array!([[3.0]]));
//! for _ in 0..3 {
//!     let (loss, gradients) = step(&model, &batch)?;
//!     optimizer.update(&mut model, &gradients)?;
//!     mlx::eval(&model)?;
//! #   assert!(loss.item::<f32>()?.is_finite());
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

// The derive macro writes `::mlx_nn`, in this crate too.
extern crate self as mlx_nn;

mod activation;
mod activation_layers;
mod attention;
mod batch_norm;
mod bilinear;
mod checkpoint;
mod conv;
mod conv3d;
mod conv_transpose;
mod debug;
pub mod distributed;
mod dropout;
mod embedding;
mod fast_ops;
mod forward;
mod group_norm;
pub mod init;
mod inputs;
mod kernels;
mod layer_error;
mod linear;
pub mod lora;
pub mod losses;
mod module;
mod norm;
pub mod optimizers;
mod packed;
mod pooling;
mod positional;
mod qq_linear;
mod quantized;
mod recurrent;
mod sequential;
mod training;
mod transformer;
mod upsample;

pub use activation::{
    celu, celu_with, elu, elu_with, gelu, gelu_approx, gelu_fast_approx, glu, glu_with,
    hard_shrink, hard_shrink_with, hard_tanh, hard_tanh_with, hardswish, leaky_relu,
    leaky_relu_with, log_sigmoid, log_softmax, mish, prelu, relu, relu2, relu6, selu, sigmoid,
    silu, softmax, softmin, softplus, softshrink, softshrink_with, softsign, step, step_with, tanh,
};
pub use activation_layers::{
    CELU, ELU, GELU, GLU, GeluApprox, HardShrink, HardTanh, Hardswish, LeakyReLU, LogSigmoid,
    LogSoftmax, Mish, PReLU, ReLU, ReLU2, ReLU6, SELU, SiLU, Sigmoid, Softmax, Softmin, Softplus,
    Softshrink, Softsign, Step, Tanh,
};
pub use attention::MultiHeadAttention;
pub use batch_norm::{BatchNorm, RunningStatistic};
pub use bilinear::Bilinear;
pub use checkpoint::checkpoint;
pub use conv::{Conv1d, Conv2d};
pub use conv_transpose::{ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
pub use conv3d::Conv3d;
pub use dropout::{Dropout, Dropout2d, Dropout3d};
pub use embedding::Embedding;
#[allow(deprecated)]
pub use fast_ops::Kernels;
pub use fast_ops::{FastOps, preferred_dtype};
pub use forward::Forward;
pub use group_norm::{GroupNorm, InstanceNorm};
pub use init::{Fan, Init, seed};
pub use inputs::{LstmInput, RecurrentInput, RopeInput};
pub use linear::Linear;
/// Makes a struct or an enum of layers a [`Module`](trait@Module) and a [`Tree`](trait@mlx::Tree).
pub use mlx_derive::Module;
#[allow(deprecated)]
pub use module::Parts;
pub use module::{
    Buffer, IntoWeights, LoadError, LoadReport, Module, ModuleInfo, ModuleState, ParameterInfo,
    ParameterVisitor, Patterns, Summary, WeightMap, visit_trainable,
};
pub use norm::{LayerNorm, RMSNorm, RmsNorm};
pub use optimizers::{
    AdaDelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Lion, MultiOptimizer, Muon, Optimizer,
    RMSprop, SGD,
};
pub use packed::{PackedWeights, quantize};
pub use pooling::{AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d};
pub use positional::{ALiBi, RoPE, SinusoidalPositionalEncoding};
pub use qq_linear::QQLinear;
pub use quantized::{Activations, QuantizedEmbedding, QuantizedLinear};
pub use recurrent::{GRU, LSTM, RNN};
pub use sequential::{
    AnyLayer, ArrayFunction, Identity, IntoLayer, IntoLayers, ModuleLayer, Sequential,
};
pub use training::{
    Gradients, LossScale, LossScaler, cast, clip_grad_norm, select, value_and_grad,
};
pub use transformer::{
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderLayer,
};
pub use upsample::{ScaleFactor, Upsample, UpsampleMode};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
