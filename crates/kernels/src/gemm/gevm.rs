//! GEVM: a few vectors times a matrix whose rows are contiguous, as weights stored `[inputs, outputs]` are.
//!
//! Blocking: the depth is cut into parts with sums of their own, so that the matrix is read as it is stored; four rows at a
//! time are converted in blocks of 512 and added to the sums, which stay in the L1 or L2 cache. The parts' sums are added in
//! order. Limit: the bandwidth of reading the matrix once.

use pulp::{Simd, WithSimd};

use super::factors::Strided;
use crate::element::Element;
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// The most vectors.
pub(super) const MAX_ROWS: usize = 4;
/// Rows of the matrix that are read at once.
const HEIGHT: usize = 4;
/// Numbers of a row that are converted before they are multiplied.
const BLOCK: usize = 512;

/// Writes `left * right` to `out`, `[rows, columns]`. Nothing is empty, and the rows of `right` are contiguous.
///
/// Error: `2^-24 * (2 + depth / parts + parts)` of `sum(|left * right|)`, with twice as many parts as threads.
pub(super) fn gevm<T: Element>(
    rows: usize,
    depth: usize,
    left: Strided<'_, T>,
    right: Strided<'_, T>,
    out: &mut [f32],
) {
    let columns = out.len() / rows;
    let parts = (2 * threads()).min(depth.div_ceil(64));
    let part = depth.div_ceil(parts).next_multiple_of(HEIGHT);
    let mut sums = vec![0.0; depth.div_ceil(part) * out.len()];
    parallel_for(
        sums.chunks_exact_mut(out.len()).enumerate(),
        0.1 * (depth * columns) as f64,
        || [0.0; HEIGHT * BLOCK],
        |scratch, (number, sums)| {
            let first = number * part;
            simd::dispatch(Part {
                left,
                right,
                columns,
                depth: (first, part.min(depth - first)),
                sums,
                scratch,
            });
        },
    );
    for (number, sums) in sums.chunks_exact(out.len()).enumerate() {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = if number == 0 { *sum } else { *out + *sum };
        }
    }
}

/// A part of the depth.
struct Part<'a, T> {
    left: Strided<'a, T>,
    right: Strided<'a, T>,
    columns: usize,
    /// The first row of the matrix, and how many.
    depth: (usize, usize),
    /// `[rows, columns]`.
    sums: &'a mut [f32],
    scratch: &'a mut [f32; HEIGHT * BLOCK],
}

impl<T: Element> WithSimd for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (first, count) = self.depth;
        let whole = count / HEIGHT * HEIGHT;
        for k in (first..first + whole).step_by(HEIGHT) {
            self.add::<S, HEIGHT>(simd, k);
        }
        for k in first + whole..first + count {
            self.add::<S, 1>(simd, k);
        }
    }
}

impl<T: Element> Part<'_, T> {
    /// Adds the products with `COUNT` rows of the matrix.
    #[inline(always)]
    fn add<S: Simd, const COUNT: usize>(&mut self, simd: S, k: usize) {
        for start in (0..self.columns).step_by(BLOCK) {
            let count = BLOCK.min(self.columns - start);
            let mut buffers = self.scratch.chunks_exact_mut(BLOCK);
            let rows: [&[f32]; COUNT] = std::array::from_fn(|i| {
                let buffer = buffers.next().unwrap_or_default();
                T::read_inline(self.right.run(k + i, start, count), buffer)
            });
            for (r, sums) in self.sums.chunks_exact_mut(self.columns).enumerate() {
                let factors = std::array::from_fn(|i| self.left.number(r, k + i));
                axpy::<S, COUNT>(simd, rows, factors, &mut sums[start..start + count]);
            }
        }
    }
}

/// Adds multiples of rows to sums.
#[inline(always)]
fn axpy<S: Simd, const COUNT: usize>(
    simd: S,
    rows: [&[f32]; COUNT],
    factors: [f32; COUNT],
    sums: &mut [f32],
) {
    let (sums, sums_tail) = S::as_mut_simd_f32s(sums);
    let bodies: [&[S::f32s]; COUNT] =
        std::array::from_fn(|i| &S::as_simd_f32s(rows[i]).0[..sums.len()]);
    for (at, sums) in sums.iter_mut().enumerate() {
        let mut sum = *sums;
        for i in 0..COUNT {
            sum = simd.mul_add_e_f32s(bodies[i][at], simd.splat_f32s(factors[i]), sum);
        }
        *sums = sum;
    }
    let done = sums.len() * S::F32_LANES;
    for (at, sum) in sums_tail.iter_mut().enumerate() {
        for i in 0..COUNT {
            *sum = rows[i][done + at].mul_add(factors[i], *sum);
        }
    }
}
