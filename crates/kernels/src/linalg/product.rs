//! Products of parts of matrices: `out = left * right`, or `out -= left * right`.

use pulp::Simd;

use crate::gemm::blocked::{Position, Product, Sizes, multiply_strided};
use crate::gemm::factors::{RightColumns, Strided, copy_in_registers};
use crate::parallel::threads;

/// Products of fewer multiplications, some 60 microseconds, stay on the calling thread: a factorization makes many of them
/// one after the other, and a worker that comes late to each costs more than it helps.
const MIN_SHARED: usize = 4 << 20;

/// A part of a row-major matrix, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) data: &'a [f32],
    /// The distance between rows of the matrix.
    pub(super) line: usize,
    pub(super) transposed: bool,
}

impl<'a> Part<'a> {
    pub(super) fn of(data: &'a [f32], line: usize) -> Self {
        Self {
            data,
            line,
            transposed: false,
        }
    }

    pub(super) fn transposed(data: &'a [f32], line: usize) -> Self {
        Self {
            data,
            line,
            transposed: true,
        }
    }

    fn strided(self, columns: usize) -> Strided<'a, f32> {
        let (row_stride, column_stride) = if self.transposed {
            (1, self.line)
        } else {
            (self.line, 1)
        };
        Strided {
            data: self.data,
            start: 0,
            row_stride,
            column_stride,
            columns,
        }
    }
}

/// The sizes of a product.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
}

struct Parts<'a, const SUBTRACT: bool> {
    left: Strided<'a, f32>,
    right: Columns<'a>,
}

/// The columns of a part that is not transposed.
#[derive(Clone, Copy)]
struct Columns<'a> {
    data: &'a [f32],
    line: usize,
}

impl RightColumns for Columns<'_> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        (first, rows): (usize, usize),
        (column, columns): (usize, usize),
        tile: usize,
        out: &mut [f32],
    ) {
        let from = self.data[first * self.line + column..].chunks(self.line);
        let out = out.chunks_exact_mut(tile).take(rows);
        for (out, from) in out.zip(from) {
            let (out, rest) = out.split_at_mut(columns);
            copy_in_registers::<S>(&from[..columns], out);
            rest.fill(0.0);
        }
    }
}

impl<'a, const SUBTRACT: bool> Product for Parts<'a, SUBTRACT> {
    type Left = Strided<'a, f32>;
    type Right = Columns<'a>;
    type Output = f32;

    #[inline(always)]
    fn left(&self, _: usize, _: usize) -> Strided<'a, f32> {
        self.left
    }

    #[inline(always)]
    fn right(&self, _: usize, _: usize) -> Columns<'a> {
        self.right
    }

    #[inline(always)]
    fn store(&self, _: Position, sums: &mut [f32], out: &mut [f32]) {
        if SUBTRACT {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out -= *sum;
            }
        } else {
            out.copy_from_slice(sums);
        }
    }
}

/// `out = left * right` of a `right` that is not transposed, with rows of `out` that are `line` elements apart.
pub(super) fn assign(
    left: Part<'_>,
    right: Part<'_>,
    extent: Extent,
    out: &mut [f32],
    line: usize,
) {
    compute::<false>(left, right, extent, out, line);
}

/// `out -= left * right` of a `right` that is not transposed, with rows of `out` that are `line` elements apart.
pub(super) fn subtract(
    left: Part<'_>,
    right: Part<'_>,
    extent: Extent,
    out: &mut [f32],
    line: usize,
) {
    if extent.depth > 0 {
        compute::<true>(left, right, extent, out, line);
    }
}

fn compute<const SUBTRACT: bool>(
    left: Part<'_>,
    right: Part<'_>,
    extent: Extent,
    out: &mut [f32],
    line: usize,
) {
    let Extent {
        rows,
        depth,
        columns,
    } = extent;
    if rows == 0 || columns == 0 {
        return;
    }
    let sizes = Sizes {
        batch: 1,
        rows,
        groups: 1,
        depth,
        columns,
    };
    let parts = Parts::<SUBTRACT> {
        left: left.strided(depth),
        right: Columns {
            data: right.data,
            line: right.line,
        },
    };
    let threads = if rows * depth * columns < MIN_SHARED {
        1
    } else {
        threads()
    };
    let out = &mut out[..(rows - 1) * line + columns];
    multiply_strided(sizes, &parts, (line, threads), out);
}
