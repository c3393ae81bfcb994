//! LU factorization with partial pivoting, in place: panels of [`PANEL`] columns, and a product for what is right of each.
//!
//! A panel is factorized in groups of [`GROUP`] columns, one or two registers of a row: columns one by one within a group,
//! and then the group's rows and multipliers are applied to the rest of the panel with its rows in registers.

use pulp::{Simd, WithSimd};

use super::product::{Extent, Part, subtract};
use super::triangular::{Block, solve_block};
use crate::gemm::scratch::Scratch;
use crate::simd;

/// Columns of a panel.
const PANEL: usize = 64;
/// Columns of a group.
const GROUP: usize = 16;
/// The distance of rows of a panel: an odd number of cache lines, so that a column does not share the sets of a cache.
const LINE: usize = PANEL + GROUP;

/// Factorizes a matrix `[rows, columns]`, of which nothing is empty. `pivots` gets the row exchanged with each row.
pub(super) fn factor(rows: usize, columns: usize, a: &mut [f32], pivots: &mut [u32]) {
    let depth = rows.min(columns);
    let mut scratch = Scratch::new(rows * LINE);
    for first in (0..depth).step_by(PANEL) {
        let width = PANEL.min(depth - first);
        let (panel, _) = scratch.as_mut_slice().as_chunks_mut::<LINE>();
        let panel = &mut panel[..rows - first];
        let padded = width.next_multiple_of(GROUP);
        let below = a[first * columns..].chunks_exact(columns);
        for (to, from) in panel.iter_mut().zip(below) {
            to[..width].copy_from_slice(&from[first..][..width]);
            to[width..padded].fill(0.0);
        }
        let pivots = &mut pivots[first..][..width];
        simd::dispatch(Panel {
            rows: panel,
            width,
            pivots,
        });
        for (row, pivot) in pivots.iter_mut().enumerate() {
            *pivot += first as u32;
            exchange_rows(columns, first + row, *pivot as usize, a);
        }
        let below = a[first * columns..].chunks_exact_mut(columns);
        for (from, to) in panel.iter().zip(below) {
            to[first..][..width].copy_from_slice(&from[..width]);
        }
        update_right(columns, first + width, width, scratch.as_slice(), a);
    }
}

/// Applies a panel of `width` columns, which ends before column `end`, to the columns from there on.
fn update_right(columns: usize, end: usize, width: usize, panel: &[f32], a: &mut [f32]) {
    if end == columns {
        return;
    }
    let rows = a.len() / columns;
    let (top, bottom) = a.split_at_mut(end * columns);
    let right = &mut top[(end - width) * columns + end..];
    let block = Block {
        matrix: panel,
        line: LINE,
        n: width,
        is_lower: true,
        has_ones: true,
    };
    solve_block(block, (right, columns), columns - end);
    if end < rows {
        let extent = Extent {
            rows: rows - end,
            depth: width,
            columns: columns - end,
        };
        let left = Part::of(&panel[width * LINE..], LINE);
        subtract(
            left,
            Part::of(right, columns),
            extent,
            &mut bottom[end..],
            columns,
        );
    }
}

fn exchange_rows(columns: usize, row: usize, other: usize, a: &mut [f32]) {
    if row != other {
        let (above, below) = a.split_at_mut(other * columns);
        above[row * columns..][..columns].swap_with_slice(&mut below[..columns]);
    }
}

/// Writes which row of the matrix each row of the factors is.
pub(super) fn order_of(pivots: &[u32], order: &mut [u32]) {
    exchanged(pivots.iter().enumerate(), order);
}

/// Writes which row of the factors each row of the matrix is: the inverse of [`order_of`].
pub(super) fn places_of(pivots: &[u32], places: &mut [u32]) {
    exchanged(pivots.iter().enumerate().rev(), places);
}

/// Writes the numbers of rows after these exchanges.
fn exchanged<'a>(exchanges: impl Iterator<Item = (usize, &'a u32)>, rows: &mut [u32]) {
    for (number, row) in rows.iter_mut().enumerate() {
        *row = number as u32;
    }
    for (row, &pivot) in exchanges {
        rows.swap(row, pivot as usize);
    }
}

