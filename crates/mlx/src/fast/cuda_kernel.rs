//! Kernels in CUDA C++ as operations, with a composed form for other devices.

use std::ffi::CString;

use super::gpu_kernel::{GpuKernel, Language};
use crate::error::WithOp;
use crate::ffi::gpu_kernel as native;

/// CUDA source as an operation on arrays; made by [`cuda_kernel`].
///
/// Plain text and a function: `Send` and `Sync`, and made without a GPU.
pub type CudaKernel = GpuKernel<Cuda>;

/// Names CUDA C++ in the type of a [`GpuKernel`].
#[derive(Clone, Copy, Debug)]
pub enum Cuda {}

/// Makes an operation of CUDA source.
///
/// `source` is the body of a CUDA function, as for `mx.fast.cuda_kernel` in Python: inputs and outputs are pointers with
/// these names, `x_shape`, `x_strides` and `x_ndim` are there for an input `x`, and `cg` is `cooperative_groups`.
/// The grid is rounded up to whole blocks, so threads beyond the end must stop themselves.
/// MLX compiles it at the first evaluation and keeps it for the process. It is trusted: it may read and write any memory
/// of the GPU that it has an address of.
///
/// Where this thread's stream is not on a CUDA GPU, the [composed form](CudaKernel::composed) runs instead.
///
/// ```
/// use mlx::fast::{Launch, cuda_kernel};
///
/// # fn main() -> mlx::Result<()> {
/// let exp = cuda_kernel("my_exp", &["x"], &["y"], "auto i = cg::this_grid().thread_rank(); if (i < 2) y[i] = exp(x[i]);")
///     .composed(|inputs| vec![inputs[0].exp()]);
/// let x = mlx::array!([0.0, 1.0]);
/// let launch = Launch { grid: [2, 1, 1], outputs: vec![x.array_type()?], ..Default::default() };
/// let y = exp.apply_one(&[&x], &launch);
/// # y.eval()
/// # }
/// ```
pub fn cuda_kernel(
    name: &str,
    input_names: &[&str],
    output_names: &[&str],
    source: &str,
) -> CudaKernel {
    let language = Language::Cuda { shared_memory: 0 };
    GpuKernel::new(name, input_names, output_names, source, language)
}

impl CudaKernel {
    /// Sets the dynamic shared memory of each block, in bytes. None by default.
    pub fn shared_memory(mut self, bytes: i32) -> Self {
        self.definition.language = Language::Cuda {
            shared_memory: bytes,
        };
        self
    }
}

/// Returns how often this crate's own CUDA kernels have computed an operation in this process.
///
/// `name` is that of MLX's class, or of an operation that it has none for: `"LayerNorm"`, `"LayerNormVJP"`, `"RMSNorm"`, `"RoPE"`,
/// `"QuantizedMatmul"`, `"Matmul"` and `"AddMM"` (one row), `"DynamicSliceUpdate"`, `"ScaledDotProductAttention"`, `"Gelu"`, `"GeluApprox"`, `"Silu"`,
/// `"SwiGlu"`, or of what is computed together: `"AddRMSNorm"`, `"RMSNormRoPE"`, `"TokenHeads"`, `"MatmulSwiGlu"`, `"AttentionSelect"`. `"CudaProgram"` counts calls of compiled functions that were one launch of a recorded graph,
/// `"CudaProgramRecorded"` those that were recorded. 0 on other devices, for other names, and where `MLX_CUDA_KERNELS=0` leaves
/// all work to MLX.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn cuda_kernel_runs(name: &str) -> crate::Result<u64> {
    let Ok(name) = CString::new(name) else {
        return Ok(0);
    };
    native::cuda_kernel_runs(&name).with_op("fast.cuda_kernel_runs")
}
