//! Kernels of ours on the CPU: which operations they take, and how arrays of MLX become their slices.
//!
//! The native library offers each evaluation of an operation on a CPU stream (`native/vtable_hook.cpp`,
//! `native/cpu_fast.cpp`). [`accepts`] looks at dtypes, sizes and strides and says whether a kernel computes it; if not,
//! MLX's own code does. [`run`] is the kernel. Everything here is safe code over the crate `mlx_kernels`.

mod attention;
mod conv;
mod elementwise;
mod layout;
mod norm;
mod product;
mod reduce;
mod region;
mod rope;
pub mod sequence;
mod softmax;
mod step;

use mlx_kernels::{Binary, Reduction, Simple, Unary};

pub(crate) use attention::Asked;

use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput, Layout};

/// An operation with its attributes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kernel {
    Unary(Unary),
    /// A function that is an instruction or two.
    Simple(Simple),
    Binary(Binary),
    /// Gate and `x`.
    SwiGlu,
    Softmax,
    LogSumExp,
    Reduce {
        kind: Reduction,
        axes: Vec<usize>,
    },
    Matmul,
    /// `alpha * a @ b + beta * c`, of `a`, `b` and `c`.
    Addmm {
        alpha: f32,
        beta: f32,
    },
    /// `x` and half-precision weights, `[n, k]`.
    Linear,
    /// `x` and weights; stride, padding, dilation and groups.
    Conv1d([usize; 4]),
    /// `x`, packed weights, scales and biases.
    QuantizedMatmul {
        group_size: usize,
        bits: usize,
        is_transposed: bool,
    },
    /// `x` and perhaps weights.
    RmsNorm {
        eps: f32,
    },
    /// As `RmsNorm`, and the gradient of its result.
    RmsNormGradient {
        eps: f32,
    },
    LayerNorm {
        has_weight: bool,
        has_bias: bool,
        eps: f32,
    },
    /// As `LayerNorm`, and the gradient of its result.
    LayerNormGradient {
        has_weight: bool,
        has_bias: bool,
        eps: f32,
    },
    /// `x`, offset and perhaps frequencies.
    Rope {
        dims: usize,
        is_traditional: bool,
        has_frequencies: bool,
        base: f32,
        scale: f32,
    },
    /// Queries, keys, values, perhaps mask and sinks.
    Attention(Asked),
    /// As `Attention`, and the gradient of its result.
    AttentionGradient(Asked),
    /// Logits and targets.
    CrossEntropy,
    /// Logits, targets and the gradient of the losses.
    CrossEntropyGradient,
}

/// Returns whether a kernel computes this operation of MLX's, and faster than MLX does.
pub(crate) fn accepts(kernel: &Kernel, inputs: &[Layout<'_>], outputs: &[Layout<'_>]) -> bool {
    let &[out] = outputs else {
        return false;
    };
    match kernel {
        Kernel::Unary(_) => elementwise::accepts_unary(inputs, out),
        // In half precision MLX rounds the root before it divides.
        Kernel::Simple(Simple::Rsqrt) => {
            out.dtype() == Dtype::Float32 && elementwise::accepts_region(inputs, out)
        }
        Kernel::Simple(_) | Kernel::Binary(_) => elementwise::accepts_region(inputs, out),
        Kernel::Conv1d(_) => conv::accepts(inputs),
        Kernel::Softmax => softmax::accepts(inputs),
        Kernel::LogSumExp => softmax::accepts_logsumexp(inputs),
        Kernel::Reduce { axes, .. } => reduce::accepts(axes, inputs),
        Kernel::Matmul => product::accepts_matmul(inputs),
        Kernel::Addmm { .. } => product::accepts_addmm(inputs),
        Kernel::QuantizedMatmul {
            group_size,
            bits,
            is_transposed,
        } => *is_transposed && product::accepts_quantized(*group_size, *bits, inputs),
        // Primitives of our own are only made where the kernel applies.
        Kernel::SwiGlu
        | Kernel::Linear
        | Kernel::RmsNorm { .. }
        | Kernel::RmsNormGradient { .. }
        | Kernel::LayerNorm { .. }
        | Kernel::LayerNormGradient { .. }
        | Kernel::Rope { .. }
        | Kernel::Attention(_)
        | Kernel::AttentionGradient(_)
        | Kernel::CrossEntropy
        | Kernel::CrossEntropyGradient => true,
    }
}

/// Computes. An error reaches whoever evaluates.
pub(crate) fn run(
    kernel: &Kernel,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    match *kernel {
        Kernel::Unary(function) => elementwise::unary(function, inputs, outputs),
        Kernel::Simple(function) => elementwise::simple(function, inputs, outputs),
        Kernel::Conv1d(sizes) => conv::run(sizes, inputs, outputs),
        Kernel::Binary(function) => elementwise::binary(function, inputs, outputs),
        Kernel::SwiGlu => elementwise::swiglu(inputs, outputs),
        Kernel::Softmax => softmax::softmax(inputs, outputs),
        Kernel::LogSumExp => softmax::logsumexp(inputs, outputs),
        Kernel::CrossEntropy => softmax::cross_entropy(inputs, outputs),
        Kernel::CrossEntropyGradient => softmax::cross_entropy_gradient(inputs, outputs),
        Kernel::Reduce { kind, ref axes } => reduce::run(kind, axes, inputs, outputs),
        Kernel::Matmul => product::matmul(inputs, outputs),
        Kernel::Addmm { alpha, beta } => product::addmm([alpha, beta], inputs, outputs),
        Kernel::Linear => product::linear(inputs, outputs),
        Kernel::QuantizedMatmul {
            group_size, bits, ..
        } => product::quantized(group_size, bits, inputs, outputs),
        Kernel::RmsNorm { eps } => norm::rms_norm(eps, inputs, outputs),
        Kernel::RmsNormGradient { eps } => norm::rms_norm_gradient(eps, inputs, outputs),
        Kernel::LayerNorm {
            has_weight,
            has_bias,
            eps,
        } => norm::layer_norm([has_weight, has_bias], eps, inputs, outputs),
        Kernel::LayerNormGradient {
            has_weight,
            has_bias,
            eps,
        } => norm::layer_norm_gradient([has_weight, has_bias], eps, inputs, outputs),
        Kernel::Rope { .. } => rope::run(kernel, inputs, outputs),
        Kernel::Attention(asked) => attention::run(asked, inputs, outputs),
        Kernel::AttentionGradient(asked) => attention::gradient(asked, inputs, outputs),
    }
}

/// Whether kernels store this dtype.
fn is_stored(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16)
}

/// Calls a function that is generic over the storage type with the type of a dtype.
macro_rules! by_dtype {
    ($dtype:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $dtype {
            $crate::Dtype::Float32 => $function::<f32>($($argument),*),
            $crate::Dtype::Float16 => $function::<half::f16>($($argument),*),
            $crate::Dtype::Bfloat16 => $function::<half::bf16>($($argument),*),
            other => Err(format!("no kernel stores {other}")),
        }
    };
}
use by_dtype;

/// What both crates store.
trait Stored: crate::Element + mlx_kernels::Element + Into<f32> {
    /// The nearest number of this type.
    fn nearest(number: f32) -> Self;
}

impl Stored for f32 {
    fn nearest(number: f32) -> Self {
        number
    }
}

impl Stored for half::f16 {
    fn nearest(number: f32) -> Self {
        Self::from_f32(number)
    }
}

impl Stored for half::bf16 {
    fn nearest(number: f32) -> Self {
        Self::from_f32(number)
    }
}
