//! Transforms of long rows on all threads, as a matrix of `rows` by `columns`: along its columns, a rotation of each
//! element, along its rows, and transposed.
//!
//! With `j = r columns + c` and `k = p + rows q`:
//! `X[k] = sum over c of w_columns^(c q) w_n^(c p) sum over r of w_rows^(r p) x[j]`.

use std::sync::Arc;

use num_complex::Complex;
use pulp::{Simd, WithSimd};
use rustfft::Fft;

use super::Along;
use super::plan::ComplexPlan;
use super::{columns, rows};
use crate::parallel::parallel_for;
use crate::simd;
use crate::strided::copy_strided;

type C = Complex<f32>;

/// Fewer numbers are transformed by one thread.
const MIN_LONG: usize = 1 << 16;
/// The least height of the matrix.
const MIN_ROWS: usize = 32;
/// Rotations that are made of one and a short table.
const BLOCK: usize = 64;
/// The length of the table of single steps.
const FINE: usize = 1024;

/// A matrix' sizes, the transforms along both of its axes, and the rotations.
pub(super) struct LongPlan {
    rows: usize,
    columns: usize,
    along_columns: ComplexPlan,
    along_rows: ComplexPlan,
    /// `w_n^m` for `m` below `FINE`, and for its multiples.
    fine: Vec<Complex<f64>>,
    coarse: Vec<Complex<f64>>,
}

/// The height of the matrix for a row of `n`, the largest factor up to its square root; none when it is not worth it.
pub(super) fn split(n: usize) -> Option<usize> {
    if n < MIN_LONG {
        return None;
    }
    let root = n.isqrt();
    let rows = (MIN_ROWS..=root)
        .rev()
        .find(|rows| n.is_multiple_of(*rows))?;
    // A narrow matrix has rows that are long again.
    (rows * 64 >= root).then_some(rows)
}

impl LongPlan {
    pub(super) fn new(
        n: usize,
        rows: usize,
        inverse: bool,
        mut plan: impl FnMut(usize) -> Arc<dyn Fft<f32>>,
    ) -> Self {
        let columns = n / rows;
        let sign = if inverse { 1.0 } else { -1.0 };
        let rotation = |m: usize| {
            let angle = sign * std::f64::consts::TAU * m as f64 / n as f64;
            Complex::new(angle.cos(), angle.sin())
        };
        Self {
            rows,
            columns,
            along_columns: ComplexPlan::Direct(plan(rows)),
            along_rows: ComplexPlan::Direct(plan(columns)),
            fine: (0..FINE).map(rotation).collect(),
            coarse: (0..n.div_ceil(FINE)).map(|m| rotation(m * FINE)).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    fn rotation(&self, m: usize) -> C {
        let rotation = self.coarse[m / FINE] * self.fine[m % FINE];
        C::new(rotation.re as f32, rotation.im as f32)
    }

    /// Transforms a row in place; `other` is as long.
    pub(super) fn transform(&self, x: &mut [C], other: &mut [C]) {
        let (height, width) = (self.rows, self.columns);
        let down = Along {
            outer: 1,
            n: height,
            inner: width,
        };
        columns::complex(&self.along_columns, down, 1.0, None, x);
        parallel_for(
            x.chunks_mut(width).enumerate(),
            2.0 * (height * width) as f64,
            || (),
            |(), (row, x)| self.rotate(row, x),
        );
        let across = Along {
            outer: height,
            n: width,
            inner: 1,
        };
        rows::complex(&self.along_rows, across, 1.0, None, x);
        let copied = copy_strided(x, 0, &[width, height], &[1, width as isize], other)
            .and_then(|()| copy_strided(other, 0, &[other.len()], &[1], x));
        debug_assert!(copied.is_ok(), "{copied:?}");
    }

    /// Multiplies the elements of a row of the matrix.
    fn rotate(&self, row: usize, x: &mut [C]) {
        if row == 0 {
            return;
        }
        let mut steps = [C::default(); BLOCK];
        for (column, step) in steps.iter_mut().enumerate() {
            // Beyond the row's length, some may be beyond the table; these are not used.
            *step = self.rotation(row * column % self.len());
        }
        for (block, x) in x.chunks_mut(BLOCK).enumerate() {
            let start = self.rotation(row * block * BLOCK);
            simd::dispatch(Rotate {
                start,
                steps: &steps,
                x,
            });
        }
    }
}

struct Rotate<'a> {
    start: C,
    steps: &'a [C; BLOCK],
    x: &'a mut [C],
}

impl WithSimd for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (x, step) in self.x.iter_mut().zip(self.steps) {
            let (re, im) = (
                step.re * self.start.re - step.im * self.start.im,
                step.re * self.start.im + step.im * self.start.re,
            );
            *x = C::new(x.re * re - x.im * im, x.re * im + x.im * re);
        }
    }
}
