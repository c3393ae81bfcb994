//! Transforms along an axis that is not the last: blocks of columns become rows of a small scratch array, and columns again.
//!
//! Each task owns its columns: the output is cut into pieces of a row that are one block wide.

use num_complex::Complex;

use super::Along;
use super::plan::{ComplexPlan, nanoseconds};
use super::real::{InverseRealPlan, RealPlan};
use crate::parallel::parallel_for;

type C = Complex<f32>;

/// Columns of a block: two cache lines of complex numbers.
const WIDTH: usize = 16;
/// Rows that are copied together, so that a cache line is read and written once.
const HEIGHT: usize = 8;
/// What it costs to copy a number to a row and back, in nanoseconds.
const COPY_NANOSECONDS: f64 = 1.5;

/// Neighbouring columns, of one of the outer axes' arrays: its pieces of each row of the output.
struct Columns<'a, T> {
    outer: usize,
    first: usize,
    pieces: Vec<&'a mut [T]>,
}

impl<'a, T> Columns<'a, T> {
    /// All of an output of `n` rows.
    fn all(outer: usize, n: usize, inner: usize, out: &'a mut [T]) -> Vec<Self> {
        let n_blocks = inner.div_ceil(WIDTH);
        let mut all = Vec::with_capacity(outer * n_blocks);
        for (outer, array) in out.chunks_mut(n * inner).enumerate() {
            let start = all.len();
            all.extend((0..n_blocks).map(|block| Self {
                outer,
                first: block * WIDTH,
                pieces: Vec::with_capacity(n),
            }));
            for line in array.chunks_mut(inner) {
                for (columns, piece) in all[start..].iter_mut().zip(line.chunks_mut(WIDTH)) {
                    columns.pieces.push(piece);
                }
            }
        }
        all
    }

    fn count(&self) -> usize {
        self.pieces.first().map_or(0, |piece| piece.len())
    }

    /// The part of a row of another array that is in these columns.
    fn line<'b, U>(&self, from: &'b [U], n: usize, inner: usize, row: usize) -> &'b [U] {
        &from[(self.outer * n + row) * inner + self.first..][..self.count()]
    }
}

/// Rows of a scratch array, further apart than they are long, so that their starts are not in the same set of the cache.
fn pitch(n: usize) -> usize {
    n.next_multiple_of(HEIGHT) + HEIGHT
}

/// Copies `n` lines of `count` columns to rows.
fn to_rows<'a, T: Copy + 'a>(
    n: usize,
    count: usize,
    line: impl Fn(usize) -> &'a [T],
    rows: &mut [T],
) {
    let pitch = pitch(n);
    for first in (0..n).step_by(HEIGHT) {
        let height = HEIGHT.min(n - first);
        for (column, row) in rows.chunks_mut(pitch).take(count).enumerate() {
            for (at, x) in row[first..first + height].iter_mut().enumerate() {
                *x = line(first + at)[column];
            }
        }
    }
}

/// Copies rows to columns.
fn to_columns<T: Copy>(rows: &[T], pieces: &mut [&mut [T]]) {
    let pitch = pitch(pieces.len());
    for (part, pieces) in pieces.chunks_mut(HEIGHT).enumerate() {
        for (column, row) in rows.chunks(pitch).enumerate() {
            let row = &row[part * HEIGHT..][..pieces.len()];
            for (piece, x) in pieces.iter_mut().zip(row) {
                if let Some(place) = piece.get_mut(column) {
                    *place = *x;
                }
            }
        }
    }
}

/// Transforms along the axis, from `from` or in place.
pub(super) fn complex(
    plan: &ComplexPlan,
    along: Along,
    scale: f32,
    from: Option<&[C]>,
    out: &mut [C],
) {
    let Along { outer, n, inner } = along;
    parallel_for(
        Columns::all(outer, n, inner, out).into_iter(),
        (outer * inner) as f64 * (nanoseconds(n) + COPY_NANOSECONDS * n as f64),
        || (vec![C::default(); WIDTH * pitch(n)], plan.scratch()),
        |(rows, own), mut columns| {
            let count = columns.count();
            match from {
                Some(from) => to_rows(n, count, |row| columns.line(from, n, inner, row), rows),
                None => to_rows(n, count, |row| &*columns.pieces[row], rows),
            }
            for row in rows.chunks_mut(pitch(n)).take(count) {
                let row = &mut row[..n];
                if scale != 1.0 {
                    row.iter_mut().for_each(|x| *x *= scale);
                }
                plan.transform(row, own);
            }
            to_columns(rows, &mut columns.pieces);
        },
    );
}

/// Transforms real numbers along the axis.
pub(super) fn real(plan: &RealPlan, along: Along, from: &[f32], out: &mut [C]) {
    let Along { outer, n, inner } = along;
    let half = n / 2 + 1;
    parallel_for(
        Columns::all(outer, half, inner, out).into_iter(),
        (outer * inner) as f64 * (nanoseconds(n) + COPY_NANOSECONDS * n as f64),
        || {
            let reals = vec![0.0; WIDTH * pitch(n)];
            let rows = vec![C::default(); WIDTH * pitch(half)];
            (reals, rows, plan.scratch())
        },
        |(reals, rows, own), mut columns| {
            let count = columns.count();
            to_rows(n, count, |row| columns.line(from, n, inner, row), reals);
            let reals = reals.chunks_mut(pitch(n)).take(count);
            for (real, row) in reals.zip(rows.chunks_mut(pitch(half))) {
                plan.transform(&real[..n], &mut row[..half], own);
            }
            to_columns(rows, &mut columns.pieces);
        },
    );
}

/// Transforms halves along the axis back to real numbers.
pub(super) fn inverse_real(
    plan: &InverseRealPlan,
    along: Along,
    scale: f32,
    from: &[C],
    out: &mut [f32],
) {
    let Along { outer, n, inner } = along;
    let half = n / 2 + 1;
    parallel_for(
        Columns::all(outer, n, inner, out).into_iter(),
        (outer * inner) as f64 * (nanoseconds(n) + COPY_NANOSECONDS * n as f64),
        || {
            let halves = vec![C::default(); WIDTH * pitch(half)];
            let rows = vec![0.0; WIDTH * pitch(n)];
            (halves, rows, plan.scratch())
        },
        |(halves, rows, own), mut columns| {
            let count = columns.count();
            to_rows(
                half,
                count,
                |row| columns.line(from, half, inner, row),
                halves,
            );
            let halves = halves.chunks(pitch(half)).take(count);
            for (values, row) in halves.zip(rows.chunks_mut(pitch(n))) {
                plan.transform(&values[..half], scale, &mut row[..n], own);
            }
            to_columns(rows, &mut columns.pieces);
        },
    );
}
