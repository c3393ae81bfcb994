//! Copying strided elements to row-major order, as a transposed or sliced view needs it.
//!
//! Formula: `out[i, j, ..] = from[start + i * strides[0] + j * strides[1] + ..]`.
//! Blocking: a task has about 64 KiB of rows. Contiguous rows are copied whole; where adjacent rows start at adjacent
//! elements instead, as in a transpose, tiles of 16 rows by 16 columns share their cache lines.
//! Limit: memory bandwidth. Error: none, elements are copied.

use super::row_offsets::RowOffsets;
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;

const OP: &str = "copy_strided";
/// Bytes of a task.
const TASK: usize = 64 * 1024;
/// The height and width of a tile: the elements of two cache lines of 32-bit numbers.
const TILE: usize = 16;

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
/// When there is not a stride for each axis, `out` does not match the shape, or an element would be outside of `from`;
/// nothing was written then.
pub fn copy_strided<T: Copy + Send + Sync>(
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
    check_reach(from.len(), start, shape, strides)?;
    let (sizes, strides) = merge_axes(shape, strides);
    let (Some((&row, outer)), Some((&step, outer_strides))) =
        (sizes.split_last(), strides.split_last())
    else {
        out[0] = from[start];
        return Ok(());
    };
    if outer.is_empty() && step == 1 {
        let per_task = TASK / size_of::<T>().max(1);
        let from = &from[start..][..row];
        parallel_for(
            from.chunks(per_task).zip(out.chunks_mut(per_task)),
            0.2 * row as f64,
            || (),
            |(), (from, out)| out.copy_from_slice(from),
        );
        return Ok(());
    }
    // Rows of a transpose are copied together, so that all elements of a cache line are used while it is in the cache.
    let is_tiled = step != 1 && outer_strides.last() == Some(&1);
    let per_task = (TASK / (row * size_of::<T>().max(1))).max(1);
    let per_task = if is_tiled {
        per_task.next_multiple_of(TILE)
    } else {
        per_task
    };
    let nanoseconds = if step == 1 { 0.2 } else { 0.8 };
    let elements = out.len();
    parallel_for(
        out.chunks_mut(per_task * row).enumerate(),
        nanoseconds * elements as f64,
        || (),
        |(), (task, out)| {
            let mut offsets = RowOffsets::from_row(outer, outer_strides, task * per_task);
            let mut rest = out;
            while !rest.is_empty() {
                let rows = if is_tiled { offsets.rows_left() } else { 1 };
                let rows = rows.min(TILE).min(rest.len() / row);
                let (out, later) = std::mem::take(&mut rest).split_at_mut(rows * row);
                rest = later;
                let first = start.wrapping_add(offsets.current());
                if rows > 1 {
                    copy_tile(from, first, step, row, out);
                } else {
                    copy_row(from, first, step, out);
                }
                offsets.advance(rows);
            }
        },
    );
    Ok(())
}

fn copy_row<T: Copy>(from: &[T], first: usize, step: usize, out: &mut [T]) {
    match step {
        1 => out.copy_from_slice(&from[first..][..out.len()]),
        0 => out.fill(from[first]),
        _ => {
            let mut index = first;
            for out in out {
                *out = from[index];
                index = index.wrapping_add(step);
            }
        }
    }
}

/// Copies rows that start at adjacent elements.
fn copy_tile<T: Copy>(from: &[T], first: usize, step: usize, row: usize, out: &mut [T]) {
    let rows = out.len() / row;
    for start in (0..row).step_by(TILE) {
        let columns = TILE.min(row - start);
        for column in start..start + columns {
            let index = first.wrapping_add(column.wrapping_mul(step));
            let elements = &from[index..][..rows];
            for (number, element) in elements.iter().enumerate() {
                out[number * row + column] = *element;
            }
        }
    }
}

/// Refuses strides that reach outside of `len` elements.
fn check_reach(len: usize, start: usize, shape: &[usize], strides: &[isize]) -> Result<()> {
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
            op: OP,
            what: "from",
            wanted: max.map_or(usize::MAX, |max| max.saturating_add(1)),
            got: len,
        }),
    }
}

/// Sizes and strides without axes of size 1, neighbours merged where one stride steps through both.
fn merge_axes(shape: &[usize], strides: &[isize]) -> (Vec<usize>, Vec<usize>) {
    let (mut sizes, mut merged): (Vec<usize>, Vec<isize>) = (Vec::new(), Vec::new());
    for (&size, &stride) in shape.iter().zip(strides) {
        if size == 1 {
            continue;
        }
        match (sizes.last_mut(), merged.last_mut()) {
            (Some(last_size), Some(last))
                if isize::try_from(size)
                    .ok()
                    .and_then(|size| size.checked_mul(stride))
                    == Some(*last) =>
            {
                *last_size *= size;
                *last = stride;
            }
            _ => {
                sizes.push(size);
                merged.push(stride);
            }
        }
    }
    // Sums of these wrap around as signed ones do.
    (
        sizes,
        merged.into_iter().map(|stride| stride as usize).collect(),
    )
}
