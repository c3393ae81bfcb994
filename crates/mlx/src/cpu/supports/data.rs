//! Which operations kernels compute that move elements, reduce them over axes, or scan them.

use super::Beside;
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
/// Fewer updates at indices are not worth the call.
const MIN_SCATTERED: usize = 1024;

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
            | Op::Scatter { .. }
            | Op::ScatterAdd { .. }
            | Op::ScatterProd { .. }
            | Op::ScatterMax { .. }
            | Op::ScatterMin { .. }
            | Op::PutAlongAxis { .. }
            | Op::ScatterAddAxis { .. }
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
pub(super) fn supports(beside: Beside, op: &Op, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    let Some(&x) = inputs.first() else {
        return false;
    };
    let is_like_output = x.dtype() == output.dtype();
    match op {
        Op::Contiguous { .. } => {
            inputs.len() == 1 && is_like_output && output.size() >= beside.least(MIN_MOVED)
        }
        Op::Concatenate { axis } => {
            let is_alike = |part: &Layout<'_>| part.dtype() == output.dtype();
            output.size() >= beside.least(MIN_MOVED)
                && axis_index(*axis, x.shape().len()).is_some()
                && inputs.iter().all(is_alike)
        }
        Op::Pad { mode, .. } => {
            output.size() >= beside.least(MIN_MOVED)
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
            output.size() >= beside.least(MIN_MOVED)
                && is_like_output
                && !indices.is_empty()
                && indices.len() == axes.len()
                && slice_sizes.len() == x.shape().len()
                && indices.iter().all(is_index)
        }
        Op::TakeAlongAxis { axis } => {
            output.size() >= beside.least(MIN_MOVED)
                && is_like_output
                && matches!(inputs, [x, index] if index.dtype().is_integer()
                    && match_but_along(*axis, x.shape(), index.shape()))
        }
        Op::SliceUpdate { .. } => updates(beside, inputs, output),
        Op::SliceUpdateAdd { .. }
        | Op::SliceUpdateProd { .. }
        | Op::SliceUpdateMax { .. }
        | Op::SliceUpdateMin { .. } => {
            is_combined(output.dtype()) && updates(beside, inputs, output)
        }
        Op::Scatter { axes } => scatters(beside, axes, inputs, output),
        Op::ScatterAdd { axes }
        | Op::ScatterProd { axes }
        | Op::ScatterMax { axes }
        | Op::ScatterMin { axes } => {
            is_combined(output.dtype()) && scatters(beside, axes, inputs, output)
        }
        Op::PutAlongAxis { axis } => scatters_along(beside, *axis, inputs, output),
        Op::ScatterAddAxis { axis } => {
            is_combined(output.dtype()) && scatters_along(beside, *axis, inputs, output)
        }
        Op::Cumsum { axis, .. }
        | Op::Cumprod { axis, .. }
        | Op::Cummax { axis, .. }
        | Op::Cummin { axis, .. }
        | Op::Logcumsumexp { axis, .. } => scans(beside, op, *axis, x, output),
        _ => reduces(beside, op, x, output),
    }
}

/// Whether shapes are the same along all axes but one.
fn match_but_along(axis: i32, x: &[i32], other: &[i32]) -> bool {
    let Some(axis) = axis_index(axis, x.len()) else {
        return false;
    };
    x.len() == other.len() && (0..x.len()).all(|at| at == axis || x[at] == other[at])
}

fn updates(beside: Beside, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    matches!(inputs, [x, update] if update.size() >= beside.least(MIN_UPDATED)
        && x.dtype() == output.dtype()
        && update.dtype() == output.dtype()
        && x.shape() == output.shape()
        && update.shape().len() == x.shape().len())
}

/// Whether kernels combine elements of a dtype with updates.
fn is_combined(dtype: Dtype) -> bool {
    dtype.is_integer() || dtype.is_floating()
}

