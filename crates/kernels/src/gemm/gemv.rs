//! GEMV: a dense matrix times a vector, with weights in `f32`, `f16` or `bf16`.
//!
//! Blocking: a task has 32 KiB to 2 MiB of rows; four rows are read at once, each with its own sums, so that each number
//! of the vector is loaded once for four rows. With AVX2 or AVX-512, rows of half precision are read one after another
//! (`simd::dot_half`). Elsewhere they are converted in the L1 cache, 256 numbers at a time.
//! Limit: the bandwidth of reading the weights once.

use pulp::{Simd, WithSimd};

use super::shape::MatrixShape;
use crate::element::Element;
use crate::parallel::{parallel_for, weight_chunk_bytes};
use crate::simd;

/// Rows that are read at once.
const ROWS: usize = 4;
/// Numbers of a row of half precision that are converted before they are multiplied.
const F32_BLOCK: usize = 256;

/// Writes `weights * x` to `out`: `out[r] = sum over c of weights[r, c] * x[c]`.
///
/// `weights` is `[rows, columns]`, as a linear layer stores them. Lengths are checked, nothing is empty.
/// Error: `2^-24 * (4 + columns / 16)` of `sum(|weights[r, c] * x[c]|)`, and far less on average.
pub(super) fn gemv<T: Element>(shape: MatrixShape, weights: &[T], x: &[f32], out: &mut [f32]) {
    let rows = (weight_chunk_bytes(size_of_val(weights)) / size_of::<T>() / shape.columns)
        .next_multiple_of(ROWS)
        .max(ROWS);
    parallel_for(
        weights
            .chunks(rows * shape.columns)
            .zip(out.chunks_mut(rows)),
        0.06 * size_of_val(weights) as f64,
        || [0.0; ROWS * F32_BLOCK],
        |scratch, (weights, out)| {
            let groups = weights.chunks(ROWS * shape.columns);
            for (weights, out) in groups.zip(out.chunks_mut(ROWS)) {
                if let (Some(rows), [_, _, _, _]) = (rows4(weights, shape.columns), &*out)
                    && let Some(products) = T::dots(rows, x)
                {
                    out.copy_from_slice(&products);
                    continue;
                }
                simd::dispatch(RowGroup {
                    weights,
                    x,
                    out,
                    scratch,
                });
            }
        },
    );
}

/// Four whole rows, if there are at least four.
fn rows4<T>(weights: &[T], columns: usize) -> Option<[&[T]; ROWS]> {
    let mut rows = weights.chunks_exact(columns);
    Some([rows.next()?, rows.next()?, rows.next()?, rows.next()?])
}

/// Up to four rows.
struct RowGroup<'a, T> {
    weights: &'a [T],
    x: &'a [f32],
    out: &'a mut [f32],
    scratch: &'a mut [f32; ROWS * F32_BLOCK],
}

impl<T: Element> WithSimd for RowGroup<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            weights,
            x,
            out,
            scratch,
        } = self;
        // Missing rows of the last group repeat the first: their sums are dropped.
        let columns = x.len();
        let at = |row: usize| if row < out.len() { row * columns } else { 0 };
        let rows: [&[T]; ROWS] = std::array::from_fn(|row| &weights[at(row)..][..columns]);
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        let step = if T::IS_F32 { columns } else { F32_BLOCK };
        for start in (0..columns).step_by(step) {
            let end = (start + step).min(columns);
            let mut buffers = scratch.chunks_exact_mut(F32_BLOCK);
            let parts: [&[f32]; ROWS] = std::array::from_fn(|row| {
                let buffer = buffers.next().unwrap_or_default();
                T::read_inline(&rows[row][start..end], buffer)
            });
            sums = fma_rows4(simd, parts, &x[start..end], sums);
        }
        // A loop and not `map`, whose closure would be compiled without the instruction set.
        for (out, [a, b]) in out.iter_mut().zip(sums) {
            *out = simd.reduce_sum_f32s(simd.add_f32s(a, b));
        }
    }
}

/// Adds the products of four rows with the vector to their sums.
#[inline(always)]
fn fma_rows4<S: Simd>(
    simd: S,
    rows: [&[f32]; ROWS],
    x: &[f32],
    mut sums: [[S::f32s; 2]; ROWS],
) -> [[S::f32s; 2]; ROWS] {
    let (x, x_tail) = S::as_simd_f32s(x);
    let [a, b, c, d] = rows.map(|row| S::as_simd_f32s(row).0.as_chunks::<2>());
    let bodies = a.0.iter().zip(b.0).zip(c.0.iter().zip(d.0));
    let x = x.as_chunks::<2>();
    for (x, ((a, b), (c, d))) in x.0.iter().zip(bodies) {
        for half in 0..2 {
            sums[0][half] = simd.mul_add_e_f32s(a[half], x[half], sums[0][half]);
            sums[1][half] = simd.mul_add_e_f32s(b[half], x[half], sums[1][half]);
            sums[2][half] = simd.mul_add_e_f32s(c[half], x[half], sums[2][half]);
            sums[3][half] = simd.mul_add_e_f32s(d[half], x[half], sums[3][half]);
        }
    }
    for (row, single) in [a.1, b.1, c.1, d.1].into_iter().enumerate() {
        for (weight, x) in single.iter().zip(x.1) {
            sums[row][0] = simd.mul_add_e_f32s(*weight, *x, sums[row][0]);
        }
    }
    if !x_tail.is_empty() {
        let x = simd.partial_load_f32s(x_tail);
        for (row, sums) in rows.into_iter().zip(&mut sums) {
            let tail = simd.partial_load_f32s(S::as_simd_f32s(row).1);
            sums[1] = simd.mul_add_e_f32s(tail, x, sums[1]);
        }
    }
    sums
}
