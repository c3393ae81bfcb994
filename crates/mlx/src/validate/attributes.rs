//! Attributes that MLX uses without checking them.

use crate::ffi::{Handle, NativeError};
use crate::op::{Op, PadMode};
use crate::shape::axis_index;

/// Refuses attributes that would divide by zero, count backwards or reach beyond a buffer.
pub(super) fn check(op: &Op, inputs: &[&Handle]) -> Result<(), NativeError> {
    if let Some(shape) = created_shape(op) {
        return countable(shape);
    }
    match op {
        Op::Slice { strides, .. }
        | Op::SliceUpdate { strides, .. }
        | Op::SliceUpdateAdd { strides, .. }
        | Op::SliceUpdateMax { strides, .. }
        | Op::SliceUpdateMin { strides, .. }
        | Op::SliceUpdateProd { strides, .. } => nonzero_steps(strides),
        Op::Reshape { shape } => one_to_infer(shape),
        Op::Unflatten { shape, .. } => unflattened(shape),
        Op::NumberOfElements { axes, .. } => existing(axes, inputs[0].ndim()),
        // MLX hands back a single array, and a repeat by 1, without checking the axis.
        Op::Concatenate { axis } if inputs.len() == 1 => existing(&[*axis], inputs[0].ndim()),
        Op::Repeat { repeats, axis } => {
            existing(&[*axis], inputs[0].ndim())?;
            at_least("repeats", *repeats, 0)
        }
        Op::Conv { .. } => convolution(op),
        Op::AsStrided {
            shape,
            strides,
            offset,
        } => within_buffer(inputs[0].size(), shape, strides, *offset),
        Op::Eye { n, m, .. } | Op::Tri { n, m, .. } => countable(&[*n, *m]),
        Op::Bartlett { m } | Op::Blackman { m } | Op::Hamming { m } | Op::Hanning { m } => {
            at_least("m", *m, 0)
        }
        Op::Split { num_splits, axis } => parts(*num_splits, *axis, inputs[0].shape()),
        Op::Tile { reps } => reps.iter().try_for_each(|&n| at_least("reps", n, 0)),
        Op::Linspace { num, .. } => at_least("num", *num, 0),
        Op::Fftfreq { n, .. } | Op::Rfftfreq { n, .. } => at_least("n", *n, 1),
        Op::RandomSplit { num } => at_least("num", *num, 1),
        Op::MaskedScatter if inputs[2].size() == 0 => {
            Err(NativeError::from("wanted at least one value, got none"))
        }
        Op::ScaledDotProductAttention { .. } if inputs[1].shape().get(1) == Some(&0) => {
            // MLX takes the remainder of the heads of the queries by those of the keys.
            Err(NativeError::from("keys must have at least 1 head, got 0"))
        }
        Op::Pad {
            axes,
            low,
            high,
            mode,
        } => padding(inputs, axes, low, high, *mode),
        Op::Diag { k } if inputs[0].ndim() == 1 => diagonal_matrix(*k, inputs[0].shape()[0]),
        _ => Ok(()),
    }
}

/// The shape of the result, of an operation that is given it.
fn created_shape(op: &Op) -> Option<&[i32]> {
    match op {
        Op::Zeros { shape, .. }
        | Op::Recv { shape, .. }
        | Op::Ones { shape, .. }
        | Op::Full { shape, .. }
        | Op::BroadcastTo { shape }
        | Op::RandomBernoulli { shape }
        | Op::RandomBits { shape, .. }
        | Op::RandomCategorical { shape, .. }
        | Op::RandomGumbel { shape, .. }
        | Op::RandomLaplace { shape, .. }
        | Op::RandomMultivariateNormal { shape, .. }
        | Op::RandomNormal { shape, .. }
        | Op::RandomRandint { shape, .. }
        | Op::RandomTruncatedNormal { shape, .. }
        | Op::RandomUniform { shape, .. } => Some(shape),
        _ => None,
    }
}

fn nonzero_steps(strides: &[i32]) -> Result<(), NativeError> {
    if strides.contains(&0) {
        return Err(NativeError(format!("steps must not be 0, got {strides:?}")));
    }
    Ok(())
}

fn unflattened(shape: &[i32]) -> Result<(), NativeError> {
    one_to_infer(shape)?;
    if shape.contains(&-1) && shape.contains(&0) {
        return Err(NativeError(format!(
            "a size cannot be inferred beside one of 0, got {shape:?}"
        )));
    }
    Ok(())
}

fn convolution(op: &Op) -> Result<(), NativeError> {
    let Op::Conv {
        stride,
        kernel_dilation,
        input_dilation,
        groups,
        ..
    } = op
    else {
        return Ok(());
    };
    let steps = [
        ("stride", stride),
        ("kernel_dilation", kernel_dilation),
        ("input_dilation", input_dilation),
    ];
    for (name, values) in steps {
        if values.iter().any(|&value| value < 1) {
            return Err(NativeError(format!(
                "{name} must be at least 1, got {values:?}"
            )));
        }
    }
    at_least("groups", *groups, 1)
}

