//! Transforms along an axis that is not the last: blocks of columns become rows of a scratch array, and columns again.

use realfft::{ComplexToReal, RealToComplex};
use rustfft::Fft;
use num_complex::Complex;

use super::Along;
use super::plan::nanoseconds;
use super::rows::{backward, forward};
use crate::parallel::parallel_for;

type C = Complex<f32>;

/// Columns of a block: a cache line of complex numbers.
const WIDTH: usize = 8;
/// Rows of the array that are written at once.
const HEIGHT: usize = 16;
/// What it costs to copy a number to a row and back, in nanoseconds.
const COPY_NANOSECONDS: f64 = 1.0;

/// Neighbouring columns, of one of the outer axes' arrays.
#[derive(Clone, Copy)]
struct Columns {
    outer: usize,
    first: usize,
    count: usize,
}

impl Columns {
    /// All of an array, in the order in which the scratch array stores them.
    fn all(along: Along) -> impl Iterator<Item = Self> {
        let blocks = along.inner.div_ceil(WIDTH);
        (0..along.outer * blocks).map(move |block| {
            let first = block % blocks * WIDTH;
            Self {
                outer: block / blocks,
                first,
                count: WIDTH.min(along.inner - first),
            }
        })
    }

    /// Copies these columns of an array with `n` rows to rows of `n` each.
    fn copy<T: Copy>(self, from: &[T], inner: usize, n: usize, rows: &mut [T]) {
        let start = self.outer * n * inner + self.first;
        for (at, line) in from[start..].chunks(inner).take(n).enumerate() {
            for (column, x) in line[..self.count].iter().enumerate() {
                rows[column * n + at] = *x;
            }
        }
    }
}

/// Cuts a scratch array into the rows of each block of columns.
fn blocks<T>(along: Along, n: usize, scratch: &mut [T]) -> Vec<(Columns, &mut [T])> {
    let mut rest = scratch;
    let cut = |columns: Columns| {
        let (own, later) = std::mem::take(&mut rest).split_at_mut(columns.count * n);
        rest = later;
        (columns, own)
    };
    Columns::all(along).map(cut).collect()
}

/// Copies the scratch array's rows of `n` back to columns.
fn copy_back<T: Copy + Send + Sync>(along: Along, n: usize, scratch: &[T], out: &mut [T]) {
    let Along { outer, inner, .. } = along;
    let tasks: Vec<(usize, usize, &mut [T])> = out
        .chunks_mut(n * inner)
        .enumerate()
        .flat_map(|(outer, out)| {
            let parts = out.chunks_mut(HEIGHT * inner).enumerate();
            parts.map(move |(part, out)| (outer, part * HEIGHT, out))
        })
        .collect();
    parallel_for(
        tasks.into_iter(),
        COPY_NANOSECONDS * (outer * n * inner) as f64,
        || (),
        |(), (outer, first_row, out)| {
            for first in (0..inner).step_by(WIDTH) {
                let count = WIDTH.min(inner - first);
                let columns = &scratch[(outer * inner + first) * n..][..count * n];
                for (row, line) in out.chunks_mut(inner).enumerate() {
                    for (column, x) in line[first..first + count].iter_mut().enumerate() {
                        *x = columns[column * n + first_row + row];
                    }
                }
            }
        },
    );
}

/// Transforms along the axis, from `from` or in place.
pub(super) fn complex(
    plan: &dyn Fft<f32>,
    along: Along,
    scale: f32,
    from: Option<&[C]>,
    out: &mut [C],
) {
    let Along { outer, n, inner } = along;
    let mut scratch = vec![C::default(); outer * n * inner];
    let from = from.unwrap_or(&*out);
    parallel_for(
        blocks(along, n, &mut scratch).into_iter(),
        (outer * inner) as f64 * (nanoseconds(n) + COPY_NANOSECONDS * n as f64),
        || vec![C::default(); plan.get_inplace_scratch_len()],
        |own, (columns, rows)| {
            columns.copy(from, inner, n, rows);
            if scale != 1.0 {
                rows.iter_mut().for_each(|x| *x *= scale);
            }
            plan.process_with_scratch(rows, own);
        },
    );
    copy_back(along, n, &scratch, out);
}

/// Transforms real numbers along the axis.
pub(super) fn real(plan: &dyn RealToComplex<f32>, along: Along, from: &[f32], out: &mut [C]) {
    let Along { outer, n, inner } = along;
    let half = n / 2 + 1;
    let mut scratch = vec![C::default(); outer * half * inner];
    parallel_for(
        blocks(along, half, &mut scratch).into_iter(),
        (outer * inner) as f64 * (nanoseconds(n) + COPY_NANOSECONDS * n as f64),
        || (vec![0.0; WIDTH * n], plan.make_scratch_vec()),
        |(reals, own), (columns, rows)| {
            columns.copy(from, inner, n, reals);
            let reals = reals.chunks_exact_mut(n);
            for (real, row) in reals.zip(rows.chunks_exact_mut(half)) {
                forward(plan, real, row, own);
            }
        },
    );
    copy_back(along, half, &scratch, out);
}

/// Transforms halves along the axis back to real numbers.
pub(super) fn inverse_real(
    plan: &dyn ComplexToReal<f32>,
    along: Along,
    scale: f32,
    from: &[C],
    out: &mut [f32],
) {
    let Along { outer, n, inner } = along;
    let half = n / 2 + 1;
    let mut scratch = vec![0.0; outer * n * inner];
    parallel_for(
        blocks(along, n, &mut scratch).into_iter(),
        (outer * inner) as f64 * (nanoseconds(n) + COPY_NANOSECONDS * n as f64),
        || (vec![C::default(); WIDTH * half], plan.make_scratch_vec()),
        |(halves, own), (columns, rows)| {
            columns.copy(from, inner, half, halves);
            halves.iter_mut().for_each(|x| *x *= scale);
            let halves = halves.chunks_exact_mut(half);
            for (half, row) in halves.zip(rows.chunks_exact_mut(n)) {
                backward(plan, half, row, own);
            }
        },
    );
    copy_back(along, n, &scratch, out);
}
