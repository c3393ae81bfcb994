//! Copying elements that lie anywhere into row-major order, as a transposed or sliced view needs it.
//!
//! Formula: `out[i, j, ..] = from[start + i * strides[0] + j * strides[1] + ..]`.
//! Blocking: runs of rows of about 64 KiB go to threads. Rows whose elements lie together are copied whole; where
//! neighbouring rows lie together instead, as in a transpose, tiles of 16 rows by 16 columns share their cache lines.
//! Limit: memory bandwidth. Error: none, elements are copied.

use super::row_offsets::RowOffsets;
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;

const OP: &str = "copy_strided";
/// Bytes that one thread takes at a time.
const PIECE: usize = 64 * 1024;
/// The height and width of a tile: the elements of two cache lines of 32-bit numbers.
const TILE: usize = 16;

/// Writes the elements at `start` and these strides to `out`, which is `shape` in row-major order.
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
/// When there is not a stride for each axis, `out` does not match the shape, or an element would lie outside of `from`;
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
    let (sizes, strides) = joined(shape, strides);
    let (Some((&row, outer)), Some((&step, outer_strides))) =
        (sizes.split_last(), strides.split_last())
    else {
        out[0] = from[start];
        return Ok(());
    };
    if outer.is_empty() && step == 1 {
        let together = PIECE / size_of::<T>().max(1);
        let from = &from[start..][..row];
        parallel_for(
            from.chunks(together).zip(out.chunks_mut(together)),
            0.2 * row as f64,
            || (),
            |(), (from, out)| out.copy_from_slice(from),
        );
        return Ok(());
    }
    // Rows of a transpose are taken together, so that all elements of a cache line are used once it is there.
    let is_tiled = step != 1 && outer_strides.last() == Some(&1);
    let together = (PIECE / (row * size_of::<T>().max(1))).max(1);
    let together = if is_tiled {
        together.next_multiple_of(TILE)
    } else {
        together
    };
    let nanoseconds = if step == 1 { 0.2 } else { 0.8 };
    let elements = out.len();
    parallel_for(
        out.chunks_mut(together * row).enumerate(),
        nanoseconds * elements as f64,
        || (),
        |(), (piece, out)| {
            let mut offsets = RowOffsets::from_row(outer, outer_strides, piece * together);
            let mut rest = out;
            while !rest.is_empty() {
                let rows = if is_tiled { offsets.rows_left() } else { 1 };
                let rows = rows.min(TILE).min(rest.len() / row);
                let (out, later) = std::mem::take(&mut rest).split_at_mut(rows * row);
                rest = later;
                let first = start.wrapping_add(offsets.current());
                if rows > 1 {
                    tile(from, first, step, row, out);
                } else {
                    one_row(from, first, step, out);
                }
                offsets.advance(rows);
            }
        },
    );
    Ok(())
}

fn one_row<T: Copy>(from: &[T], first: usize, step: usize, out: &mut [T]) {
    match step {
        1 => out.copy_from_slice(&from[first..][..out.len()]),
        0 => out.fill(from[first]),
        _ => {
            let mut place = first;
            for out in out {
                *out = from[place];
                place = place.wrapping_add(step);
            }
        }
    }
}

/// Rows that begin at neighbouring elements.
fn tile<T: Copy>(from: &[T], first: usize, step: usize, row: usize, out: &mut [T]) {
    let rows = out.len() / row;
    for start in (0..row).step_by(TILE) {
        let columns = TILE.min(row - start);
        for column in start..start + columns {
            let place = first.wrapping_add(column.wrapping_mul(step));
            let elements = &from[place..][..rows];
            for (number, element) in elements.iter().enumerate() {
                out[number * row + column] = *element;
            }
        }
    }
}

/// Refuses strides that lead out of `len` elements.
fn check_reach(len: usize, start: usize, shape: &[usize], strides: &[isize]) -> Result<()> {
    let (mut least, mut most) = (Some(start), Some(start));
    for (size, stride) in shape.iter().zip(strides) {
        let reach = stride.unsigned_abs().checked_mul(size - 1);
        if *stride < 0 {
            least = least
                .zip(reach)
                .and_then(|(least, reach)| least.checked_sub(reach));
        } else {
            most = most
                .zip(reach)
                .and_then(|(most, reach)| most.checked_add(reach));
        }
    }
    match (least, most) {
        (Some(_), Some(most)) if most < len => Ok(()),
        (_, most) => Err(Error::Reach {
            op: OP,
            what: "from",
            wanted: most.map_or(usize::MAX, |most| most.saturating_add(1)),
            got: len,
        }),
    }
}

/// Sizes and strides without axes of one element, neighbours joined where one stride goes through both.
fn joined(shape: &[usize], strides: &[isize]) -> (Vec<usize>, Vec<usize>) {
    let (mut sizes, mut joined): (Vec<usize>, Vec<isize>) = (Vec::new(), Vec::new());
    for (&size, &stride) in shape.iter().zip(strides) {
        if size == 1 {
            continue;
        }
        match (sizes.last_mut(), joined.last_mut()) {
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
                joined.push(stride);
            }
        }
    }
    // Sums of these wrap around as signed ones do.
    (
        sizes,
        joined.into_iter().map(|stride| stride as usize).collect(),
    )
}
