//! Convolutions: what MLX's CPU loops do not check.
//!
//! They divide by the number of channels, write before checking when padding is wider than the result, count in
//! 32 bits, and unfold the input into memory that may not be there, where no kernel computes the convolution. And the gradient with respect to the input is right
//! only for as much padding before as after, and no more than the kernel reaches: other padding is put on by hand.

use super::draw::are_kernels_enabled;
use crate::Dtype;
use crate::ffi::table::{self, Outputs, one};
use crate::ffi::{Handle, NativeError, data, inspect, memory, stream};
use crate::op::{Op, PadMode};

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
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
    // On CUDA MLX keeps cuDNN's plans by everything but the dilation of the input, and takes one of another dilation.
    let has_wrong_plan = stream::is_cuda(stream) && axes.iter().any(Axis::spreads);
    if has_wrong_plan
        || axes.iter().any(Axis::has_wrong_gradient)
            && (inspect::is_tracer(input)? || inspect::is_tracer(weight)?)
    {
        let spread = spread(input, &axes, stream)?;
        let inside = axes.iter().map(|axis| axis.simplified().without_spread());
        let inside: Vec<Axis> = inside.collect();
        if stream::is_cuda(stream) && is_flipped(op) {
            let weight = flipped(weight, stream)?;
            return one(&unflipped(op, &inside), &[&spread, &weight], stream).map(Outputs::One);
        }
        return one(&with_axes(op, &inside), &[&spread, weight], stream).map(Outputs::One);
    }
    if stream::is_cuda(stream) && is_flipped(op) && axes.iter().any(|axis| axis.stride != 1) {
        // MLX takes a flipped kernel for the gradient of a convolution, which has no stride of its own.
        let weight = flipped(weight, stream)?;
        return one(&unflipped(op, &axes), &[input, &weight], stream).map(Outputs::One);
    }
    if stream::is_gpu(stream) {
        return Ok(plain);
    }
    if !are_kernels_enabled() || !is_stored(input) || !is_stored(weight) || axes.len() > 3 {
        check_unfolded(input, weight, output)?;
    }
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

    fn check(&self) -> Result<(), NativeError> {
        let padding = i64::from(self.low.max(0)) + i64::from(self.high.max(0));
        // MLX lets a kernel reach beyond the input by less than a step.
        let room = self.room();
        if room < 0 {
            let kernel = dilated(self.kernel, self.kernel_dilation);
            return Err(NativeError(format!(
                "the kernel must fit the padded input of size {}, got size {kernel}",
                room + kernel
            )));
        }
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
        Err(NativeError::from(
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
        // A step beyond the end leaves one result, as the shortest such step does.
        let beyond = i32::try_from(axis.room() + 1).unwrap_or(i32::MAX);
        axis.stride = axis.stride.min(beyond);
        axis
    }

    /// Returns how far the kernel can move.
    fn room(&self) -> i64 {
        let (low, high) = (i64::from(self.low), i64::from(self.high));
        // Negative padding is cut off before dilation.
        let input = self.input + low.min(0) + high.min(0);
        let padding = low.max(0) + high.max(0);
        dilated(input, self.input_dilation) + padding - dilated(self.kernel, self.kernel_dilation)
    }

    /// Returns how many places at the end no kernel reaches.
    fn rest(&self) -> i64 {
        self.room() % i64::from(self.stride)
    }

    /// Returns whether MLX would take results that see only padding for more than there are.
    fn is_padded_beyond_output(&self) -> bool {
        i64::from(self.low) > self.output.saturating_mul(i64::from(self.stride))
    }

    /// Returns whether MLX's gradient with respect to the input or the weight has another shape than that.
    fn has_wrong_gradient(&self) -> bool {
        let (low, high) = (self.low.max(0), self.high.max(0));
        let reach = (self.kernel - 1) * i64::from(self.kernel_dilation);
        let is_cut_dilated = self.input_dilation > 1 && i64::from(high) < self.rest();
        low != high || i64::from(low) > reach || is_cut_dilated
    }

    /// Returns whether there are zeros between the elements of the input.
    fn spreads(&self) -> bool {
        self.input_dilation > 1 && self.input > 1
    }

    /// Returns the axis of an input that has its padding and dilation already.
    fn without_spread(&self) -> Self {
        Self {
            low: 0,
            high: 0,
            input_dilation: 1,
            ..*self
        }
    }

    fn without_padding(&self) -> Self {
        Self {
            low: self.low.min(0),
            high: self.high.min(0),
            ..*self
        }
    }
}

/// Returns the size of an axis with zeros between its elements.
fn dilated(size: i64, dilation: i32) -> i64 {
    1 + (size - 1).max(0) * i64::from(dilation)
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

fn is_flipped(op: &Op) -> bool {
    matches!(op, Op::Conv { flip: true, .. })
}

/// Returns the operation with these axes, for a kernel that is flipped already.
fn unflipped(op: &Op, axes: &[Axis]) -> Op {
    let mut plain = with_axes(op, axes);
    if let Op::Conv { flip, .. } = &mut plain {
        *flip = false;
    }
    plain
}

/// Returns a kernel `[out, spatial.., in]` with its spatial axes in reverse.
fn flipped(weight: &Handle, stream: mlx_sys::mlx_stream) -> Result<Handle, NativeError> {
    let shape = weight.shape();
    let last = shape.len().saturating_sub(1);
    let is_spatial = |axis: usize| axis > 0 && axis < last;
    let each = |spatial: fn(i32) -> i32, other: fn(i32) -> i32| -> Vec<i32> {
        let one = |(axis, &size): (usize, &i32)| {
            if is_spatial(axis) {
                spatial(size)
            } else {
                other(size)
            }
        };
        shape.iter().enumerate().map(one).collect()
    };
    let slice = Op::Slice {
        start: each(|size| size - 1, |_| 0),
        stop: each(|size| -size - 1, |size| size),
        strides: each(|_| -1, |_| 1),
    };
    one(&slice, &[weight], stream)
}

/// Returns the input with its zeros put around it by hand.
fn padded(
    input: &Handle,
    axes: &[Axis],
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    // MLX's gradient takes these lists to be as long as the shape.
    let around = |width: fn(&Axis) -> i32| {
        let inner = axes.iter().map(|axis| width(axis).max(0));
        [0].into_iter().chain(inner).chain([0]).collect()
    };
    let pad = Op::Pad {
        axes: (0..).take(axes.len() + 2).collect(),
        low: around(|axis| axis.low),
        high: around(|axis| axis.high),
        mode: PadMode::Constant,
    };
    one(&pad, &[input, &zero()?], stream)
}

/// Returns the input cut where padding is negative, then with the zeros of dilation and padding put into it by hand.
fn spread(
    input: &Handle,
    axes: &[Axis],
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let mut shape = input.shape().to_vec();
    let (mut start, mut stop) = (vec![0; shape.len()], shape.clone());
    for (k, axis) in axes.iter().enumerate() {
        start[k + 1] = axis.low.min(0).saturating_neg();
        stop[k + 1] = shape[k + 1].saturating_add(axis.high.min(0));
        shape[k + 1] = stop[k + 1].saturating_sub(start[k + 1]).max(0);
    }
    let mut spread = sliced(input, start, stop, stream)?;
    for (k, dilation) in axes.iter().map(|axis| axis.input_dilation).enumerate() {
        if dilation > 1 && shape[k + 1] > 1 {
            spread = with_zeros_between(&spread, k + 1, dilation, stream)?;
        }
    }
    padded(&spread, axes, stream)
}

/// Returns the array with `dilation - 1` zeros between the elements of an axis.
fn with_zeros_between(
    array: &Handle,
    axis: usize,
    dilation: i32,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let mut shape = array.shape().to_vec();
    let size = shape[axis];
    // Zeros behind each element on an axis of its own, which then is a part of the axis; the last ones are cut off.
    shape.insert(axis + 1, 1);
    let column = Op::Reshape {
        shape: shape.clone(),
    };
    let column = one(&column, &[array], stream)?;
    let mut high = vec![0; shape.len()];
    high[axis + 1] = dilation - 1;
    let zeros = Op::Pad {
        axes: (0..).take(shape.len()).collect(),
        low: vec![0; shape.len()],
        high,
        mode: PadMode::Constant,
    };
    let zeros = one(&zeros, &[&column, &zero()?], stream)?;
    shape.remove(axis + 1);
    shape[axis] = size * dilation;
    let whole = Op::Reshape {
        shape: shape.clone(),
    };
    let whole = one(&whole, &[&zeros], stream)?;
    shape[axis] = (size - 1) * dilation + 1;
    sliced(&whole, vec![0; shape.len()], shape, stream)
}

fn sliced(
    array: &Handle,
    start: Vec<i32>,
    stop: Vec<i32>,
    stream: mlx_sys::mlx_stream,
) -> Result<Handle, NativeError> {
    let strides = vec![1; start.len()];
    let slice = Op::Slice {
        start,
        stop,
        strides,
    };
    one(&slice, &[array], stream)
}

fn zero() -> Result<Handle, NativeError> {
    data::from_slice(&[0.0_f32], &[])
}

/// Returns whether kernels compute convolutions of this dtype, without unfolding.
fn is_stored(array: &Handle) -> bool {
    matches!(
        array.dtype(),
        Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16
    )
}

/// Refuses a convolution whose unfolded input, one row for each result, does not fit in memory.
fn check_unfolded(input: &Handle, weight: &Handle, output: &Handle) -> Result<(), NativeError> {
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
    Err(NativeError(format!(
        "the input unfolded to [{rows}, {columns}] needs {bytes} bytes, the memory limit is {limit}"
    )))
}
