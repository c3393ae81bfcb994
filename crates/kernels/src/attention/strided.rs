//! Strided rows of queries, keys and values: a slice and the strides of batches, heads and rows.

use half::bf16;

use crate::element::Element;
use crate::error::{Error, Result};
use crate::gemm::factors;

/// The strides, in elements, of the first three axes of a `[batch, head, row, dim]` array.
///
/// The numbers of a row are contiguous. A stride of 0 repeats, and rows may overlap or have gaps: a transposed view, a
/// slice of a cache and a broadcast are read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strides {
    /// From one sequence to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one row to the next.
    pub row: usize,
}

impl Strides {
    /// The strides of a contiguous `[batch, heads, rows, dim]` array.
    pub const fn contiguous(heads: usize, rows: usize, dim: usize) -> Self {
        let head = rows.saturating_mul(dim);
        Self {
            batch: heads.saturating_mul(head),
            head,
            row: dim,
        }
    }

    /// The strides of a contiguous `[batch, rows, heads, dim]` array, as a linear layer returns it.
    pub const fn heads_inside(heads: usize, rows: usize, dim: usize) -> Self {
        let row = heads.saturating_mul(dim);
        Self {
            batch: rows.saturating_mul(row),
            head: dim,
            row,
        }
    }
}

/// Rows of numbers that need not be contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Strided<'a, T = f32> {
    /// The numbers, from the first of the first row.
    pub values: &'a [T],
    /// The strides of the rows.
    pub strides: Strides,
}

impl<'a, T: Element> Strided<'a, T> {
    /// The same, if the elements are `bf16`.
    pub(super) fn as_bf16(self) -> Option<Strided<'a, bf16>> {
        Some(Strided {
            values: T::as_bf16(self.values)?,
            strides: self.strides,
        })
    }

    /// Refuses numbers that end before the last row, for sizes `[batch, heads, rows, dim]`.
    pub(super) fn check(
        self,
        op: &'static str,
        what: &'static str,
        sizes: [usize; 4],
    ) -> Result<()> {
        let Strides { batch, head, row } = self.strides;
        check_reach(op, what, sizes, [batch, head, row, 1], self.values.len())
    }

    /// The rows of one head.
    pub(super) fn of_head(self, batch: usize, head: usize, dim: usize) -> HeadRows<'a, T> {
        let first = batch * self.strides.batch + head * self.strides.head;
        HeadRows {
            values: &self.values[first..],
            stride: self.strides.row,
            dim,
        }
    }
}

/// Refuses `got` elements if an index into `sizes` with these strides would be past their end.
pub(super) fn check_reach(
    op: &'static str,
    what: &'static str,
    sizes: [usize; 4],
    strides: [usize; 4],
    got: usize,
) -> Result<()> {
    if sizes.contains(&0) {
        return Ok(());
    }
    let wanted = sizes
        .iter()
        .zip(strides)
        .try_fold(1_usize, |end, (size, stride)| {
            end.checked_add((size - 1).checked_mul(stride)?)
        })
        .ok_or(Error::TooLarge { op })?;
    if got < wanted {
        return Err(Error::Reach {
            op,
            what,
            wanted,
            got,
        });
    }
    Ok(())
}

/// The rows of one head of one sequence.
#[derive(Clone, Copy)]
pub(super) struct HeadRows<'a, T> {
    /// From the first row on.
    values: &'a [T],
    stride: usize,
    dim: usize,
}

impl<'a, T: Element> HeadRows<'a, T> {
    /// Whether blocks are read in place.
    pub(super) fn is_direct(&self) -> bool {
        T::IS_F32 && self.stride == self.dim
    }

    /// The rows as a factor of a product.
    pub(super) fn as_matrix(&self) -> factors::Strided<'a, T> {
        factors::Strided {
            data: self.values,
            start: 0,
            row_stride: self.stride,
            column_stride: 1,
            columns: self.dim,
        }
    }

    /// The length of a row.
    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> &'a [T] {
        &self.values[index * self.stride..][..self.dim]
    }

    /// Rows from `start` on as `f32`, and their stride: in place, or converted to `scratch`.
    #[inline(always)]
    pub(super) fn view<'s>(
        &self,
        start: usize,
        count: usize,
        scratch: &'s mut [f32],
    ) -> (&'s [f32], usize)
    where
        'a: 's,
    {
        if T::IS_F32 {
            let values = &self.values[start * self.stride..];
            return (T::read_inline(values, &mut []), self.stride);
        }
        (self.block(start, count, scratch), self.dim)
    }

    /// Rows `start..start + count` as contiguous `f32`, in `scratch` if they are not.
    #[inline(always)]
    pub(super) fn block<'s>(&self, start: usize, count: usize, scratch: &'s mut [f32]) -> &'s [f32]
    where
        'a: 's,
    {
        if self.stride == self.dim {
            return T::read_inline(
                &self.values[start * self.dim..][..count * self.dim],
                scratch,
            );
        }
        let rows = scratch[..count * self.dim].chunks_exact_mut(self.dim);
        for (index, out) in (start..).zip(rows) {
            row_to_f32(self.row(index), out);
        }
        &scratch[..count * self.dim]
    }
}

/// Writes a row as `f32`.
#[inline(always)]
pub(super) fn row_to_f32<T: Element>(row: &[T], out: &mut [f32]) {
    if T::IS_F32 {
        out.copy_from_slice(T::read_inline(row, &mut []));
    } else {
        T::read_inline(row, out);
    }
}
