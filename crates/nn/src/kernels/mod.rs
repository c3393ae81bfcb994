//! Layers as one kernel on the CPU, with gradients of their own, where MLX composes them of many passes over memory.
//!
//! A kernel's composed form has its gradient too, so that each level of differentiation finds a kernel; `vmap` and further
//! derivatives go through MLX's operations.

mod conv;
mod pool;
mod recurrent;
mod resample;

use mlx::fast::{HostInput, HostOutput};
use mlx::{Array, Device};

pub(crate) use conv::Convolution;
pub(crate) use pool::{PoolWindows, Pooling, pool};
pub(crate) use recurrent::{Sequence, recurrent};
pub(crate) use resample::{Terms, resample};

/// Returns whether kernels may run: on the CPU, and not while a function is traced, which records MLX's operations.
fn may_run(x: &Array) -> bool {
    use mlx::compiler_api::TracedArray;
    mlx::cpu::are_kernels_enabled()
        && mlx::compiler_api::recorders().is_empty()
        && !x.is_tracer()
        && Device::current().is_ok_and(|device| device == Device::Cpu)
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
