//! GEMM: a matrix times many vectors; rows are unpacked once into the cache and multiplied with packed tiles of vectors.
//!
//! Blocking, in BLIS's terms: a task has `MC` = 32 rows; of each tile of `MR` rows, `KC` = 512 columns are unpacked (16 KiB)
//! and multiplied with every tile of vectors before the next 512.

use pulp::{Simd, WithSimd};

use super::microkernel::{TILE_REGISTERS, dot_tile, has_16_registers};
use super::shape::MatrixShape;
use crate::parallel::parallel_for;
use crate::simd;

/// From this many vectors on, GEMM is faster than GEMV for each.
pub(crate) const GEMM_MIN_VECTORS: usize = 4;
/// Rows of a task: a multiple of the height of a tile.
const MC: usize = 32;
/// The height of the tallest tile.
const MR: usize = 8;
/// Columns that are unpacked at a time.
const KC: usize = 512;

/// A matrix whose rows can be unpacked to `f32`.
pub(crate) trait Unpack: Sync {
    /// The length of an unpacked row, padded with zeros.
    fn length(&self, columns: usize) -> usize {
        columns
    }

    /// The offset of a column in an unpacked row.
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
    let registers = if vectors <= lanes { 1 } else { TILE_REGISTERS };
    let tile = registers * lanes;
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
        results.chunks_mut(MC * width).enumerate(),
        0.02 * rows as f64 * columns as f64 * vectors as f64,
        || vec![0.0; MR * KC],
        |unpacked, (task, results)| {
            let first = task * MC;
            simd::dispatch(RowPanel {
                matrix,
                first,
                length,
                x: &transposed,
                unpacked,
                registers,
                width,
                results,
            });
        },
    );
    for (block, out) in out.chunks_mut(rows * MR).enumerate() {
        for (row, result) in results.chunks_exact(width).enumerate() {
            for (out, result) in out.chunks_exact_mut(rows).zip(&result[block * MR..]) {
                out[row] = *result;
            }
        }
    }
}

/// The rows of the result of one task.
struct RowPanel<'a, M> {
    matrix: &'a M,
    first: usize,
    /// The length of an unpacked row.
    length: usize,
    /// `[tiles, length, tile]`.
    x: &'a [f32],
    /// `[MR, KC]`.
    unpacked: &'a mut [f32],
    /// Registers of a tile.
    registers: usize,
    width: usize,
    /// `[rows, width]`, zeros.
    results: &'a mut [f32],
}

impl<M: Unpack> WithSimd for RowPanel<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if self.registers == 1 {
            self.all_rows::<S, 1>(simd);
        } else {
            self.all_rows::<S, TILE_REGISTERS>(simd);
        }
    }
}

impl<M: Unpack> RowPanel<'_, M> {
    /// All rows, with tiles of `REGISTERS` registers.
    #[inline(always)]
    fn all_rows<S: Simd, const REGISTERS: usize>(mut self, simd: S) {
        let height = if has_16_registers::<S>() { 4 } else { 8 };
        let width = self.width;
        let results = std::mem::take(&mut self.results);
        let mut row = self.first;
        for results in results.chunks_mut(height * width) {
            match results.len() / width {
                8 => self.rows::<S, 8, REGISTERS>(simd, row, results),
                4 => self.rows::<S, 4, REGISTERS>(simd, row, results),
                _ => {
                    for (i, results) in results.chunks_exact_mut(width).enumerate() {
                        self.rows::<S, 1, REGISTERS>(simd, row + i, results);
                    }
                }
            }
            row += height;
        }
    }

    /// The results of `MR` rows.
    #[inline(always)]
    fn rows<S: Simd, const MR: usize, const REGISTERS: usize>(
        &mut self,
        simd: S,
        row: usize,
        results: &mut [f32],
    ) {
        let (length, tile) = (self.length, REGISTERS * S::F32_LANES);
        for start in (0..length).step_by(KC) {
            let count = KC.min(length - start);
            for (i, out) in self.unpacked.chunks_exact_mut(KC).take(MR).enumerate() {
                self.matrix.unpack(simd, row + i, start, &mut out[..count]);
            }
            let rows: [&[f32]; MR] = std::array::from_fn(|i| &self.unpacked[i * KC..][..count]);
            for (index, x) in self.x.chunks_exact(length * tile).enumerate() {
                let x = S::as_simd_f32s(&x[start * tile..][..count * tile]).0;
                let sums = dot_tile::<S, MR, REGISTERS>(simd, rows, x.as_chunks::<REGISTERS>().0);
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
