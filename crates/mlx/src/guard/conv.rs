//! Convolutions: what MLX's CPU loops do not look at.
//!
//! They divide by the number of channels, write before checking when padding is wider than the result, count in
//! 32 bits, and unfold the input into memory that may not be there.

use super::one;
use crate::ffi::table::{self, Outputs};
use crate::ffi::{Fault, Handle, data, memory, stream};
use crate::op::{Op, PadMode};

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, Fault> {
    let (input, weight) = (inputs[0], inputs[1]);
    // MLX checks ranks and channels here, and tells the shape of the result.
    let plain = table::call(op, &[input.raw(), weight.raw()], stream)?;
    let output = &plain.as_slice()[0];
    if input.size() == 0 || weight.size() == 0 {
        // `empty` knows what nothing gives.
        return Ok(plain);
    }
    let Some(axes) = Axis::of(op, input.shape(), weight.shape(), output.shape()) else {
        return Ok(plain);
    };
    axes.iter().try_for_each(Axis::check)?;
    if stream::is_gpu(stream) {
        return Ok(plain);
    }
    check_unfolded(input, weight, output)?;
    let plainer: Vec<Axis> = axes.iter().map(Axis::simplified).collect();
    let undilated = plainer.iter().all(|axis| axis.input_dilation == 1);
    if undilated && plainer.iter().any(Axis::is_padded_beyond_output) {
        let padded = padded(input, &plainer, stream)?;
        let inside: Vec<Axis> = plainer.iter().map(Axis::without_padding).collect();
        return one(&with_axes(op, &inside), &[&padded, weight], stream).map(Outputs::One);
    }
    if plainer != axes {
        return one(&with_axes(op, &plainer), &[input, weight], stream).map(Outputs::One);
    }
    Ok(plain)
}

/// One spatial axis of a convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    input: i64,
    kernel: i64,
    output: i64,
    stride: i32,
    low: i32,
    high: i32,
    kernel_dilation: i32,
    input_dilation: i32,
}

impl Axis {
    /// Returns the spatial axes, or nothing for an operation that is no convolution.
    fn of(op: &Op, input: &[i32], kernel: &[i32], output: &[i32]) -> Option<Vec<Self>> {
        let Op::Conv {
            stride,
            padding_lo,
            padding_hi,
            kernel_dilation,
            input_dilation,
            ..
        } = op
        else {
            return None;
        };
        // A list of one number stands for all axes, an empty one for the default, as in MLX.
        let at = |list: &[i32], axis: usize, default: i32| match list {
            [] => default,
            [one] => *one,
            all => all.get(axis).copied().unwrap_or(default),
        };
        let axis = |k: usize| Axis {
            input: i64::from(input[k + 1]),
            kernel: i64::from(kernel[k + 1]),
            output: i64::from(output[k + 1]),
            stride: at(stride, k, 1),
            low: at(padding_lo, k, 0),
            high: at(padding_hi, k, 0),
            kernel_dilation: at(kernel_dilation, k, 1),
            input_dilation: at(input_dilation, k, 1),
        };
        Some((0..input.len().saturating_sub(2)).map(axis).collect())
    }

    fn check(&self) -> Result<(), Fault> {
        let dilated = |size: i64, dilation: i32| 1 + (size - 1).max(0) * i64::from(dilation);
        let padding = i64::from(self.low.max(0)) + i64::from(self.high.max(0));
        let axis = self.simplified();
        let sizes = [
            dilated(self.input, axis.input_dilation) + padding,
            dilated(self.kernel, axis.kernel_dilation) + padding,
            i64::from(axis.input_dilation) * i64::from(axis.stride),
            i64::from(axis.input_dilation) * i64::from(axis.kernel_dilation),
        ];
        if sizes.iter().all(|&size| size < i64::from(i32::MAX)) {
            return Ok(());
        }
        Err(Fault::from(
            "stride, padding and dilation are too large to count in 32 bits",
        ))
    }

    /// Returns the axis without steps that are never taken.
    fn simplified(&self) -> Self {
        let mut axis = *self;
        if axis.input <= 1 {
            axis.input_dilation = 1;
        }
        if axis.kernel <= 1 {
            axis.kernel_dilation = 1;
        }
        if axis.output <= 1 {
            axis.stride = 1;
        }
        axis
    }

    /// Returns whether MLX would take results that see only padding for more than there are.
    fn is_padded_beyond_output(&self) -> bool {
        i64::from(self.low) > self.output.saturating_mul(i64::from(self.stride))
    }

    fn without_padding(&self) -> Self {
        Self {
            low: self.low.min(0),
            high: self.high.min(0),
            ..*self
        }
    }
}

/// Returns the operation with these axes in place of its own.
fn with_axes(op: &Op, axes: &[Axis]) -> Op {
    let (groups, flip) = match op {
        Op::Conv { groups, flip, .. } => (*groups, *flip),
        _ => (1, false),
    };
    let each = |value: fn(&Axis) -> i32| axes.iter().map(value).collect();
    Op::Conv {
        stride: each(|axis| axis.stride),
        padding_lo: each(|axis| axis.low),
        padding_hi: each(|axis| axis.high),
        kernel_dilation: each(|axis| axis.kernel_dilation),
        input_dilation: each(|axis| axis.input_dilation),
        groups,
        flip,
    }
}

/// Returns the input with its zeros put around it by hand.
fn padded(input: &Handle, axes: &[Axis], stream: mlx_sys::mlx_stream) -> Result<Handle, Fault> {
    let pad = Op::Pad {
        axes: (1..).take(axes.len()).collect(),
        low: axes.iter().map(|axis| axis.low.max(0)).collect(),
        high: axes.iter().map(|axis| axis.high.max(0)).collect(),
        mode: PadMode::Constant,
    };
    one(&pad, &[input, &data::from_slice(&[0.0_f32], &[])?], stream)
}

/// Refuses a convolution whose unfolded input, one row for each result, does not fit in memory.
fn check_unfolded(input: &Handle, weight: &Handle, output: &Handle) -> Result<(), Fault> {
    let product = |sizes: &[i32]| sizes.iter().fold(1_i128, |n, &size| n * i128::from(size));
    let channels = input.shape().last().map_or(1, |&n| i128::from(n));
    let rows = product(&output.shape()[..output.ndim() - 1]);
    let columns = product(&weight.shape()[1..weight.ndim() - 1]) * channels;
    let limit = memory::get(memory::Get::Limit)?;
    let bytes = rows * columns * 4;
    let countable = rows.max(columns) <= i128::from(i32::MAX);
    if countable && usize::try_from(bytes).is_ok_and(|bytes| bytes <= limit) {
        return Ok(());
    }
    Err(Fault(format!(
        "the input unfolded to [{rows}, {columns}] needs {bytes} bytes, the memory limit is {limit}"
    )))
}
