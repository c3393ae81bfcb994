//! Joining arrays along an axis.
//!
//! Formula: along the axis, the elements of the first array, then those of the second, and so on.
//! Blocking: a task has about 128 KiB of the result, over the axes before; where these are few, each array's part is copied
//! on all threads (`copy.rs`). Arrays may have any strides.
//! Limit: memory bandwidth. Error: none, elements are copied.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::copy::{copy_strided, row_major};
use super::view::{Rows, StridedView};
use crate::error::{Error, Result, length, product};
use crate::parallel::{parallel_for, threads};

const OP: &str = "concatenate";
/// Bytes of a task.
const TASK: usize = 128 * 1024;

/// Writes the arrays one after the other along `axis` to `out`, which is in row-major order.
///
/// # Errors
/// When arrays do not match along the other axes, there is no such axis, or `out` has another length; nothing was written
/// then.
pub fn concatenate<T: Pod + Send + Sync>(
    inputs: &[StridedView<'_, T>],
    axis: usize,
    out: &mut [T],
) -> Result<()> {
    let first = inputs.first().map_or(&[][..], |x| &x.shape);
    let mismatch = |what, got| Error::Parameter {
        op: OP,
        what,
        wanted: "that of the first array",
        got,
    };
    if axis >= first.len() {
        return Err(mismatch("axis", axis));
    }
    let mut total = 0;
    for x in inputs {
        let fits = x.shape.len() == first.len()
            && (0..first.len()).all(|at| at == axis || x.shape[at] == first[at]);
        if !fits {
            return Err(mismatch("the shape of an array", x.size()));
        }
        total += x.shape[axis];
    }
    let mut shape = first.to_vec();
    shape[axis] = total;
    length(OP, "out", product(OP, &shape)?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let outer: usize = shape[..axis].iter().product();
    let row = out.len() / outer;
    if outer < 2 * threads() && row * size_of::<T>() >= TASK {
        return join_parts(inputs, axis, out);
    }
    match size_of::<T>() {
        1 => join_rows::<T, 1>(inputs, axis, row, out),
        2 => join_rows::<T, 2>(inputs, axis, row, out),
        4 => join_rows::<T, 4>(inputs, axis, row, out),
        8 => join_rows::<T, 8>(inputs, axis, row, out),
        _ => return join_parts(inputs, axis, out),
    }
    Ok(())
}

/// Each part on all threads, one after the other.
fn join_parts<T: Pod>(inputs: &[StridedView<'_, T>], axis: usize, mut out: &mut [T]) -> Result<()> {
    let outer_shape = &inputs[0].shape[..axis];
    let outer: usize = outer_shape.iter().product();
    for index in 0..outer {
        for x in inputs {
            let mut start = x.start;
            let mut rest = index;
            for (&size, &stride) in outer_shape.iter().zip(&x.strides).rev() {
                start = start.wrapping_add((rest % size).wrapping_mul(stride as usize));
                rest /= size;
            }
            let shape = &x.shape[axis..];
            let (part, later) = std::mem::take(&mut out).split_at_mut(shape.iter().product());
            out = later;
            if !part.is_empty() {
                copy_strided(x.elements, start, shape, &x.strides[axis..], part)?;
            }
        }
    }
    Ok(())
}

/// Tasks of rows of the result, each made of a row of each array.
fn join_rows<T: Pod + Send + Sync, const N: usize>(
    inputs: &[StridedView<'_, T>],
    axis: usize,
    row: usize,
    out: &mut [T],
) {
    struct Part<'a, const N: usize> {
        rows: Rows,
        from: &'a [[u8; N]],
        start: usize,
        /// Where it begins in a row of the result.
        at: usize,
    }
    let mut at = 0;
    let parts: Vec<Part<'_, N>> = inputs
        .iter()
        .filter(|x| x.size() > 0)
        .map(|x| {
            let inner = &x.shape[axis..];
            let part = Part {
                rows: Rows::new(&x.shape, &x.strides, axis, &row_major(inner)),
                from: cast_slice::<T, u8>(x.elements).as_chunks().0,
                start: x.start,
                at,
            };
            at += inner.iter().product::<usize>();
            part
        })
        .collect();
    let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
    let per_task = (TASK / (row * N)).max(1);
    let nanoseconds = 0.05 * (out.len() * N) as f64;
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        nanoseconds,
        || (),
        |(), (task, out)| {
            let rows = (task * per_task, out.len() / row);
            for part in &parts {
                part.rows
                    .copy((part.from, part.start), rows, out, part.at, row);
            }
        },
    );
}