/// Checks the number of parts that an axis is split into.
fn parts(num_splits: i32, axis: i32, shape: &[i32]) -> Result<(), NativeError> {
    at_least("num_splits", num_splits, 1)?;
    let size = axis_index(axis, shape.len()).map_or(0, |axis| shape[axis]);
    // Any number of empty parts can be cut from an empty axis.
    let max = size.max(MAX_EMPTY_PARTS);
    if num_splits > max {
        return Err(NativeError(format!(
            "num_splits must be at most {max} on an axis of size {size}, got {num_splits}"
        )));
    }
    Ok(())
}

/// Checks the size of a matrix whose diagonal `k` has `size` elements.
fn diagonal_matrix(k: i32, size: i32) -> Result<(), NativeError> {
    let size = i64::from(size) + i64::from(k).abs();
    let size = i32::try_from(size)
        .map_err(|_| NativeError(format!("k must fit a matrix of 32-bit sizes, got {k}")))?;
    countable(&[size, size])
}

/// The most empty parts that an empty axis is split into.
const MAX_EMPTY_PARTS: i32 = 1 << 16;

/// The most mirrored pieces that padding is put together from, each a node of the graph.
const MAX_PIECES: i32 = 1 << 12;

/// Refuses negative sizes other than one -1.
fn one_to_infer(shape: &[i32]) -> Result<(), NativeError> {
    let inferred = shape.iter().filter(|&&size| size == -1).count();
    if inferred > 1 || shape.iter().any(|&size| size < -1) {
        return Err(NativeError(format!(
            "sizes must not be negative, but for one -1, got {shape:?}"
        )));
    }
    Ok(())
}

/// Refuses axes that an array of `ndim` axes does not have.
fn existing(axes: &[i32], ndim: usize) -> Result<(), NativeError> {
    match axes.iter().find(|&&axis| axis_index(axis, ndim).is_none()) {
        Some(axis) => Err(NativeError(format!(
            "wanted an axis of an array with {ndim} axes, got {axis}"
        ))),
        None => Ok(()),
    }
}

fn padding(
    inputs: &[&Handle],
    axes: &[i32],
    low: &[i32],
    high: &[i32],
    mode: PadMode,
) -> Result<(), NativeError> {
    let (input, value) = (inputs[0], inputs[1]);
    existing(axes, input.ndim())?;
    let mut found: Vec<_> = axes
        .iter()
        .map(|&axis| axis_index(axis, input.ndim()))
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.len() != axes.len() || low.len() != axes.len() || high.len() != axes.len() {
        return Err(NativeError(format!(
            "wanted different axes and two widths for each, got {axes:?}, {low:?} and {high:?}"
        )));
    }
    if value.size() != 1 {
        return Err(NativeError(format!(
            "the value must be one element, got shape {:?}",
            value.shape()
        )));
    }
    for ((&axis, &before), &after) in axes.iter().zip(low).zip(high) {
        at_least("padding", before.min(after), 0)?;
        let size = axis_index(axis, input.ndim()).map_or(0, |axis| input.shape()[axis]);
        // A mirror of one element repeats it; of more, it leaves out the outermost one.
        let piece = match mode {
            PadMode::Reflect => (size - 1).max(1),
            PadMode::Symmetric => size.max(1),
            _ => continue,
        };
        if before.max(after) / piece > MAX_PIECES {
            return Err(NativeError(format!(
                "padding must be at most {MAX_PIECES} times the {size} elements it mirrors, got {before} and {after}"
            )));
        }
    }
    Ok(())
}

fn at_least(name: &str, value: i32, least: i32) -> Result<(), NativeError> {
    if value >= least {
        Ok(())
    } else {
        Err(NativeError(format!(
            "{name} must be at least {least}, got {value}"
        )))
    }
}

/// Refuses negative sizes and sizes whose product overflows.
pub(crate) fn countable(shape: &[i32]) -> Result<(), NativeError> {
    if let Some(dim) = shape.iter().find(|&&dim| dim < 0) {
        return Err(NativeError(format!(
            "sizes must not be negative, got {dim} in {shape:?}"
        )));
    }
    let product = shape
        .iter()
        .try_fold(1_i64, |n, &dim| n.checked_mul(i64::from(dim)));
    // 16 bytes is more than any element has, so byte counts do not overflow either.
    match product.and_then(|n| n.checked_mul(16)) {
        Some(_) => Ok(()),
        None => Err(NativeError(format!(
            "the shape {shape:?} has more elements than can be counted"
        ))),
    }
}

/// Refuses a strided view that reaches outside the `size` elements of its input.
fn within_buffer(
    size: usize,
    shape: &[i32],
    strides: &[i64],
    offset: usize,
) -> Result<(), NativeError> {
    countable(shape)?;
    if shape.len() != strides.len() {
        return Err(NativeError(format!(
            "wanted as many strides as dimensions, got {strides:?} for {shape:?}"
        )));
    }
    if shape.contains(&0) {
        return Ok(());
    }
    let (mut first, mut last) = (offset as i128, offset as i128);
    for (&dim, &stride) in shape.iter().zip(strides) {
        let reach = i128::from(dim - 1) * i128::from(stride);
        if reach < 0 {
            first += reach
        } else {
            last += reach
        }
    }
    if first < 0 || last >= size as i128 {
        return Err(NativeError(format!(
            "the view must stay within the {size} elements of the array, got elements {first} to {last}"
        )));
    }
    Ok(())
}
