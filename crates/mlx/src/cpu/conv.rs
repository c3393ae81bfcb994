//! Convolution over one axis.

use mlx_kernels::Conv1d;

use super::layout::{error_text, input, output, size};
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let Op::Conv {
        stride,
        padding_lo,
        kernel_dilation,
        groups,
        ..
    } = op
    else {
        return Err(format!("wanted conv_general, got {op}"));
    };
    let one = |sizes: &[i32]| match sizes {
        &[only] => Ok(size(only)),
        other => Err(format!("wanted one size, got {other:?}")),
    };
    let (x, weight) = (input(inputs, 0)?, input(inputs, 1)?);
    let (&[batch, length, channels], &[n_outputs, kernel_size, _]) = (x.shape(), weight.shape())
    else {
        return Err(format!(
            "wanted 3 axes, got {:?} and {:?}",
            x.shape(),
            weight.shape()
        ));
    };
    let conv = Conv1d {
        batch: size(batch),
        length: size(length),
        channels: size(channels),
        outputs: size(n_outputs),
        kernel_size: size(kernel_size),
        stride: one(stride)?,
        padding: one(padding_lo)?,
        dilation: one(kernel_dilation)?,
        groups: size(*groups),
    };
    let (x, weight) = (x.to_contiguous::<f32>()?, weight.to_contiguous::<f32>()?);
    let out = output(outputs, 0)?.as_mut_slice::<f32>()?;
    mlx_kernels::conv1d(conv, &x, &weight, out).map_err(error_text)
}
