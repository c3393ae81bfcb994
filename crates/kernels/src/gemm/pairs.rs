//! Factors of a product by matrix tiles, as `bf16`: rows of the left one, and pairs of neighbours along the depth of the
//! right one. While they are copied, their magnitudes are found.

use half::bf16;
use pulp::Simd;
use pulp::bytemuck::{cast_slice, cast_slice_mut};

use super::factors::{KC, LeftRows, Place, SCRATCH_STRIDE, Strided};
use super::scratch::Scratch;
use crate::simd::amx::{SIDE, STEP, STRIP};
use crate::simd::magnitudes::{Least, Magnitudes};
use crate::simd::transpose::transpose_rows;

/// Pairs of a column that are transposed together: a multiple of [`SIDE`].
const WIDTH: usize = 64;

/// The columns of a right factor, packed in pairs.
pub(crate) trait RightPairs: Sync {
    /// Writes rows `rows.0..rows.0 + rows.1` of columns `columns.0..columns.0 + columns.1` to `out`, `[strips, pairs, STRIP]`, two
    /// rows to a pair, and zeros where steps have no rows, or strips no columns.
    fn pack_pairs<S: Simd>(
        &self,
        simd: S,
        rows: (usize, usize),
        columns: (usize, usize),
        out: &mut [u32],
    ) -> Magnitudes;
}

/// The pairs of a column of `rows` numbers, those of zeros that fill its last step included.
#[inline(always)]
pub(crate) fn n_pairs(rows: usize) -> usize {
    rows.next_multiple_of(STEP) / 2
}

#[inline(always)]
fn pair(low: bf16, high: bf16) -> u32 {
    u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16
}

/// Writes the pairs of two rows of a strip, either of them maybe shorter, and zeros after them.
#[inline(always)]
fn interleave<S: Simd>(first: &[bf16], second: &[bf16], out: &mut [u32; STRIP], least: &mut Least) {
    let mut short = [[bf16::ZERO; STRIP]; 2];
    let two = if let (Some(first), Some(second)) = (first.first_chunk(), second.first_chunk()) {
        [first, second]
    } else {
        short[0][..first.len()].copy_from_slice(first);
        short[1][..second.len()].copy_from_slice(second);
        [&short[0], &short[1]]
    };
    // A length that is known is vectorized best.
    for i in 0..STRIP {
        out[i] = pair(two[0][i], two[1][i]);
    }
    least.add::<S>(two[0]);
    least.add::<S>(two[1]);
}

/// Writes the pairs of two rows of up to [`SIDE`] numbers, either of them maybe empty, and zeros after them.
#[inline(always)]
fn interleave_side(two: [&[bf16]; 2], out: &mut [u32]) {
    let mut both = [[bf16::ZERO; SIDE]; 2];
    for (row, numbers) in both.iter_mut().zip(two) {
        match numbers.first_chunk() {
            Some(numbers) => *row = *numbers,
            None => row[..numbers.len()].copy_from_slice(numbers),
        }
    }
    for (i, out) in out.iter_mut().enumerate() {
        *out = pair(both[0][i], both[1][i]);
    }
}

/// Writes the pairs of rows whose columns are adjacent, `stride` apart, to `out`, `[strips, pairs, STRIP]`, from `pair` on.
#[inline(always)]
pub(crate) fn pack_rows<S: Simd>(
    rows: &[bf16],
    (start, stride): (usize, usize),
    (n_rows, columns): (usize, usize),
    (pair, n_pairs): (usize, usize),
    out: &mut [u32],
) -> Magnitudes {
    let mut least = Least::NONE;
    let first = |row: usize| start.wrapping_add(row.wrapping_mul(stride));
    for p in 0..n_rows.div_ceil(2) {
        let low = &rows[first(2 * p)..][..columns];
        let high = match n_rows - 2 * p {
            1 => &[][..],
            _ => &rows[first(2 * p + 1)..][..columns],
        };
        for (strip, low) in low.chunks(STRIP).enumerate() {
            let high = high.get(strip * STRIP..).unwrap_or_default();
            let high = &high[..low.len().min(high.len())];
            let out = &mut out[(strip * n_pairs + pair + p) * STRIP..];
            if let Some(out) = out.first_chunk_mut() {
                interleave::<S>(low, high, out, &mut least);
            }
        }
    }
    least.magnitudes::<S>()
}

/// Fills the pairs of all strips from `pair` on with zeros.
#[inline(always)]
pub(crate) fn clear_pairs(pair: usize, n_pairs: usize, out: &mut [u32]) {
    for strip in out.chunks_exact_mut(n_pairs * STRIP) {
        strip[pair * STRIP..].fill(0);
    }
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
    fn pack_columns<S: Simd>(
        &self,
        (first, rows): (usize, usize),
        (column, columns): (usize, usize),
        out: &mut [u32],
    ) -> Magnitudes {
        let mut block = [0_u32; SIDE * WIDTH];
        let mut least = Least::NONE;
        let depth = n_pairs(rows);
        for side in (0..columns.next_multiple_of(STRIP)).step_by(SIDE) {
            let strip = side / STRIP * depth * STRIP + side % STRIP;
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
                    least.copy::<S>(&self.data[from..][..n_rows], numbers);
                    rest.fill(bf16::ZERO);
                }
                let out = &mut cast_slice_mut(out)[strip + pair * STRIP..];
                transpose_rows(cast_slice(&block), WIDTH, n_pairs, out, STRIP);
            }
        }
        least.magnitudes::<S>()
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
        for k in (0..count).step_by(STEP) {
            for row in (0..rows).step_by(SIDE) {
                let n_rows = SIDE.min(rows - row);
                for (p, pairs) in pairs.chunks_exact_mut(SIDE).enumerate() {
                    let mut two = [&[][..]; 2];
                    for (i, column) in two.iter_mut().enumerate() {
                        let k = k + 2 * p + i;
                        if k < count {
                            *column = &self.data[self.at(first + row, start + k)..][..n_rows];
                        }
                    }
                    interleave_side(two, pairs);
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
        out: &mut [u32],
    ) -> Magnitudes {
        if self.row_stride == 1 && self.column_stride != 1 {
            return self.pack_columns::<S>((first, rows), (column, columns), out);
        }
        let depth = n_pairs(rows);
        clear_pairs(rows.div_ceil(2), depth, out);
        if self.column_stride == 1 {
            let place = (self.at(first, column), self.row_stride);
            return pack_rows::<S>(self.data, place, (rows, columns), (0, depth), out);
        }
        let mut magnitudes = Magnitudes::NONE;
        let mut two = Scratch::of::<bf16>(2 * columns);
        let two = &mut two.as_mut_slice_of::<bf16>()[..2 * columns];
        for pair in 0..rows.div_ceil(2) {
            let count = 2.min(rows - 2 * pair);
            for (i, row) in two.chunks_exact_mut(columns).enumerate().take(count) {
                self.copy(first + 2 * pair + i, column, row);
            }
            let sizes = (count, columns);
            let least = pack_rows::<S>(two, (0, columns), sizes, (pair, depth), out);
            magnitudes = magnitudes.and(least);
        }
        magnitudes
    }
}
