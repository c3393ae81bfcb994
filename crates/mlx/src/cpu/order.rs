//! Sorting and selection along an axis, and random bits.

use std::borrow::Cow;

use half::{bf16, f16};
use mlx_kernels::{Pod, Sortable, argpartition, argsort, copy_strided, partition, sort};

use super::layout::{error_text, input, output, size};
use crate::Dtype;
use crate::dtype::Element;
use crate::ffi::host::{HostInput, HostOutput};
use crate::op::Op;
use crate::shape::{axis_index, is_row_major};

/// What is done with the rows along the axis.
#[derive(Clone, Copy)]
enum Task {
    Sort,
    Partition(usize),
}

/// Sorts or partitions elements or their positions.
pub(super) fn run(
    op: &Op,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let (x, out) = (input(inputs, 0)?, output(outputs, 0)?);
    let (Op::Sort { axis }
    | Op::Argsort { axis }
    | Op::Partition { axis, .. }
    | Op::Argpartition { axis, .. }) = op
    else {
        return Err("has no kernel".to_owned());
    };
    let at = axis_index(*axis, x.shape().len()).ok_or("wanted an axis of the array")?;
    let len = size(x.shape()[at]);
    let task = match op {
        Op::Partition { kth, .. } | Op::Argpartition { kth, .. } => {
            let kth = axis_index(*kth, len).ok_or("wanted a place on the axis")?;
            Task::Partition(kth)
        }
        _ => Task::Sort,
    };
    let of_positions = matches!(op, Op::Argsort { .. } | Op::Argpartition { .. });
    match x.dtype() {
        Dtype::Bool => of_bools(task, at, of_positions, x, out),
        Dtype::Uint8 => typed::<u8>(task, at, of_positions, x, out),
        Dtype::Uint16 => typed::<u16>(task, at, of_positions, x, out),
        Dtype::Uint32 => typed::<u32>(task, at, of_positions, x, out),
        Dtype::Uint64 => typed::<u64>(task, at, of_positions, x, out),
        Dtype::Int8 => typed::<i8>(task, at, of_positions, x, out),
        Dtype::Int16 => typed::<i16>(task, at, of_positions, x, out),
        Dtype::Int32 => typed::<i32>(task, at, of_positions, x, out),
        Dtype::Int64 => typed::<i64>(task, at, of_positions, x, out),
        Dtype::Float16 => typed::<f16>(task, at, of_positions, x, out),
        Dtype::Bfloat16 => typed::<bf16>(task, at, of_positions, x, out),
        Dtype::Float32 => typed::<f32>(task, at, of_positions, x, out),
        Dtype::Float64 => typed::<f64>(task, at, of_positions, x, out),
        Dtype::Complex64 => Err("no kernel orders complex numbers".to_owned()),
    }
}

fn typed<T: Element + Sortable>(
    task: Task,
    axis: usize,
    of_positions: bool,
    x: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let rows = rows_along::<T>(x, axis)?;
    if of_positions {
        positions_of(task, &rows, axis, x.shape(), out)
    } else {
        let out = out.as_mut_slice::<T>()?;
        fill_along(axis, x.shape(), out, |len, out| match task {
            Task::Sort => sort(&rows, len, out),
            Task::Partition(kth) => partition(&rows, len, kth, out),
        })
    }
}

/// Truth values as bytes, 0 before 1.
fn of_bools(
    task: Task,
    axis: usize,
    of_positions: bool,
    x: &HostInput<'_>,
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let dense = x.contiguous_bytes()?;
    let rows = in_rows_along(dense, axis, x.layout().shape())?;
    if of_positions {
        positions_of(task, &rows, axis, x.shape(), out)
    } else {
        fill_along(axis, x.shape(), out.as_mut_bytes(), |len, out| match task {
            Task::Sort => sort(&rows, len, out),
            Task::Partition(kth) => partition(&rows, len, kth, out),
        })
    }
}

