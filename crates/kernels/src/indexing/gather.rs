//! Slices of an array, found by the indices of their first elements.
//!
//! Formula: `out[i, ..] = x[indices[i] + (..)]`, a slice for each row of indices.
//! Blocking: contiguous slices are copied whole; slices along one strided axis, as columns are, in blocks of as many rows as
//! fill a line of the cache, so that columns which share lines find them there.
//! Limit: memory bandwidth and, for short slices, its latency. Error: none, elements are copied.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::index::{Index, resolve_all};
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;
use crate::simd::prefetch;
use crate::strided::{Block, RowOffsets, StridedView, row_major};

const OP: &str = "gather";
/// Bytes of a task.
const TASK: usize = 64 * 1024;

/// Which slices are gathered.
#[derive(Clone, Debug)]
pub struct Gather {
    /// Where each slice starts, in elements from the array's first; sums wrap around.
    starts: Vec<usize>,
    /// The shape of a slice.
    sizes: Vec<usize>,
}

impl Gather {
    /// `count` slices of these sizes, which all start at the array's first element.
    pub fn new(count: usize, sizes: &[usize]) -> Self {
        Self {
            starts: vec![0; count],
            sizes: sizes.to_vec(),
        }
    }

    /// Where each slice starts, and the sizes of a slice.
    pub(super) fn parts(&self) -> (&[usize], &[usize]) {
        (&self.starts, &self.sizes)
    }

    /// Moves each slice by its index along an axis of an array of this shape, with these strides.
    ///
    /// # Errors
    /// When there is not an index for each slice, or a slice would end beyond the array.
    pub fn index<I: Index>(
        &mut self,
        (shape, strides): (&[usize], &[isize]),
        axis: usize,
        indices: &StridedView<'_, I>,
    ) -> Result<()> {
        length(OP, "indices", self.starts.len(), indices.size())?;
        length(OP, "slice sizes", shape.len(), self.sizes.len())?;
        let (Some(&size), Some(&stride)) = (shape.get(axis), strides.get(axis)) else {
            return Err(Error::Parameter {
                op: OP,
                what: "axis",
                wanted: "less than the number of axes",
                got: axis,
            });
        };
        let last_start = size
            .checked_sub(self.sizes[axis])
            .ok_or(super::index::out_of_range(OP, size))?;
        let stride = stride as usize;
        let mut resolved = [0; 256];
        let mut add = |starts: &mut [usize], indices: &mut dyn Iterator<Item = I>| {
            let resolved = &mut resolved[..starts.len()];
            resolve_all(OP, indices, size, resolved)?;
            if resolved.iter().any(|&index| index > last_start) {
                return Err(super::index::out_of_range(OP, last_start + 1));
            }
            for (start, index) in starts.iter_mut().zip(resolved) {
                *start = start.wrapping_add(index.wrapping_mul(stride));
            }
            Ok(())
        };
        let Some((&row, outer)) = indices.shape.split_last() else {
            let mut one = std::iter::once(indices.elements[indices.start]);
            return add(&mut self.starts, &mut one);
        };
        if self.starts.is_empty() {
            return Ok(());
        }
        let strides: Vec<usize> = indices.strides.iter().map(|&s| s as usize).collect();
        let (step, outer_strides) = (strides[outer.len()], &strides[..outer.len()]);
        let mut offsets = RowOffsets::from_row(outer, outer_strides, 0);
        for starts in self.starts.chunks_mut(row) {
            let mut at = indices.start.wrapping_add(offsets.current());
            for starts in starts.chunks_mut(256) {
                if step == 1 {
                    let elements = &indices.elements[at..][..starts.len()];
                    add(starts, &mut elements.iter().copied())?;
                } else {
                    let place = |k: usize| at.wrapping_add(k.wrapping_mul(step));
                    let mut elements = (0..starts.len()).map(|k| indices.elements[place(k)]);
                    add(starts, &mut elements)?;
                }
                at = at.wrapping_add(starts.len().wrapping_mul(step));
            }
            offsets.advance(1);
        }
        Ok(())
    }
}