/// Multiplies a matrix of `n` columns with the exchange of rows from the right.
pub(super) fn exchange_columns(n: usize, pivots: &[u32], x: &mut [f32]) {
    let mut order = vec![0; n];
    order_of(pivots, &mut order);
    if order.iter().enumerate().all(|(at, &to)| at == to as usize) {
        return;
    }
    let mut copy = vec![0.0; n];
    for row in x.chunks_exact_mut(n) {
        copy.copy_from_slice(row);
        for (&to, &value) in order.iter().zip(&copy) {
            row[to as usize] = value;
        }
    }
}

/// A panel that is factorized. Columns from `width` to the end of their group are zeros.
struct Panel<'a> {
    rows: &'a mut [[f32; LINE]],
    width: usize,
    pivots: &'a mut [u32],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            rows,
            width,
            pivots,
        } = self;
        for first in (0..width).step_by(GROUP) {
            let last = width.min(first + GROUP);
            for (at, pivot) in pivots[first..last].iter_mut().enumerate() {
                *pivot = eliminate(simd, rows, first, first + at) as u32;
            }
            if first + GROUP < width {
                update_rest(simd, rows, first, width.next_multiple_of(GROUP));
            }
        }
    }
}

/// Finds the pivot of a column, exchanges its row, and subtracts multiples of that from the rows below, in the columns of
/// the group that begins at `first`.
#[inline(always)]
fn eliminate<S: Simd>(simd: S, rows: &mut [[f32; LINE]], first: usize, column: usize) -> usize {
    let (mut pivot, mut most) = (column, rows[column][column].abs());
    for (row, numbers) in rows.iter().enumerate().skip(column + 1) {
        let size = numbers[column].abs();
        if size > most {
            (pivot, most) = (row, size);
        }
    }
    rows.swap(column, pivot);
    let (above, below) = rows.split_at_mut(column + 1);
    let own = &above[column];
    let divisor = own[column];
    if divisor == 0.0 {
        return pivot;
    }
    // The reciprocal of a tiny number overflows.
    let reciprocal = 1.0 / divisor;
    let is_exact = reciprocal.is_finite();
    let mut right = [0.0; GROUP];
    right[column + 1 - first..].copy_from_slice(&own[column + 1..first + GROUP]);
    let right = S::as_simd_f32s(&right).0;
    for row in below {
        let factor = if is_exact {
            row[column] * reciprocal
        } else {
            row[column] / divisor
        };
        let minus = simd.splat_f32s(-factor);
        let part = S::as_mut_simd_f32s(&mut row[first..first + GROUP]).0;
        for (x, right) in part.iter_mut().zip(right) {
            *x = simd.mul_add_e_f32s(minus, *right, *x);
        }
        row[column] = factor;
    }
    pivot
}

/// Applies a whole group to the columns from its end to `end`.
#[inline(always)]
fn update_rest<S: Simd>(simd: S, rows: &mut [[f32; LINE]], first: usize, end: usize) {
    let last = first + GROUP;
    let mut top = [[0.0; PANEL]; GROUP];
    let (group, below) = rows[first..].split_at_mut(GROUP);
    for (row, top) in top.iter_mut().enumerate() {
        let (done, rest) = group.split_at_mut(row);
        let own = &mut rest[0];
        for (k, done) in done.iter().enumerate() {
            let minus = simd.splat_f32s(-own[first + k]);
            let from = S::as_simd_f32s(&done[last..end]).0;
            let to = S::as_mut_simd_f32s(&mut own[last..end]).0;
            for (x, y) in to.iter_mut().zip(from) {
                *x = simd.mul_add_e_f32s(minus, *y, *x);
            }
        }
        top[..end - last].copy_from_slice(&own[last..end]);
    }
    for row in below {
        let (left, right) = row.split_at_mut(last);
        let left: &[f32; GROUP] = left.last_chunk().unwrap_or(&[0.0; GROUP]);
        let right = S::as_mut_simd_f32s(&mut right[..end - last]).0;
        for (at, x) in right.iter_mut().enumerate() {
            let mut sum = *x;
            for (factor, top) in left.iter().zip(&top) {
                let minus = simd.splat_f32s(-factor);
                sum = simd.mul_add_e_f32s(minus, S::as_simd_f32s(top).0[at], sum);
            }
            *x = sum;
        }
    }
}
