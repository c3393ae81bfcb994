//! Fused transformer kernels, each beside the formula it computes, and kernels of your own.
//!
//! [`rms_norm`], [`layer_norm`], [`rope`], [`scaled_dot_product_attention`] and [`cross_entropy`] are one operation
//! each, which runs as one kernel where the device has one. The functions of the same names in [`composed`] take
//! the same arguments and mean the same, written in MLX's plain operations: the definition to read, to compare with
//! and to fall back to.
//!
//! What computes a call depends on the device, shapes and dtypes, so it is asked for, not assumed: [`backend`] tells
//! it of one result, [`probe`] of an operation on this device, [`trace_backends`] of all fused calls in a piece of work. On the
//! CPU, where MLX has none, kernels are those of the crate `mlx_kernels` (on Linux; `MLX_HOST_KERNELS=0` switches them
//! off), and they compute MLX's own operations too: [`cpu_kernel_runs`] counts them.
//!
//! On NVIDIA GPUs kernels of this workspace take the place of MLX's for norms, rotary embeddings, products with packed
//! weights and attention of few queries; [`cuda_kernel_runs`] counts them, `MLX_CUDA_KERNELS=0` switches them off.
//!
//! [`gelu`], [`gelu_approx`], [`silu`], [`swiglu`] and [`linear`] are one kernel on the CPU, and MLX's operations elsewhere.
//! [`quantized_matmul_int8`] is there on the CPU only. [`quantized_scaled_dot_product_attention`] reads keys and values in
//! 8 bits.
//!
//! [`host_kernel`], [`metal_kernel`] and [`cuda_kernel`] make operations out of Rust functions and of Metal or CUDA
//! source.
//!
//! ```
//! use mlx::fast::{self, AttentionMask, AttentionOptions};
//!
//! # fn main() -> mlx::Result<()> {
//! let q = mlx::ones([1, 4, 8, 64]);
//! let options = AttentionOptions { mask: AttentionMask::causal(), ..Default::default() };
//! let fused = fast::scaled_dot_product_attention_with(&q, &q, &q, &options);
//! let composed = fast::composed::scaled_dot_product_attention(&q, &q, &q, &options);
//! assert!((fused - composed).abs().max(()).item::<f32>()? < 1e-6);
//! # Ok(())
//! # }
//! ```

mod activation;
mod attention;
mod attention_mask;
mod backend;
mod cross_entropy;
mod cuda_kernel;
mod gpu_kernel;
mod inputs;
mod layer_norm;
mod linear;
mod metal_kernel;
#[cfg(test)]
mod native_transforms;
mod offset;
mod quantized_attention;
mod quantized_int8;
mod rms_norm;
mod rope;
#[cfg(test)]
mod tests;

pub use crate::cpu::{
    HostKernel, cpu_kernel_runs, host_kernel, host_kernel_runs, host_kernel_runs_of, vtable_hooks,
};
pub use crate::ffi::host::{HostInput, HostOutput};
pub use activation::{gelu, gelu_approx, silu, swiglu};
pub use attention::{
    AttentionOptions, scaled_dot_product_attention, scaled_dot_product_attention_with,
};
pub use attention_mask::AttentionMask;
pub use backend::{Backend, FastOp, backend, probe, trace_backends};
#[allow(deprecated)]
pub use backend::{Kernel, Path, path, watch};
pub use cross_entropy::cross_entropy;
pub use cuda_kernel::{Cuda, CudaKernel, cuda_kernel, cuda_kernel_runs};
pub use gpu_kernel::{GpuKernel, Launch, TemplateArg};
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use metal_kernel::{Metal, MetalKernel, metal_kernel};
pub use offset::Offset;
pub use quantized_attention::{
    dequantize_rows, quantize_rows, quantized_scaled_dot_product_attention,
};
pub use quantized_int8::quantized_matmul_int8;
pub use rms_norm::rms_norm;
pub use rope::{RopeFrequencies, RopeOptions, rope};

/// The same functions in MLX's plain operations: what the fused ones mean.
pub mod composed {
    pub use super::activation::composed::{gelu, gelu_approx, silu, swiglu};
    pub use super::attention::composed as scaled_dot_product_attention;
    pub use super::cross_entropy::composed as cross_entropy;
    pub use super::layer_norm::composed as layer_norm;
    pub use super::linear::composed as linear;
    pub use super::rms_norm::composed as rms_norm;
    pub use super::rope::composed as rope;
}

/// Programs of several operations under their former names.
#[deprecated(note = "renamed to mlx::program and mlx::cpu")]
#[doc(hidden)]
pub mod sequence {
    pub use crate::cpu::may_be_step;
    pub use crate::program::{
        Operation as StepKind, PlanError as NoSequence, Step as SequenceStep,
    };

    /// Returns whether an operation is another view of its input.
    pub fn is_view(op: &crate::Op) -> bool {
        op.is_view()
    }

    /// Returns whether a view keeps its input's elements in their order, in another shape.
    pub fn reshapes(op: &crate::Op) -> bool {
        op.flags().contains(crate::op::OpFlags::KEEPS_ORDER)
    }

    /// Makes a program of steps and a kernel of that.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn sequence(
        name: &str,
        inputs: &[crate::ArrayType],
        steps: Vec<SequenceStep>,
        outputs: &[usize],
        captured: Vec<crate::SharedArray>,
    ) -> Result<super::HostKernel, NoSequence> {
        let program = crate::cpu::program(inputs, captured.len(), steps, outputs)?;
        crate::cpu::program_kernel(name, &program, captured)
    }
}
