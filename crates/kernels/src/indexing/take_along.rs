//! Elements found by an index along one axis, and by their own place along the others.
//!
//! Formula, along the last axis: `out[.., j] = x[.., indices[.., j]]`.
//! Blocking: a task has rows of the result, whose indices are resolved in blocks of 512.
//! Limit: the latency of memory. Error: none, elements are copied.

use std::sync::Mutex;

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::index::{Index, resolve_all};
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::strided::{RowOffsets, StridedView};

const OP: &str = "take_along_axis";
/// Elements of a task.
const TASK: usize = 8 * 1024;
/// Indices that are resolved at once.
const BLOCK: usize = 512;

/// Writes the elements of `x` that `indices` name along `axis` to `out`, of the shape of `indices` in row-major order.
///
/// # Errors
/// When the shapes do not match along the other axes, or an index is out of range. What `out` holds then is unspecified.
pub fn take_along<T: Pod + Send + Sync, I: Index>(
    x: &StridedView<'_, T>,
    indices: &StridedView<'_, I>,
    axis: usize,
    out: &mut [T],
) -> Result<()> {
    length(OP, "axes", x.shape.len(), indices.shape.len())?;
    length(OP, "out", product(OP, &indices.shape)?, out.len())?;
    let fits = (0..x.shape.len()).all(|at| at == axis || x.shape[at] == indices.shape[at]);
    if axis >= x.shape.len() || !fits {
        return Err(Error::Parameter {
            op: OP,
            what: "axis",
            wanted: "the one along which shapes differ",
            got: axis,
        });
    }
    if out.is_empty() {
        return Ok(());
    }
    match size_of::<T>() {
        1 => take_elements::<T, I, 1>(x, indices, axis, out),
        2 => take_elements::<T, I, 2>(x, indices, axis, out),
        4 => take_elements::<T, I, 4>(x, indices, axis, out),
        8 => take_elements::<T, I, 8>(x, indices, axis, out),
        other => Err(Error::Parameter {
            op: OP,
            what: "the size of an element",
            wanted: "1, 2, 4 or 8",
            got: other,
        }),
    }
}

fn take_elements<T: Pod + Send + Sync, I: Index, const N: usize>(
    x: &StridedView<'_, T>,
    indices: &StridedView<'_, I>,
    axis: usize,
    out: &mut [T],
) -> Result<()> {
    let from: &[[u8; N]] = cast_slice::<T, u8>(x.elements).as_chunks().0;
    let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
    let last = indices.shape.len() - 1;
    let (row, outer) = (indices.shape[last], &indices.shape[..last]);
    let wrapping = |strides: &[isize]| strides.iter().map(|&s| s as usize).collect::<Vec<_>>();
    let (index_strides, mut x_strides) = (wrapping(&indices.strides), wrapping(&x.strides));
    let (size, along) = (x.shape[axis], x_strides[axis]);
    // The index says where along the axis, whatever the row.
    x_strides[axis] = 0;
    let (step, index_step) = (x_strides[last], index_strides[last]);
    let per_task = (TASK / row).max(1);
    let nanoseconds = 1.5 * out.len() as f64;
    let error = Mutex::new(None);
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        nanoseconds,
        || [0; BLOCK],
        |resolved, (task, out)| {
            let mut x_rows = RowOffsets::from_row(outer, &x_strides[..last], task * per_task);
            let mut index_rows =
                RowOffsets::from_row(outer, &index_strides[..last], task * per_task);
            for out in out.chunks_mut(row) {
                let first = x.start.wrapping_add(x_rows.current());
                let first_index = indices.start.wrapping_add(index_rows.current());
                for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                    let column = block * BLOCK;
                    let resolved = &mut resolved[..out.len()];
                    let at = first_index.wrapping_add(column.wrapping_mul(index_step));
                    let done = if index_step == 1 {
                        let row = &indices.elements[at..][..out.len()];
                        resolve_all(OP, row.iter().copied(), size, resolved)
                    } else {
                        let place = |k: usize| at.wrapping_add(k.wrapping_mul(index_step));
                        let row = (0..out.len()).map(|k| indices.elements[place(k)]);
                        resolve_all(OP, row, size, resolved)
                    };
                    if let Err(text) = done
                        && let Ok(mut error) = error.lock()
                    {
                        *error = Some(text);
                    }
                    let mut base = first.wrapping_add(column.wrapping_mul(step));
                    for (out, index) in out.iter_mut().zip(resolved) {
                        *out = from[base.wrapping_add(index.wrapping_mul(along))];
                        base = base.wrapping_add(step);
                    }
                }
                x_rows.advance(1);
                index_rows.advance(1);
            }
        },
    );
    error.into_inner().ok().flatten().map_or(Ok(()), Err)
}
