//! A value put around an array.
//!
//! Formula: `out[i, j, ..] = x[i - low[0], j - low[1], ..]` where there is such an element, and the value elsewhere.
//! Blocking: a task has about 128 KiB of the result; it is filled with the value, and the elements are written over that
//! while it is in the cache. Limit: memory bandwidth. Error: none, elements are copied.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::block::Block;
use super::copy::{copy_strided, row_major};
use super::view::StridedView;
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;

const OP: &str = "pad";
/// Bytes of a task, about.
const TASK: usize = 128 * 1024;

/// Writes `x` into an array of `shape`, from the element `low` on, and `value` around it.
///
/// # Errors
/// When there are not sizes for each axis, `x` ends beyond the result, or `out` does not match the shape; nothing was
/// written then.
pub fn pad<T: Pod + Send + Sync>(
    x: &StridedView<'_, T>,
    low: &[usize],
    value: T,
    shape: &[usize],
    out: &mut [T],
) -> Result<()> {
    length(OP, "shape", x.shape.len(), shape.len())?;
    length(OP, "low", x.shape.len(), low.len())?;
    length(OP, "out", product(OP, shape)?, out.len())?;
    for (axis, &size) in x.shape.iter().enumerate() {
        if low[axis]
            .checked_add(size)
            .is_none_or(|end| end > shape[axis])
        {
            return Err(Error::Parameter {
                op: OP,
                what: "low",
                wanted: "room for the array",
                got: low[axis],
            });
        }
    }
    match size_of::<T>() {
        1 => pad_elements::<T, 1>(x, low, value, shape, out),
        2 => pad_elements::<T, 2>(x, low, value, shape, out),
        4 => pad_elements::<T, 4>(x, low, value, shape, out),
        8 => pad_elements::<T, 8>(x, low, value, shape, out),
        other => {
            return Err(Error::Parameter {
                op: OP,
                what: "the size of an element",
                wanted: "1, 2, 4 or 8",
                got: other,
            });
        }
    }
    Ok(())
}

fn pad_elements<T: Pod + Send + Sync, const N: usize>(
    x: &StridedView<'_, T>,
    low: &[usize],
    value: T,
    shape: &[usize],
    out: &mut [T],
) {
    if out.is_empty() {
        return;
    }
    let from: &[[u8; N]] = cast_slice::<T, u8>(x.elements).as_chunks().0;
    let split = outer_axes::<N>(shape);
    let (outer, inner) = shape.split_at(split);
    let row: usize = inner.iter().product();
    let to = row_major(inner);
    let block = Block::new(&x.shape[split..], &x.strides[split..], &to);
    let at: usize = low[split..]
        .iter()
        .zip(&to)
        .map(|(low, to)| low * *to as usize)
        .sum();
    let is_empty = x.size() == 0;
    if row * N > TASK {
        return pad_long_rows(x, low, value, shape, out);
    }
    let per_task = (TASK / (row * N)).max(1);
    let nanoseconds = 0.06 * (out.len() * N) as f64;
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        nanoseconds,
        || block.clone(),
        |block, (task, out)| {
            out.fill(value);
            if is_empty {
                return;
            }
            block.order_for_tiles();
            let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
            for (index, out) in out.chunks_mut(row).enumerate() {
                if let Some(start) = row_start(x, &low[..split], outer, task * per_task + index) {
                    block.copy(from, start, out, at);
                }
            }
        },
    );
}

/// Rows that are longer than a task, each on all threads.
fn pad_long_rows<T: Pod + Send + Sync>(
    x: &StridedView<'_, T>,
    low: &[usize],
    value: T,
    shape: &[usize],
    out: &mut [T],
) {
    let last = shape.len() - 1;
    for (index, out) in out.chunks_mut(shape[last]).enumerate() {
        let (before, rest) = out.split_at_mut(low[last]);
        let (middle, after) = rest.split_at_mut(x.shape[last]);
        before.fill(value);
        after.fill(value);
        let copied = match row_start(x, &low[..last], &shape[..last], index) {
            Some(start) if !middle.is_empty() => copy_strided(
                x.elements,
                start,
                &x.shape[last..],
                &x.strides[last..],
                middle,
            )
            .is_ok(),
            _ => false,
        };
        if !copied {
            middle.fill(value);
        }
    }
}

/// Where the elements of this row of the result begin, if it has any.
fn row_start<T>(
    x: &StridedView<'_, T>,
    low: &[usize],
    outer: &[usize],
    row: usize,
) -> Option<usize> {
    let (mut start, mut rest) = (x.start, row);
    for axis in (0..outer.len()).rev() {
        let index = (rest % outer[axis]).checked_sub(low[axis])?;
        rest /= outer[axis];
        if index >= x.shape[axis] {
            return None;
        }
        start = start.wrapping_add(index.wrapping_mul(x.strides[axis] as usize));
    }
    Some(start)
}

/// How many axes are outside of a block of at most a task's size.
pub(super) fn outer_axes<const N: usize>(shape: &[usize]) -> usize {
    let mut bytes = N;
    let mut axis = shape.len();
    while axis > 0 && bytes.saturating_mul(shape[axis - 1]) <= TASK {
        axis -= 1;
        bytes *= shape[axis];
    }
    // A row that is longer than a task is one.
    if axis == shape.len() && axis > 0 {
        axis -= 1;
    }
    axis
}
