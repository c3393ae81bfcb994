//! Copying strided elements to row-major order, as a transposed or sliced view needs it.
//!
//! Formula: `out[i, j, ..] = from[start + i * strides[0] + j * strides[1] + ..]`.
//! Blocking: a task has about 128 KiB of rows, or parts of longer ones. Contiguous rows are copied whole; where elements are
//! adjacent along another axis, as in a transpose, tiles of 64 bytes by as many rows are transposed in registers.
//! Limit: memory bandwidth. Error: none, elements are copied.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::block::Block;
use super::row_offsets::RowOffsets;
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;

const OP: &str = "copy_strided";
/// Bytes of a task.
const TASK: usize = 128 * 1024;
/// Rows of a transpose that are copied together: what a line of the cache has of one-byte elements.
const ROWS: usize = 64;

/// Writes the elements from `start` on with these strides to `out`, which is `shape` in row-major order.
///
/// ```
/// use mlx_kernels::copy_strided;
///
/// // The transpose of [[1, 2, 3], [4, 5, 6]], its rows backwards.
/// let mut out = [0; 6];
/// copy_strided(&[1, 2, 3, 4, 5, 6], 2, &[3, 2], &[-1, 3], &mut out)?;
/// assert_eq!(out, [3, 6, 2, 5, 1, 4]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When there is not a stride for each axis, `out` does not match the shape, an element would be outside of `from`, or
/// elements have not 1, 2, 4, 8 or 16 bytes; nothing was written then.
pub fn copy_strided<T: Pod>(
    from: &[T],
    start: usize,
    shape: &[usize],
    strides: &[isize],
    out: &mut [T],
) -> Result<()> {
    length(OP, "strides", shape.len(), strides.len())?;
    length(OP, "out", product(OP, shape)?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    check_reach((OP, "from"), from.len(), start, shape, strides)?;
    copy_bytes(
        size_of::<T>(),
        cast_slice(from),
        start,
        (shape, strides),
        cast_slice_mut(out),
    )
}

/// The same for elements of this many bytes; everything else is checked, and nothing is empty.
pub(super) fn copy_bytes(
    element: usize,
    from: &[u8],
    start: usize,
    (shape, strides): (&[usize], &[isize]),
    out: &mut [u8],
) -> Result<()> {
    match element {
        1 => copy_elements::<1>(from, start, shape, strides, out),
        2 => copy_elements::<2>(from, start, shape, strides, out),
        4 => copy_elements::<4>(from, start, shape, strides, out),
        8 => copy_elements::<8>(from, start, shape, strides, out),
        16 => copy_elements::<16>(from, start, shape, strides, out),
        other => {
            return Err(Error::Parameter {
                op: OP,
                what: "the size of an element",
                wanted: "1, 2, 4, 8 or 16",
                got: other,
            });
        }
    }
    Ok(())
}

/// The same for elements of `N` bytes; everything is checked, and nothing is empty.
fn copy_elements<const N: usize>(
    from: &[u8],
    start: usize,
    shape: &[usize],
    strides: &[isize],
    out: &mut [u8],
) {
    let (from, out) = (from.as_chunks::<N>().0, out.as_chunks_mut::<N>().0);
    let block = Block::new(shape, strides, &row_major(shape));
    if block.axes.is_empty() {
        out[0] = from[start];
        return;
    }
    // Tasks are ranges of the axes up to `split`; what is below belongs to one task.
    let tiled = block.tiled_axis();
    let split = tiled.unwrap_or_else(|| split_axis::<N>(&block));
    let sizes: Vec<usize> = block.axes[..=split].iter().map(|axis| axis.size).collect();
    let steps: Vec<usize> = block.axes[..=split].iter().map(|axis| axis.from).collect();
    let mut inner = Block {
        axes: block.axes[split..].to_vec(),
    };
    let row: usize = inner.axes[1..].iter().map(|axis| axis.size).product();
    let first = inner.axes[0];
    inner.order_for_tiles();
    let place = inner
        .axes
        .iter()
        .position(|axis| *axis == first)
        .unwrap_or(0);
    let wanted = (TASK / (row * N)).max(1);
    let per_task = if tiled.is_some() && first.size >= 4 * ROWS {
        wanted.next_multiple_of(ROWS)
    } else {
        wanted
    };
    let nanoseconds = (out.len() * N) as f64 * if tiled.is_some() { 0.1 } else { 0.05 };
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        nanoseconds,
        || inner.clone(),
        |inner, (task, mut out)| {
            let mut offsets = RowOffsets::from_row(&sizes, &steps, task * per_task);
            while !out.is_empty() {
                let rows = offsets.rows_left().min(out.len() / row);
                let (part, rest) = std::mem::take(&mut out).split_at_mut(rows * row);
                inner.axes[place].size = rows;
                inner.copy(from, start.wrapping_add(offsets.current()), part, 0);
                offsets.advance(rows);
                out = rest;
            }
        },
    );
}

/// The last axis, unless it and those before it are short.
fn split_axis<const N: usize>(block: &Block) -> usize {
    const MIN_BYTES: usize = 4096;
    let mut axis = block.axes.len() - 1;
    let mut bytes = N * block.axes[axis].size;
    if bytes > TASK {
        return axis;
    }
    while axis > 0 {
        axis -= 1;
        if bytes >= MIN_BYTES {
            break;
        }
        bytes *= block.axes[axis].size;
    }
    axis
}

/// The strides of an array in row-major order.
pub(crate) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Sizes whose product fits in memory.
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

/// Refuses strides that reach outside of `len` elements; no size is 0.
pub(crate) fn check_reach(
    (op, what): (&'static str, &'static str),
    len: usize,
    start: usize,
    shape: &[usize],
    strides: &[isize],
) -> Result<()> {
    let (mut min, mut max) = (Some(start), Some(start));
    for (size, stride) in shape.iter().zip(strides) {
        let reach = stride.unsigned_abs().checked_mul(size - 1);
        if *stride < 0 {
            min = min
                .zip(reach)
                .and_then(|(min, reach)| min.checked_sub(reach));
        } else {
            max = max
                .zip(reach)
                .and_then(|(max, reach)| max.checked_add(reach));
        }
    }
    match (min, max) {
        (Some(_), Some(max)) if max < len => Ok(()),
        (_, max) => Err(Error::Reach {
            op,
            what,
            wanted: max.map_or(usize::MAX, |max| max.saturating_add(1)),
            got: len,
        }),
    }
}