fn positions_of<T: Sortable>(
    task: Task,
    rows: &[T],
    axis: usize,
    shape: &[i32],
    out: &mut HostOutput<'_>,
) -> Result<(), String> {
    let out = out.as_mut_slice::<u32>()?;
    fill_along(axis, shape, out, |len, out| match task {
        Task::Sort => argsort(rows, len, out),
        Task::Partition(kth) => argpartition(rows, len, kth, out),
    })
}

/// The elements as rows along the axis, copied unless they are stored so.
fn rows_along<'a, T: Element + Pod + Default + Send + Sync>(
    x: &HostInput<'a>,
    axis: usize,
) -> Result<Cow<'a, [T]>, String> {
    let layout = x.layout();
    let (mut shape, mut strides) = (layout.shape().to_vec(), layout.strides().to_vec());
    let Some(stored) = x.as_strided::<T>()? else {
        // Some go backwards.
        return in_rows_along(x.to_contiguous::<T>()?, axis, &shape);
    };
    shape[axis..].rotate_left(1);
    strides[axis..].rotate_left(1);
    if is_row_major(&shape, &strides) {
        return Ok(Cow::Borrowed(stored));
    }
    let mut rows = vec![T::default(); layout.size()];
    let shape: Vec<usize> = shape.iter().map(|&n| size(n)).collect();
    let strides: Result<Vec<isize>, _> = strides.iter().map(|&s| isize::try_from(s)).collect();
    let strides = strides.map_err(|_| "elements are too far apart".to_owned())?;
    copy_strided(stored, 0, &shape, &strides, &mut rows).map_err(error_text)?;
    Ok(Cow::Owned(rows))
}

/// Elements in row-major order as rows along the axis.
fn in_rows_along<'a, T: Pod + Default + Send + Sync>(
    dense: Cow<'a, [T]>,
    axis: usize,
    shape: &[i32],
) -> Result<Cow<'a, [T]>, String> {
    let inner: usize = shape[axis + 1..].iter().map(|&n| size(n)).product();
    if inner == 1 {
        return Ok(dense);
    }
    let mut rows = vec![T::default(); dense.len()];
    let n = size(shape[axis]);
    swap_axes(&dense, [dense.len() / (n * inner), n, inner], &mut rows)?;
    Ok(Cow::Owned(rows))
}

/// Lets `fill` write rows along the axis, given their length, and puts them where they belong.
fn fill_along<T: Pod + Default + Send + Sync>(
    axis: usize,
    shape: &[i32],
    out: &mut [T],
    fill: impl FnOnce(usize, &mut [T]) -> mlx_kernels::Result<()>,
) -> Result<(), String> {
    let n = size(shape[axis]);
    let inner: usize = shape[axis + 1..].iter().map(|&n| size(n)).product();
    if inner == 1 {
        return fill(n, out).map_err(error_text);
    }
    let mut rows = vec![T::default(); out.len()];
    fill(n, &mut rows).map_err(error_text)?;
    swap_axes(&rows, [out.len() / (n * inner), inner, n], out)
}

/// Copies `[outer, m, n]` to `[outer, n, m]`.
fn swap_axes<T: Pod + Send + Sync>(
    from: &[T],
    [outer, m, n]: [usize; 3],
    to: &mut [T],
) -> Result<(), String> {
    let signed = |n: usize| isize::try_from(n).map_err(|_| "elements are too far apart".to_owned());
    let strides = [signed(m * n)?, 1, signed(n)?];
    copy_strided(from, 0, &[outer, n, m], &strides, to).map_err(error_text)
}

/// Draws random bits for each key.
pub(super) fn random_bits(
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    let keys = input(inputs, 0)?.to_contiguous::<u32>()?;
    let out = output(outputs, 0)?.as_mut_bytes();
    let (keys, _) = keys.as_chunks::<2>();
    let per_key = out.len() / keys.len().max(1);
    for (key, out) in keys.iter().zip(out.chunks_mut(per_key.max(1))) {
        mlx_kernels::random_bits(*key, out);
    }
    Ok(())
}
