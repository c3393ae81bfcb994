//! Normalization of the last axis, and its gradients.

use mlx_kernels::NormGradient;

use super::layout::{error_text, input, output, rows};
use super::{Stored, by_dtype};
use crate::ffi::host::{HostInput, HostOutput};

pub(super) fn rms_norm(
    eps: f32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        eps: f32,
        x: &HostInput<'_>,
        weight: Option<&HostInput<'_>>,
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        let weight = weight.map(HostInput::to_contiguous::<T>).transpose()?;
        let (shape, x) = (rows(x.shape()), x.to_contiguous::<T>()?);
        mlx_kernels::rms_norm(shape, &x, weight.as_deref(), eps, out.as_mut_slice()?)
            .map_err(error_text)
    }
    let x = input(inputs, 0)?;
    by_dtype!(x.dtype(), typed(eps, x, inputs.get(1), output(outputs, 0)?))
}

pub(super) fn layer_norm(
    [has_weight, has_bias]: [bool; 2],
    eps: f32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Stored>(
        eps: f32,
        x: &HostInput<'_>,
        [weight, bias]: [Option<&HostInput<'_>>; 2],
        out: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        let weight = weight.map(HostInput::to_contiguous::<T>).transpose()?;
        let bias = bias.map(HostInput::to_contiguous::<T>).transpose()?;
        let (shape, x, out) = (
            rows(x.shape()),
            x.to_contiguous::<T>()?,
            out.as_mut_slice()?,
        );
        mlx_kernels::layer_norm(shape, &x, weight.as_deref(), bias.as_deref(), eps, out)
            .map_err(error_text)
    }
    let x = input(inputs, 0)?;
    let weight = has_weight.then(|| input(inputs, 1)).transpose()?;
    let bias = has_bias
        .then(|| input(inputs, 1 + usize::from(has_weight)))
        .transpose()?;
    by_dtype!(
        x.dtype(),
        typed(eps, x, [weight, bias], output(outputs, 0)?)
    )
}

pub(super) fn rms_norm_gradient(
    eps: f32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let has_weight = inputs.len() > 2;
    gradient(
        [has_weight, false],
        inputs,
        outputs,
        |shape, x, weight, g, out| mlx_kernels::rms_norm_gradient(shape, x, weight, eps, g, out),
    )
}

pub(super) fn layer_norm_gradient(
    given: [bool; 2],
    eps: f32,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    gradient(given, inputs, outputs, |shape, x, weight, g, out| {
        mlx_kernels::layer_norm_gradient(shape, x, weight, eps, g, out)
    })
}

/// Inputs are those of the norm and the gradient of its result; outputs the gradients of those of the norm.
fn gradient(
    [has_weight, has_bias]: [bool; 2],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
    kernel: impl FnOnce(
        mlx_kernels::RowMajorShape,
        &[f32],
        Option<&[f32]>,
        &[f32],
        NormGradient<'_>,
    ) -> mlx_kernels::Result<()>,
) -> Result<(), String> {
    let x = input(inputs, 0)?;
    let shape = rows(x.shape());
    let x = x.to_contiguous::<f32>()?;
    let weight = has_weight.then(|| input(inputs, 1)?.to_contiguous::<f32>());
    let weight = weight.transpose()?;
    let g = inputs.last().ok_or("wanted the gradient of the result")?;
    let g = g.to_contiguous::<f32>()?;
    let mut outputs = outputs.iter_mut();
    let mut next = |wanted: bool| match wanted.then(|| outputs.next()).flatten() {
        Some(output) => output.as_mut_slice::<f32>().map(Some),
        None => Ok(None),
    };
    let dx = next(true)?.ok_or("wanted an output")?;
    let (weight_gradient, bias_gradient) = (next(has_weight)?, next(has_bias)?);
    // The kernel sums the gradient of a weight in any case.
    let mut unwanted = vec![0.0; if has_weight { 0 } else { shape.dim }];
    let out = NormGradient {
        x: dx,
        weight: weight_gradient.unwrap_or(&mut unwanted),
        bias: bias_gradient.unwrap_or(&mut []),
    };
    kernel(shape, &x, weight.as_deref(), &g, out).map_err(error_text)
}
