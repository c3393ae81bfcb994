//! Softmax, logsumexp and cross entropy of the last axis.

use super::layout::{error_text, input, output, rows};
use super::{Stored, by_dtype};
use crate::ffi::host::{HostInput, HostOutput};

pub(super) fn softmax(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(x: &HostInput<'_>, out: &mut HostOutput<'_>) -> Result<(), String> {
        let shape = rows(x.shape());
        mlx_kernels::softmax(shape, &x.to_contiguous::<T>()?, out.as_mut_slice::<T>()?)
            .map_err(error_text)
    }
    let x = input(inputs, 0)?;
    by_dtype!(x.dtype(), typed(x, output(outputs, 0)?))
}

pub(super) fn logsumexp(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let out = output(outputs, 0)?.as_mut_slice::<f32>()?;
    mlx_kernels::logsumexp(rows(x.shape()), &x.to_contiguous::<f32>()?, out).map_err(error_text)
}

/// A target that is no class is an error, whether negative or too large.
pub(super) fn cross_entropy(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (logits, targets) = (input(inputs, 0)?, input(inputs, 1)?);
    let targets = classes(targets)?;
    let out = output(outputs, 0)?.as_mut_slice::<f32>()?;
    let shape = rows(logits.shape());
    mlx_kernels::cross_entropy(shape, &logits.to_contiguous::<f32>()?, &targets, out)
        .map_err(error_text)
}

pub(super) fn cross_entropy_gradient(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (logits, targets, g) = (input(inputs, 0)?, input(inputs, 1)?, input(inputs, 2)?);
    let (targets, g) = (classes(targets)?, g.to_contiguous::<f32>()?);
    let out = output(outputs, 0)?.as_mut_slice::<f32>()?;
    let (shape, x) = (rows(logits.shape()), logits.to_contiguous::<f32>()?);
    mlx_kernels::cross_entropy_gradient(shape, &x, &targets, &g, out).map_err(error_text)
}

/// Targets as the kernel counts them; what is below zero is as little a class as what is too large.
fn classes(targets: &HostInput<'_>) -> Result<Vec<u32>, String> {
    let targets = targets.to_contiguous::<i64>()?;
    let class = |&target: &i64| u32::try_from(target).unwrap_or(u32::MAX);
    Ok(targets.iter().map(class).collect())
}
