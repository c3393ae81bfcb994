//! A matrix times many vectors: rows are unpacked once into the cache and meet tiles of transposed vectors.
//!
//! Blocking: 32 rows go to a thread; of each tile of rows, 512 columns are unpacked (16 KiB) and multiplied with every
//! tile of vectors before the next 512.

use pulp::{Simd, WithSimd};

use super::microkernel::{WIDE, dots, few_registers};
use super::shape::MatrixShape;
use crate::parallel::parallel_for;
use crate::simd;

/// From this many vectors on, tiles are faster than one vector after another.
pub(crate) const MANY: usize = 4;
/// Rows that one thread takes at a time: a multiple of the height of a tile.
const ROWS: usize = 32;
/// The height of the tallest tile.
const TALL: usize = 8;
/// Columns that are unpacked at a time.
const COLUMNS: usize = 512;

/// Where rows of a matrix come from.
pub(crate) trait Unpack: Sync {
    /// How long an unpacked row is: zeros may follow its numbers.
    fn length(&self, columns: usize) -> usize {
        columns
    }

    /// Where the number of a column lies in an unpacked row.
    fn packed_offset(&self, column: usize) -> usize {
        column
    }

    /// Writes numbers `start..start + out.len()` of an unpacked row; `start` is a multiple of 512.
    fn unpack<S: Simd>(&self, simd: S, row: usize, start: usize, out: &mut [f32]);
}

/// Writes `x * transpose(matrix)` to `out`. Lengths are checked, nothing is empty.
pub(crate) fn gemm(
    shape: MatrixShape,
    vectors: usize,
    matrix: &impl Unpack,
    x: &[f32],
    out: &mut [f32],
) {
    let MatrixShape { rows, columns } = shape;
    let lanes = simd::f32_lanes();
    let wide = if vectors <= lanes { 1 } else { WIDE };
    let tile = wide * lanes;
    let tiles = vectors.div_ceil(tile);
    let length = matrix.length(columns);
    let mut transposed = vec![0.0; tiles * tile * length];
    for (vector, x) in x.chunks_exact(columns).enumerate() {
        let target = &mut transposed[vector / tile * tile * length..][..tile * length];
        for (column, x) in x.iter().enumerate() {
            target[matrix.packed_offset(column) * tile + vector % tile] = *x;
        }
    }
    // Threads write whole rows of the transposed result, `[rows, tiles * tile]`.
    let width = tiles * tile;
    let mut results = vec![0.0; rows * width];
    parallel_for(
        results.chunks_mut(ROWS * width).enumerate(),
        0.02 * rows as f64 * columns as f64 * vectors as f64,
        || vec![0.0; TALL * COLUMNS],
        |unpacked, (piece, results)| {
            let first = piece * ROWS;
            simd::dispatch(Piece {
                matrix,
                first,
                length,
                x: &transposed,
                unpacked,
                wide,
                width,
                results,
            });
        },
    );
    for (block, out) in out.chunks_mut(rows * TALL).enumerate() {
        for (row, result) in results.chunks_exact(width).enumerate() {
            for (out, result) in out.chunks_exact_mut(rows).zip(&result[block * TALL..]) {
                out[row] = *result;
            }
        }
    }
}

/// Rows of the result for one thread.
struct Piece<'a, M> {
    matrix: &'a M,
    first: usize,
    /// Numbers of an unpacked row.
    length: usize,
    /// `[tiles, length, tile]`.
    x: &'a [f32],
    /// `[TALL, COLUMNS]`.
    unpacked: &'a mut [f32],
    /// Registers of a tile.
    wide: usize,
    width: usize,
    /// `[rows, width]`, zeros.
    results: &'a mut [f32],
}

impl<M: Unpack> WithSimd for Piece<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.wide == 1 {
            self.all::<S, 1>(simd);
        } else {
            self.all::<S, WIDE>(simd);
        }
    }
}

impl<M: Unpack> Piece<'_, M> {
    /// All rows, with tiles of `WIDE` registers.
    #[inline(always)]
    fn all<S: Simd, const WIDE: usize>(mut self, simd: S) {
        let tall = if few_registers::<S>() { 4 } else { 8 };
        let width = self.width;
        let results = std::mem::take(&mut self.results);
        let mut row = self.first;
        for results in results.chunks_mut(tall * width) {
            match results.len() / width {
                8 => self.rows::<S, 8, WIDE>(simd, row, results),
                4 => self.rows::<S, 4, WIDE>(simd, row, results),
                _ => {
                    for (i, results) in results.chunks_exact_mut(width).enumerate() {
                        self.rows::<S, 1, WIDE>(simd, row + i, results);
                    }
                }
            }
            row += tall;
        }
    }

    /// The results of `TALL` rows.
    #[inline(always)]
    fn rows<S: Simd, const TALL: usize, const WIDE: usize>(
        &mut self,
        simd: S,
        row: usize,
        results: &mut [f32],
    ) {
        let (length, tile) = (self.length, WIDE * S::F32_LANES);
        for start in (0..length).step_by(COLUMNS) {
            let count = COLUMNS.min(length - start);
            for (i, out) in self
                .unpacked
                .chunks_exact_mut(COLUMNS)
                .take(TALL)
                .enumerate()
            {
                self.matrix.unpack(simd, row + i, start, &mut out[..count]);
            }
            let rows: [&[f32]; TALL] =
                std::array::from_fn(|i| &self.unpacked[i * COLUMNS..][..count]);
            for (index, x) in self.x.chunks_exact(length * tile).enumerate() {
                let x = S::as_simd_f32s(&x[start * tile..][..count * tile]).0;
                let sums = dots::<S, TALL, WIDE>(simd, rows, x.as_chunks::<WIDE>().0);
                for (sums, results) in sums.iter().zip(results.chunks_exact_mut(self.width)) {
                    let results = S::as_mut_simd_f32s(&mut results[index * tile..][..tile]).0;
                    for (result, sum) in results.iter_mut().zip(sums) {
                        *result = simd.add_f32s(*result, *sum);
                    }
                }
            }
        }
    }
}
