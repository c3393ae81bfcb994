//! Factors of a product by matrix tiles, as `bf16`: rows of the left one, and pairs of neighbours along the depth of the
//! right one. While they are copied, their magnitudes are found.

use half::bf16;
use pulp::Simd;
use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::factors::{KC, LeftRows, Place, SCRATCH_STRIDE, Strided};
use crate::simd::amx::{Least, Magnitudes, SIDE, STEP};
use crate::simd::transpose::transpose_rows;

/// Pairs of a column that are transposed together: a multiple of [`SIDE`].
const WIDTH: usize = 64;

/// The columns of a right factor, packed in pairs.
pub(crate) trait RightPairs: Sync {
    /// Writes rows `rows.0..rows.0 + rows.1` of columns `columns.0..columns.0 + columns.1` to `out`, `[pairs, tile]`, two rows
    /// to a pair, and zeros where pairs have no rows, or tiles no columns.
    fn pack_pairs<S: Simd>(
        &self,
        simd: S,
        rows: (usize, usize),
        columns: (usize, usize),
        tile: usize,
        out: &mut [u32],
    ) -> Magnitudes;
}

/// Writes the pairs of two rows; an empty second row is one of zeros.
#[inline(always)]
pub(crate) fn interleave(first: &[bf16], second: &[bf16], out: &mut [u32], least: &mut Least) {
    let pair = |low: bf16, high: bf16| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
    if let (Some(first), Some(second), Some(out)) = (
        first.first_chunk::<STEP>(),
        second.first_chunk::<STEP>(),
        out.first_chunk_mut::<STEP>(),
    ) {
        // What tiles are made of: a length that is known is vectorized best.
        for i in 0..STEP {
            out[i] = pair(first[i], second[i]);
        }
        least.add(first);
        least.add(second);
        return;
    }
    if second.is_empty() {
        for (first, out) in first.iter().zip(out) {
            *out = u32::from(first.to_bits());
        }
    } else {
        for ((first, second), out) in first.iter().zip(second).zip(out) {
            *out = pair(*first, *second);
        }
    }
    least.add_rest(first);
    least.add_rest(second);
}

/// Writes pairs of rows, `[rows, tile]` in `from` and `[pairs, tile]` in `out`, and zeros where there are no rows.
#[inline(always)]
pub(crate) fn interleave_rows(from: &[bf16], tile: usize, out: &mut [u32]) -> Magnitudes {
    let mut least = Least::NONE;
    let mut rows = from.chunks_exact(tile);
    for out in out.chunks_exact_mut(tile) {
        match rows.next() {
            Some(first) => interleave(first, rows.next().unwrap_or_default(), out, &mut least),
            None => out.fill(0),
        }
    }
    least.magnitudes()
}

