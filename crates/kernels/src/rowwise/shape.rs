//! The sizes of rows, and how many a thread takes.

use crate::error::{Error, Result, product};

/// Rows of equal length, one after another: `[rows, dim]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The number of rows.
    pub rows: usize,
    /// The length of a row.
    pub dim: usize,
}

impl Rows {
    /// The number of elements, if it fits.
    pub(crate) fn elements(self, op: &'static str) -> Result<usize> {
        product(op, &[self.rows, self.dim])
    }

    /// Rows that one thread takes at a time: about 64 KiB of them.
    pub(crate) fn per_piece(self) -> usize {
        (16 * 1024 / self.dim.max(1)).max(1)
    }
}

/// Refuses a shape whose rows have no elements although there are rows.
pub(crate) fn rows_not_empty(op: &'static str, shape: Rows) -> Result<()> {
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