/// Writes the slices one after the other to `out`.
///
/// # Errors
/// When a slice is larger than the array, or `out` has another length; nothing was written then.
pub fn gather<T: Pod + Send + Sync>(
    x: &StridedView<'_, T>,
    gather: &Gather,
    out: &mut [T],
) -> Result<()> {
    length(OP, "slice sizes", x.shape.len(), gather.sizes.len())?;
    let slice = product(OP, &gather.sizes)?;
    length(
        OP,
        "out",
        product(OP, &[gather.starts.len(), slice])?,
        out.len(),
    )?;
    if x.shape.iter().zip(&gather.sizes).any(|(n, size)| size > n) {
        return Err(super::index::out_of_range(OP, slice));
    }
    if out.is_empty() {
        return Ok(());
    }
    match size_of::<T>() {
        1 => gather_elements::<T, 1>(x, gather, slice, out),
        2 => gather_elements::<T, 2>(x, gather, slice, out),
        4 => gather_elements::<T, 4>(x, gather, slice, out),
        8 => gather_elements::<T, 8>(x, gather, slice, out),
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

fn gather_elements<T: Pod + Send + Sync, const N: usize>(
    x: &StridedView<'_, T>,
    gather: &Gather,
    slice: usize,
    out: &mut [T],
) {
    let from: &[[u8; N]] = cast_slice::<T, u8>(x.elements).as_chunks().0;
    let out: &mut [[u8; N]] = cast_slice_mut::<T, u8>(out).as_chunks_mut().0;
    let mut block = Block::new(&gather.sizes, &x.strides, &row_major(&gather.sizes));
    block.order_for_tiles();
    let is_column = matches!(block.axes.as_slice(), [axis] if axis.from != 1);
    let is_row = matches!(block.axes.as_slice(), [axis] if axis.from == 1);
    let bytes = (out.len() * N) as f64;
    let (count, nanoseconds) = if is_row || slice > 1 && !is_column {
        ((TASK / (slice * N)).max(1), bytes * 0.1)
    } else if is_column {
        // Columns that share lines of the cache belong together.
        let share = gather.starts.len().div_ceil(crate::parallel::threads());
        (share.clamp(1, 512), bytes * 0.5)
    } else {
        (TASK / N / 4, bytes * 0.5)
    };
    let tasks = gather
        .starts
        .chunks(count)
        .zip(out.chunks_mut(count * slice));
    parallel_for(
        tasks,
        nanoseconds,
        || (),
        |(), (starts, out)| {
            let place = |start: usize| x.start.wrapping_add(start);
            if is_column {
                gather_columns(from, starts, x.start, block.axes[0].from, slice, out);
            } else if slice == 1 {
                for (out, start) in out.iter_mut().zip(starts) {
                    *out = from[place(*start)];
                }
            } else if is_row {
                for (number, out) in out.chunks_mut(slice).enumerate() {
                    // Where a slice begins the hardware cannot know.
                    if let Some(later) = starts.get(number + 2) {
                        let later = &from[place(*later)..][..slice];
                        later
                            .iter()
                            .step_by(64 / N)
                            .take(4)
                            .for_each(|x| prefetch(x, 0));
                    }
                    out.copy_from_slice(&from[place(starts[number])..][..slice]);
                }
            } else {
                for (out, start) in out.chunks_mut(slice).zip(starts) {
                    block.copy(from, place(*start), out, 0);
                }
            }
        },
    );
}

/// Slices along one axis with a stride.
fn gather_columns<const N: usize>(
    from: &[[u8; N]],
    starts: &[usize],
    first: usize,
    step: usize,
    slice: usize,
    out: &mut [[u8; N]],
) {
    let rows = (64 / N).max(16);
    for row in (0..slice).step_by(rows) {
        let rows = rows.min(slice - row);
        let first = first.wrapping_add(row.wrapping_mul(step));
        for (out, start) in out.chunks_mut(slice).zip(starts) {
            let mut at = first.wrapping_add(*start);
            for out in &mut out[row..row + rows] {
                *out = from[at];
                at = at.wrapping_add(step);
            }
        }
    }
}
