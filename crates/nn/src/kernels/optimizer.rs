//! Steps of optimizers as one kernel, which updates a parameter and its running means in their own memory where nothing
//! else needs it. In traced functions too: a step is one operation of theirs.
//!
//! In `float32` only. The steps of Python MLX in half precision round each operation, and a kernel that rounds once takes
//! others.

use mlx::compiler_api::type_of;
use mlx::fast::{HostKernel, HostOutput, host_kernel};
use mlx::{Array, Dtype, Result};
use mlx_kernels::{OptimizerStep, optimizer_step};

use super::{input, is_on_cpu, is_traced};
use crate::optimizers::StepContext;

/// The numbers of a step, of the learning rate and the number of the step.
pub(crate) type Settings = dyn Fn(f32, u64) -> OptimizerStep + Send + Sync;

/// A step in MLX's operations: of the gradient, the parameter, its slots, which it updates, and the step.
pub(crate) type Composed =
    dyn Fn(&Array, &Array, &mut [Array], &StepContext) -> Array + Send + Sync;

/// Returns a parameter after a step and updates its `slots`: by a kernel, or in MLX's operations.
#[track_caller]
pub(crate) fn stepped(
    settings: impl Fn(f32, u64) -> OptimizerStep + Send + Sync + 'static,
    composed: impl Fn(&Array, &Array, &mut [Array], &StepContext) -> Array + Send + Sync + 'static,
    (gradient, parameter): (&Array, &Array),
    slots: &mut [Array],
    step: &StepContext,
) -> Array {
    if !fits(gradient, parameter, slots, step) {
        return composed(gradient, parameter, slots, step);
    }
    let n_arrays = 1 + slots.len();
    let made = kernel(n_arrays, Box::new(settings), Box::new(composed)).and_then(|kernel| {
        let mut inputs: Vec<&Array> = vec![parameter];
        inputs.extend(slots.iter());
        inputs.extend([gradient, &step.learning_rate, &step.step]);
        kernel.apply(&inputs)
    });
    let mut arrays = match made {
        Ok(arrays) => arrays.into_iter(),
        Err(error) => return Array::failed(error),
    };
    let parameter = arrays.next();
    for (slot, array) in slots.iter_mut().zip(arrays) {
        *slot = array;
    }
    parameter.unwrap_or_else(|| mlx::zeros([0]))
}

/// Whether kernels may run, all arrays are of one type, and the numbers of the step are what they are by default.
fn fits(gradient: &Array, parameter: &Array, slots: &[Array], step: &StepContext) -> bool {
    let Ok(wanted) = type_of(parameter) else {
        return false;
    };
    let is_alike = |array: &Array| type_of(array).is_ok_and(|other| other == wanted);
    // While a function is traced, that they are is a guard of the trace.
    let has_guards = |array: &Array| match (array.sizes(), parameter.sizes()) {
        (Ok(sizes), Ok(wanted)) => sizes == wanted,
        _ => false,
    };
    let is_alike =
        |array: &Array| is_alike(array) && (!is_traced(&[array, parameter]) || has_guards(array));
    let is_number = |array: &Array, dtype| {
        let found = type_of(array);
        found.is_ok_and(|found| found.shape.is_empty() && found.dtype == dtype)
    };
    is_on_cpu()
        && wanted.dtype == Dtype::Float32
        && is_alike(gradient)
        && slots.iter().all(is_alike)
        && is_number(&step.learning_rate, Dtype::Float32)
        && is_number(&step.step, Dtype::Uint64)
}

/// Returns the kernel over the parameter, its slots, the gradient, the learning rate, and the number of the step.
fn kernel(n_arrays: usize, settings: Box<Settings>, composed: Box<Composed>) -> Result<HostKernel> {
    let kernel = host_kernel(
        "optimizer step",
        move |inputs| Ok(inputs.iter().take(n_arrays).cloned().collect()),
        move |inputs, outputs| {
            let numbers = inputs.get(n_arrays + 1..).unwrap_or_default();
            let rate = number(input(numbers, 0)?.as_slice::<f32>()?)?;
            let step = number(input(numbers, 1)?.as_slice::<u64>()?)?;
            let gradient = input(inputs, n_arrays)?;
            let arrays = outputs.iter_mut().map(HostOutput::as_mut_slice);
            let mut arrays = arrays.collect::<std::result::Result<Vec<_>, _>>()?;
            optimizer_step(
                settings(rate, step),
                &gradient.to_contiguous()?,
                &mut arrays,
            )
            .map_err(|error| error.to_string())
        },
    )?;
    // A copy in row-major order would be one more operation for each array, of which most are in that order.
    let kernel = kernel
        .taking_strides()
        .starting_as((0..n_arrays).map(Some).collect());
    Ok(kernel.composed(move |inputs| {
        let [parameter, slots @ .., gradient, learning_rate, step] = inputs else {
            return Vec::new();
        };
        let context = StepContext {
            learning_rate: learning_rate.clone(),
            step: step.clone(),
        };
        let mut slots = slots.to_vec();
        let parameter = composed(gradient, parameter, &mut slots, &context);
        let mut all = vec![parameter];
        all.append(&mut slots);
        all
    }))
}

fn number<T: Copy>(numbers: &[T]) -> std::result::Result<T, String> {
    let missing = || "wanted a number, got an empty array".to_owned();
    numbers.first().copied().ok_or_else(missing)
}
