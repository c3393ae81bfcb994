//! Which operations kernels compute that move elements, reduce them over axes, or scan them.

use crate::Dtype;
use crate::cpu::reduce::Memory;
use crate::ffi::host::Layout;
use crate::op::{Op, PadMode};
use crate::shape::axis_index;

/// Fewer elements are not worth the call.
const MIN_MOVED: usize = 1024;
/// The same for the elements of a reduction.
const MIN_REDUCED: usize = 1024;
/// Fewer are written in place by MLX, which may be much less than the array that they are part of.
const MIN_UPDATED: usize = 4096;

/// Whether an operation is one of these.
pub(super) fn is_of(op: &Op) -> bool {
    matches!(
        op,
        Op::Contiguous { .. }
            | Op::Concatenate { .. }
            | Op::Pad { .. }
            | Op::Gather { .. }
            | Op::TakeAlongAxis { .. }
            | Op::SliceUpdate { .. }
            | Op::SliceUpdateAdd { .. }
            | Op::SliceUpdateProd { .. }
            | Op::SliceUpdateMax { .. }
            | Op::SliceUpdateMin { .. }
            | Op::Sum { .. }
            | Op::Prod { .. }
            | Op::Max { .. }
            | Op::Min { .. }
            | Op::Any { .. }
            | Op::All { .. }
            | Op::Argmax { .. }
            | Op::Argmin { .. }
            | Op::Cumsum { .. }
            | Op::Cumprod { .. }
            | Op::Cummax { .. }
            | Op::Cummin { .. }
            | Op::Logcumsumexp { .. }
    )
}

/// Whether a kernel computes one of these; nothing is empty.
pub(super) fn supports(op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    let Some(&x) = inputs.first() else {
        return false;
    };
    let is_like_output = x.dtype() == output.dtype();
    match op {
        Op::Contiguous { .. } => inputs.len() == 1 && is_like_output && output.size() >= MIN_MOVED,
        Op::Concatenate { axis } => {
            let is_alike = |part: &Layout<'_>| part.dtype() == output.dtype();
            output.size() >= MIN_MOVED
                && axis_index(*axis, x.shape().len()).is_some()
                && inputs.iter().all(is_alike)
        }
        Op::Pad { mode, .. } => {
            output.size() >= MIN_MOVED
                && *mode == PadMode::Constant
                && matches!(inputs, [_, value] if is_like_output
                    && value.dtype() == x.dtype()
                    && value.size() == 1)
        }
        Op::Gather { axes, slice_sizes } => {
            let indices = &inputs[1..];
            let is_index = |index: &Layout<'_>| {
                index.dtype().is_integer() && index.shape() == indices[0].shape()
            };
            output.size() >= MIN_MOVED
                && is_like_output
                && !indices.is_empty()
                && indices.len() == axes.len()
                && slice_sizes.len() == x.shape().len()
                && indices.iter().all(is_index)
        }
        Op::TakeAlongAxis { axis } => {
            output.size() >= MIN_MOVED
                && is_like_output
                && matches!(inputs, [x, index] if index.dtype().is_integer()
                    && match_but_along(*axis, x.shape(), index.shape()))
        }
        Op::SliceUpdate { .. } => updates(inputs, output),
        Op::SliceUpdateAdd { .. }
        | Op::SliceUpdateProd { .. }
        | Op::SliceUpdateMax { .. }
        | Op::SliceUpdateMin { .. } => {
            let dtype = output.dtype();
            let is_number = dtype.is_integer() || matches!(dtype, Dtype::Float32 | Dtype::Float64);
            is_number && updates(inputs, output)
        }
        Op::Cumsum { axis, .. }
        | Op::Cumprod { axis, .. }
        | Op::Cummax { axis, .. }
        | Op::Cummin { axis, .. }
        | Op::Logcumsumexp { axis, .. } => scans(op, *axis, x, output),
        _ => reduces(op, x, output),
    }
}

/// Whether shapes are the same along all axes but one.
fn match_but_along(axis: i32, x: &[i32], other: &[i32]) -> bool {
    let Some(axis) = axis_index(axis, x.len()) else {
        return false;
    };
    x.len() == other.len() && (0..x.len()).all(|at| at == axis || x[at] == other[at])
}

fn updates(inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    matches!(inputs, [x, update] if update.size() >= MIN_UPDATED
        && x.dtype() == output.dtype()
        && update.dtype() == output.dtype()
        && x.shape() == output.shape()
        && update.shape().len() == x.shape().len())
}

fn reduces(op: &Op, x: Layout<'_>, output: Layout<'_>) -> bool {
    if x.size() < MIN_REDUCED {
        return false;
    }
    let dtype = x.dtype();
    let is_stored = super::is_stored(dtype);
    let is_whole = dtype.is_integer() || dtype == Dtype::Bool;
    let is_real = is_whole || dtype.is_floating();
    let memory = |axes: &[i32]| Memory::of(axes, x);
    let in_order = |axes: &[i32]| memory(axes).is_some_and(|memory| memory.keeps_order());
    let in_one = |axes: &[i32]| memory(axes).is_some_and(|memory| memory.is_simple());
    // What MLX adds and multiplies integers in.
    let is_sum = output.dtype().size() == dtype.size().max(4);
    match op {
        Op::Sum { axes, .. } => {
            (is_stored && output.dtype() == dtype || is_whole && is_sum) && in_order(axes)
        }
        Op::Prod { axes, .. } => {
            is_stored && output.dtype() == dtype && in_one(axes)
                || is_whole && is_sum && in_order(axes)
        }
        Op::Max { axes, .. } | Op::Min { axes, .. } => {
            (is_stored || is_whole) && output.dtype() == dtype && in_order(axes)
        }
        Op::Any { axes, .. } | Op::All { axes, .. } => {
            is_real && output.dtype() == Dtype::Bool && in_order(axes)
        }
        Op::Argmax { axis, .. } | Op::Argmin { axis, .. } => {
            is_real && output.dtype() == Dtype::Uint32 && in_one(&[*axis])
        }
        _ => false,
    }
}

fn scans(op: &Op, axis: i32, x: Layout<'_>, output: Layout<'_>) -> bool {
    let dtype = x.dtype();
    let is_kind = match op {
        Op::Logcumsumexp { .. } => super::is_stored(dtype),
        _ => super::is_stored(dtype) || dtype.is_integer(),
    };
    x.size() >= MIN_REDUCED
        && is_kind
        && output.dtype() == dtype
        && axis_index(axis, x.shape().len()).is_some()
}