impl Strided<'_, bf16> {
    /// Writes elements of a row, whatever its stride.
    #[inline(always)]
    fn copy(&self, row: usize, column: usize, out: &mut [bf16]) {
        let mut index = self.at(row, column);
        for out in out {
            *out = self.data[index];
            index = index.wrapping_add(self.column_stride);
        }
    }

    /// Pairs of columns whose elements are adjacent, [`SIDE`] columns at a time.
    #[inline(always)]
    fn pack_columns(
        &self,
        (first, rows): (usize, usize),
        (column, columns): (usize, usize),
        tile: usize,
        out: &mut [u32],
    ) -> Magnitudes {
        let mut block = [0_u32; SIDE * WIDTH];
        let mut magnitudes = Magnitudes::NONE;
        let depth = out.len() / tile;
        for side in (0..tile).step_by(SIDE) {
            for pair in (0..depth).step_by(WIDTH) {
                let n_pairs = WIDTH.min(depth - pair);
                let n_rows = (2 * n_pairs).min(rows - 2 * pair);
                for (c, numbers) in block.chunks_exact_mut(WIDTH).enumerate() {
                    let numbers: &mut [bf16] = cast_slice_mut(numbers);
                    if side + c >= columns {
                        numbers.fill(bf16::ZERO);
                        continue;
                    }
                    let from = self.at(first + 2 * pair, column + side + c);
                    let (numbers, rest) = numbers.split_at_mut(n_rows);
                    let least = Magnitudes::copy(&self.data[from..][..n_rows], numbers);
                    magnitudes = magnitudes.and(least);
                    rest.fill(bf16::ZERO);
                }
                let out = &mut cast_slice_mut(out)[pair * tile + side..];
                transpose_rows(cast_slice(&block), WIDTH, n_pairs, out, tile);
            }
        }
        magnitudes
    }

    /// Writes rows whose columns are adjacent: pairs of neighbours along the depth, transposed.
    #[inline(always)]
    fn transpose_into(
        &self,
        (first, rows): (usize, usize),
        (start, count): (usize, usize),
        scratch: &mut [bf16],
    ) {
        let (mut pairs, mut turned) = ([0_u32; SIDE * SIDE], [0.0_f32; SIDE * SIDE]);
        let column = |k: usize, row: usize, n_rows: usize| {
            if k < count {
                &self.data[self.at(first + row, start + k)..][..n_rows]
            } else {
                &[]
            }
        };
        for k in (0..count).step_by(STEP) {
            for row in (0..rows).step_by(SIDE) {
                let n_rows = SIDE.min(rows - row);
                for (p, pairs) in pairs.chunks_exact_mut(SIDE).enumerate() {
                    let low = column(k + 2 * p, row, n_rows);
                    let high = column(k + 2 * p + 1, row, n_rows);
                    interleave(low, high, pairs, &mut Least::NONE.clone());
                }
                transpose_rows(cast_slice(&pairs), SIDE, SIDE, &mut turned, SIDE);
                let n_columns = STEP.min(count - k);
                let turned = cast_slice::<f32, bf16>(&turned).chunks_exact(STEP);
                let rows = scratch[row * SCRATCH_STRIDE..].chunks_mut(SCRATCH_STRIDE);
                for (row, turned) in rows.zip(turned).take(n_rows) {
                    row[k..k + n_columns].copy_from_slice(&turned[..n_columns]);
                }
            }
        }
    }
}

impl LeftRows<bf16> for Strided<'_, bf16> {
    fn source(&self) -> &[bf16] {
        self.data
    }

    fn count(&self, start: usize, most: usize) -> usize {
        most.min(KC).min(self.columns - start)
    }

    #[inline(always)]
    fn find<S: Simd>(
        &self,
        _: S,
        first: usize,
        (start, count): (usize, usize),
        places: &mut [Place],
        scratch: &mut [bf16],
    ) {
        if self.column_stride == 1 || count == 1 {
            for (i, place) in places.iter_mut().enumerate() {
                *place = Place::Source(self.at(first + i, start));
            }
            return;
        }
        if self.row_stride == 1 {
            self.transpose_into((first, places.len()), (start, count), scratch);
        }
        let rows = places.iter_mut().zip(scratch.chunks_mut(SCRATCH_STRIDE));
        for (i, (place, scratch)) in rows.enumerate() {
            *place = Place::Scratch(i * SCRATCH_STRIDE);
            if self.row_stride != 1 {
                self.copy(first + i, start, &mut scratch[..count]);
            }
        }
    }
}

impl RightPairs for Strided<'_, bf16> {
    #[inline(always)]
    fn pack_pairs<S: Simd>(
        &self,
        _: S,
        (first, rows): (usize, usize),
        (column, columns): (usize, usize),
        tile: usize,
        out: &mut [u32],
    ) -> Magnitudes {
        if self.row_stride == 1 && self.column_stride != 1 {
            return self.pack_columns((first, rows), (column, columns), tile, out);
        }
        let mut least = Least::NONE;
        let mut buffers = [[bf16::ZERO; STEP]; 2];
        for (pair, out) in out.chunks_exact_mut(tile).enumerate() {
            let mut two = [&[][..]; 2];
            let (out, rest) = out.split_at_mut(columns);
            rest.fill(0);
            let buffers = two.iter_mut().zip(&mut buffers).enumerate();
            for (i, (one, buffer)) in buffers.take(rows.saturating_sub(2 * pair)) {
                let row = first + 2 * pair + i;
                if self.column_stride == 1 {
                    *one = self.run(row, column, columns);
                } else {
                    self.copy(row, column, &mut buffer[..columns]);
                    *one = &buffer[..columns];
                }
            }
            match two {
                [[], _] => out.fill(0),
                [low, high] => interleave(low, high, out, &mut least),
            }
        }
        least.magnitudes()
    }
}
