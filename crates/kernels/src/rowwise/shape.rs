//! The shape of row-wise kernels, and how many rows a task has.

use crate::error::{Error, Result, product};

/// The shape of a contiguous matrix, `[rows, dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMajorShape {
    /// The number of rows.
    pub rows: usize,
    /// The length of a row.
    pub dim: usize,
}

impl RowMajorShape {
    /// The number of elements, if it does not overflow.
    pub(crate) fn elements(self, op: &'static str) -> Result<usize> {
        product(op, &[self.rows, self.dim])
    }

    /// Rows of a task: about 64 KiB.
    pub(crate) fn rows_per_task(self) -> usize {
        (16 * 1024 / self.dim.max(1)).max(1)
    }
}

/// Refuses a shape whose rows have no elements although there are rows.
pub(crate) fn rows_not_empty(op: &'static str, shape: RowMajorShape) -> Result<()> {
    if shape.dim == 0 && shape.rows > 0 {
        return Err(Error::Parameter {
            op,
            what: "dim",
            wanted: "at least 1",
            got: 0,
        });
    }
    Ok(())
}
