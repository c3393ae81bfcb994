//! Gathering rows of a table by their numbers, as an embedding does.
//!
//! Formula: `out[i, :] = table[indices[i], :]`. Blocking: runs of rows of about 64 KiB go to threads.
//! Limit: memory bandwidth, and its latency where rows are shorter than a cache line. Error: none, elements are copied.

use super::shape::Rows;
use crate::error::{Error, Result, length, product};
use crate::parallel::parallel_for;

/// A number of a row: `u32`, or `i32` and `i64`, of which negative ones count from the end.
pub trait RowIndex: Copy + Sync + sealed::Place {}

impl RowIndex for u32 {}
impl RowIndex for i32 {}
impl RowIndex for i64 {}

mod sealed {
    pub trait Place {
        /// The row it means, if there is one.
        fn place(self, rows: usize) -> Option<usize>;
        /// For messages.
        fn magnitude(self) -> usize;
    }
}

impl sealed::Place for u32 {
    fn place(self, rows: usize) -> Option<usize> {
        usize::try_from(self).ok().filter(|index| *index < rows)
    }

    fn magnitude(self) -> usize {
        self as usize
    }
}

impl sealed::Place for i64 {
    fn place(self, rows: usize) -> Option<usize> {
        let index = if self < 0 {
            self.checked_add(i64::try_from(rows).ok()?)?
        } else {
            self
        };
        usize::try_from(index).ok().filter(|index| *index < rows)
    }

    fn magnitude(self) -> usize {
        usize::try_from(self.unsigned_abs()).unwrap_or(usize::MAX)
    }
}

impl sealed::Place for i32 {
    fn place(self, rows: usize) -> Option<usize> {
        i64::from(self).place(rows)
    }

    fn magnitude(self) -> usize {
        self.unsigned_abs() as usize
    }
}

/// Writes the rows of `table` that `indices` number to `out`, `[indices, dim]`.
///
/// ```
/// use mlx_kernels::{Rows, gather};
///
/// let mut out = [0.0; 4];
/// gather(Rows { rows: 3, dim: 2 }, &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5], &[2, -3], &mut out)?;
/// assert_eq!(out, [2.0, 2.5, 0.0, 0.5]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a length does not match the shape, or an index is not one of a row; nothing was written then.
pub fn gather<T: Copy + Send + Sync, I: RowIndex>(
    shape: Rows,
    table: &[T],
    indices: &[I],
    out: &mut [T],
) -> Result<()> {
    const OP: &str = "gather";
    let Rows { rows, dim } = shape;
    length(OP, "table", shape.elements(OP)?, table.len())?;
    length(OP, "out", product(OP, &[indices.len(), dim])?, out.len())?;
    if let Some(index) = indices.iter().find(|index| index.place(rows).is_none()) {
        return Err(Error::Parameter {
            op: OP,
            what: "an index",
            wanted: "one of a row",
            got: index.magnitude(),
        });
    }
    if out.is_empty() {
        return Ok(());
    }
    let bytes = size_of_val(out);
    let together = (64 * 1024 / (dim * size_of::<T>().max(1))).max(1);
    parallel_for(
        indices.chunks(together).zip(out.chunks_mut(together * dim)),
        // A row that is not in the cache takes some time to come.
        0.1 * bytes as f64 + 20.0 * indices.len() as f64,
        || (),
        |(), (indices, out)| {
            for (index, out) in indices.iter().zip(out.chunks_exact_mut(dim)) {
                // All were found above.
                if let Some(row) = index.place(rows) {
                    out.copy_from_slice(&table[row * dim..][..dim]);
                }
            }
        },
    );
    Ok(())
}
