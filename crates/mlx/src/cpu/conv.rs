//! Convolution over one axis.

use mlx_kernels::Conv1d;

use super::layout::{input, output, said, size};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput, Layout};

pub(super) fn accepts(inputs: &[Layout<'_>]) -> bool {
    matches!(inputs, [x, weight] if x.dtype() == Dtype::Float32 && weight.dtype() == Dtype::Float32)
}

pub(super) fn run(
    [stride, padding, dilation, groups]: [usize; 4],
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
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
        stride,
        padding,
        dilation,
        groups,
    };
    let (x, weight) = (x.in_rows::<f32>()?, weight.in_rows::<f32>()?);
    let out = output(outputs, 0)?.as_mut_slice::<f32>()?;
    mlx_kernels::conv1d(conv, &x, &weight, out).map_err(said)
}
