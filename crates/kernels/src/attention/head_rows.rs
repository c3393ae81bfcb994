//! Where keys and values are and how they are read, whatever they are stored as: blocks of rows of one head as `f32`.

use super::strided::{HeadRows, Strided};
use crate::element::Element;
use crate::error::Result;

/// The keys or the values of all heads.
pub(super) trait Heads<'a>: Copy + Sync {
    /// The rows of one head.
    type Rows: RowBlocks;

    /// Refuses data that end before the last row, for sizes `[batch, heads, rows, dim]`.
    fn check(self, op: &'static str, what: &'static str, sizes: [usize; 4]) -> Result<()>;

    /// The rows of one head of one sequence.
    fn of_head(self, batch: usize, head: usize, dim: usize) -> Self::Rows;
}

/// The rows of one head, read block by block.
pub(super) trait RowBlocks: Copy {
    /// Whether [`RowBlocks::view`] never needs scratch.
    const IN_PLACE: bool;

    /// Whether [`RowBlocks::block`] never needs scratch.
    fn is_direct(&self) -> bool;

    /// Rows from `start` on as `f32`, and their stride: in place, or converted to `scratch`.
    fn view<'s>(&'s self, start: usize, count: usize, scratch: &'s mut [f32])
    -> (&'s [f32], usize);

    /// Rows `start..start + count` as contiguous `f32`, in `scratch` if they are not.
    fn block<'s>(&'s self, start: usize, count: usize, scratch: &'s mut [f32]) -> &'s [f32];
}

impl<'a, T: Element> Heads<'a> for Strided<'a, T> {
    type Rows = HeadRows<'a, T>;

    fn check(self, op: &'static str, what: &'static str, sizes: [usize; 4]) -> Result<()> {
        Strided::check(self, op, what, sizes)
    }

    fn of_head(self, batch: usize, head: usize, dim: usize) -> HeadRows<'a, T> {
        Strided::of_head(self, batch, head, dim)
    }
}

impl<T: Element> RowBlocks for HeadRows<'_, T> {
    const IN_PLACE: bool = T::IS_F32;

    fn is_direct(&self) -> bool {
        HeadRows::is_direct(self)
    }

    #[inline(always)]
    fn view<'s>(
        &'s self,
        start: usize,
        count: usize,
        scratch: &'s mut [f32],
    ) -> (&'s [f32], usize) {
        HeadRows::view(self, start, count, scratch)
    }

    #[inline(always)]
    fn block<'s>(&'s self, start: usize, count: usize, scratch: &'s mut [f32]) -> &'s [f32] {
        HeadRows::block(self, start, count, scratch)
    }
}
