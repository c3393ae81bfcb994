//! The CPU backend: everything that makes the CPU a device.
//!
//! * `supports`: which operations kernels compute, of which dtypes, shapes and strides. The one place with
//!   such conditions: the native library asks it when a fused operation is applied and when one of MLX's own is evaluated,
//!   and the planner of programs asks it as well.
//! * `run`: which kernel computes which operation; `norm`, `softmax`, `product`, `attention`, ... choose by dtype and layout.
//! * `elementwise`, `elementwise_typed`: functions of each element, one by one, of any dtype; `lower`, `elementwise_program`: several in one pass.
//! * `clip`: limits in one pass.
//! * `executor`: programs (`crate::program`) as one host kernel.
//! * `compute`: operations on arrays of this process's memory, without MLX.
//! * `custom`: user-defined operations, public as `fast::host_kernel`.
//! * `deferred`: a function as one operation of a traced function, which chooses kernels when the graph runs.
//! * `backend`: the answers to the native library's questions.
//!
//! Kernels themselves are in the crate `mlx_kernels`, over slices; this is safe code between them and arrays.

mod attention;
mod backend;
mod by_type;
mod clip;
mod compute;
mod conv;
mod custom;
mod data;
mod deferred;
mod dispatch;
mod elementwise;
mod elementwise_program;
mod elementwise_typed;
mod executor;
mod fourier;
mod layout;
mod linalg;
mod lower;
mod matmul;
mod norm;
mod order;
mod product;
mod reduce;
mod rope;
mod run;
mod scan;
mod softmax;
mod supports;
mod update;

pub use crate::ffi::host_array::{HostArray, HostMemory, MemoryPool};
use std::sync::LazyLock;

use mlx_provision::environment;

pub(crate) use attention::{group_size, quantize_rows, quantized as quantized_attention};
pub(crate) use backend::Cpu;
pub(crate) use clip::clip;
pub use compute::{broadcast, cast, compute, contiguous, is_computed, slice_at, update_slice};
pub(crate) use custom::{ComposedForm, HOST_PREFIX, compose};
pub use custom::{
    HostKernel, cpu_kernel_runs, host_kernel, host_kernel_runs, host_kernel_runs_of, vtable_hooks,
};
pub use deferred::{deferred, expand};
use dispatch::{Stored, by_dtype};
pub use elementwise_program::elementwise_kernel;
pub use executor::{may_be_step, program, program_kernel};
pub use lower::{ElementwiseInput, supports_elementwise};
pub(crate) use product::quantized_int8;
pub(crate) use supports::{broadcast_input, is_instruction, prepare, supports};

/// Returns whether this thread uses the CPU backend's kernels: unless `MLX_HOST_KERNELS` switches them off, or a function is being
/// written for other programs.
pub fn are_kernels_enabled() -> bool {
    static ENABLED: LazyLock<bool> =
        LazyLock::new(|| environment::flag(environment::HOST_KERNELS) != Some(false));
    *ENABLED && !crate::ffi::exporting::is_exporting()
}
