//! Layers as one kernel on the CPU, with gradients of their own, where MLX composes them of many passes over memory.
//!
//! A kernel's composed form has its gradient too, so that each level of differentiation finds a kernel; `vmap` and further
//! derivatives go through MLX's operations.

mod batch_norm;
mod conv;
mod optimizer;
mod pool;
mod recurrent;
mod resample;

use mlx::fast::{HostInput, HostOutput};
use mlx::{Array, Device, Dtype};

pub(crate) use batch_norm::batch_norm;
pub(crate) use conv::Convolution;
pub(crate) use optimizer::stepped;
pub(crate) use pool::{PoolWindows, Pooling, pool};
pub(crate) use recurrent::{Sequence, recurrent};
pub(crate) use resample::{Terms, resample};

/// Returns whether a function is traced: then it records one operation, which chooses a kernel when the graph runs.
fn is_traced(arrays: &[&Array]) -> bool {
    use mlx::compiler_api::TracedArray;
    !mlx::compiler_api::recorders().is_empty() || arrays.iter().any(|array| array.is_tracer())
}

/// Returns whether gradients are taken of one of these arrays, or another transform works on it.
fn is_transformed(arrays: &[&Array]) -> bool {
    use mlx::compiler_api::TracedArray;
    arrays.iter().any(|array| array.is_transform_argument())
}

/// Returns whether kernels may run where operations are computed now, in the end.
fn is_on_cpu() -> bool {
    mlx::cpu::are_kernels_enabled() && Device::current().is_ok_and(|device| device == Device::Cpu)
}

/// Whether kernels store elements of this type.
fn is_stored(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16)
}

/// Returns an input, or what is missing.
fn input<'a, 'b>(inputs: &'a [HostInput<'b>], index: usize) -> Result<&'a HostInput<'b>, String> {
    let got = inputs.len();
    let missing = || format!("wanted at least {} inputs, got {got}", index + 1);
    inputs.get(index).ok_or_else(missing)
}

/// Returns the only output.
fn output<'a, 'b>(outputs: &'a mut [HostOutput<'b>]) -> Result<&'a mut HostOutput<'b>, String> {
    outputs
        .first_mut()
        .ok_or_else(|| "wanted an output".to_owned())
}

/// Returns sizes as the kernels take them.
fn sizes(shape: &[i32]) -> Vec<usize> {
    let size = |&size: &i32| usize::try_from(size).unwrap_or(0);
    shape.iter().map(size).collect()
}
