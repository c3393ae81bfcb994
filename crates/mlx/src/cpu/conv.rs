//! Convolutions over one to three axes.

use mlx_kernels::{Conv, Conv1d, ConvAxis};

use super::layout::{error_text, input, output, size};
use super::{Stored, by_dtype};
use crate::Dtype;
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;

pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, weight) = (input(inputs, 0)?, input(inputs, 1)?);
    let out = output(outputs, 0)?;
    if x.dtype() == Dtype::Float32
        && let Some(conv) = one_axis(op, x.shape(), weight.shape())
    {
        let (x, weight) = (x.to_contiguous::<f32>()?, weight.to_contiguous::<f32>()?);
        return mlx_kernels::conv1d(conv, &x, &weight, out.as_mut_slice()?).map_err(error_text);
    }
    by_dtype!(x.dtype(), general(op, x, weight, out))
}

/// The sizes of a convolution over one axis, padded alike on both sides.
fn one_axis(op: &Op, x: &[i32], weight: &[i32]) -> Option<Conv1d> {
    let Op::Conv {
        stride,
        padding_lo,
        padding_hi,
        kernel_dilation,
        input_dilation,
        groups,
        flip: false,
    } = op
    else {
        return None;
    };
    let (
        &[batch, length, channels],
        &[outputs, kernel_size, _],
        (&[stride], &[padding], &[dilation], [1]),
    ) = (
        x,
        weight,
        (
            &**stride,
            &**padding_lo,
            &**kernel_dilation,
            &**input_dilation,
        ),
    )
    else {
        return None;
    };
    // One channel to a group has a kernel of its own, and windows that are single elements a plain product.
    let is_depthwise = *groups > 1 && *groups == channels && *groups == outputs;
    let is_plain = kernel_size == 1 && padding == 0 && stride == 1;
    (padding_lo == padding_hi && !is_depthwise && !is_plain).then(|| Conv1d {
        batch: size(batch),
        length: size(length),
        channels: size(channels),
        outputs: size(outputs),
        kernel_size: size(kernel_size),
        stride: size(stride),
        padding: size(padding),
        dilation: size(dilation),
        groups: size(*groups),
    })
}

fn general<T: Stored>(
    op: &Op,
    x: &HostInput<'_>,
    weight: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let Op::Conv {
        stride,
        padding_lo,
        kernel_dilation,
        input_dilation,
        groups,
        flip,
        ..
    } = op
    else {
        return Err(format!("wanted conv_general, got {op}"));
    };
    let shapes = (x.shape(), weight.shape(), out.shape());
    let (
        &[batch, ref input @ .., channels],
        &[outputs, ref kernel @ .., _],
        &[_, ref output @ .., _],
    ) = shapes
    else {
        return Err(format!(
            "wanted axes between batch and channels, got {shapes:?}"
        ));
    };
    let at =
        |list: &[i32], axis: usize, default: i32| size(list.get(axis).copied().unwrap_or(default));
    let axes: Vec<ConvAxis> = (0..input.len().min(kernel.len()).min(output.len()))
        .map(|axis| ConvAxis {
            input: size(input[axis]),
            kernel: size(kernel[axis]),
            output: size(output[axis]),
            stride: at(stride, axis, 1),
            padding: at(padding_lo, axis, 0),
            kernel_dilation: at(kernel_dilation, axis, 1),
            input_dilation: at(input_dilation, axis, 1),
        })
        .collect();
    let conv = Conv {
        batch: size(batch),
        axes: &axes,
        channels: size(channels),
        outputs: size(outputs),
        groups: size(*groups),
        flip: *flip,
    };
    let (x, weight) = (x.to_contiguous::<T>()?, weight.to_contiguous::<T>()?);
    mlx_kernels::conv(conv, &x, &weight, out.as_mut_slice()?).map_err(error_text)
}