/// Whether an array is updated at indices along these axes: inputs are it, the updates and the indices.
fn scatters(beside: Beside, axes: &[i32], inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    let &[x, update, first, ref rest @ ..] = inputs else {
        return false;
    };
    let is_index =
        |index: &Layout<'_>| index.dtype().is_integer() && index.shape() == first.shape();
    let (outer, slice) = update
        .shape()
        .split_at(first.shape().len().min(update.shape().len()));
    is_alike(x, update, output)
        && update.size() >= beside.least(MIN_SCATTERED)
        && axes.len() == 1 + rest.len()
        && is_index(&first)
        && rest.iter().all(is_index)
        && outer == first.shape()
        && slice.len() == x.shape().len()
        && slice.iter().zip(x.shape()).all(|(size, n)| size <= n)
}

/// Whether an array is updated at indices along one axis: inputs are it, the indices and the updates.
fn scatters_along(beside: Beside, axis: i32, inputs: &[Layout<'_>], output: Layout<'_>) -> bool {
    matches!(inputs, &[x, index, update] if is_alike(x, update, output)
        && update.size() >= beside.least(MIN_SCATTERED)
        && index.dtype().is_integer()
        && index.shape() == update.shape()
        && match_but_along(axis, x.shape(), index.shape()))
}

/// Whether an array, its update and the result are of one dtype, and the array is like the result.
fn is_alike(x: Layout<'_>, update: Layout<'_>, output: Layout<'_>) -> bool {
    x.dtype() == output.dtype() && update.dtype() == output.dtype() && x.shape() == output.shape()
}

fn reduces(beside: Beside, op: &Op, x: Layout<'_>, output: Layout<'_>) -> bool {
    if x.size() < beside.least(MIN_REDUCED) {
        return false;
    }
    let dtype = x.dtype();
    let is_stored = super::is_stored(dtype);
    let is_whole = dtype.is_integer() || dtype == Dtype::Bool;
    let is_real = is_whole || dtype.is_floating();
    let memory = |axes: &[i32]| Memory::of(axes, x);
    let is_taken = |axes: &[i32]| memory(axes).is_some();
    let in_one = |axes: &[i32]| memory(axes).is_some_and(|memory| memory.is_simple());
    // What MLX adds and multiplies integers in.
    let is_sum = output.dtype().size() == dtype.size().max(4);
    let is_same = output.dtype() == dtype;
    let is_double = dtype == Dtype::Float64 && is_same;
    let is_complex = dtype == Dtype::Complex64 && is_same;
    match op {
        Op::Sum { axes, .. } => {
            (is_stored && is_same || is_whole && is_sum || is_double || is_complex)
                && is_taken(axes)
        }
        Op::Prod { axes, .. } => {
            is_stored && is_same && in_one(axes)
                || (is_whole && is_sum || is_double) && is_taken(axes)
        }
        Op::Max { axes, .. } | Op::Min { axes, .. } => {
            (is_stored || is_whole || is_double) && is_same && is_taken(axes)
        }
        Op::Any { axes, .. } | Op::All { axes, .. } => {
            is_real && output.dtype() == Dtype::Bool && is_taken(axes)
        }
        Op::Argmax { axis, .. } | Op::Argmin { axis, .. } => {
            is_real && output.dtype() == Dtype::Uint32 && in_one(&[*axis])
        }
        _ => false,
    }
}

fn scans(beside: Beside, op: &Op, axis: i32, x: Layout<'_>, output: Layout<'_>) -> bool {
    let dtype = x.dtype();
    let is_kind = match op {
        Op::Logcumsumexp { .. } => super::is_stored(dtype),
        _ => super::is_stored(dtype) || dtype.is_integer() || dtype == Dtype::Float64,
    };
    x.size() >= beside.least(MIN_REDUCED)
        && is_kind
        && output.dtype() == dtype
        && axis_index(axis, x.shape().len()).is_some()
}
