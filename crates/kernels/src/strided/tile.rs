//! Transposing in tiles: 64 bytes of as many columns are read, and 64 bytes of as many rows written.
//!
//! With AVX-512 a tile is transposed in registers: of four-byte elements 16 rows of 16 in four rounds, each of which
//! interleaves the registers of the first half with those of the second; smaller elements are first interleaved to four
//! bytes. Elsewhere, and at the edges, a tile is copied element by element, while its lines are in the cache.

use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

use super::block::Axis;
use crate::simd;

/// Columns that are read together without vector instructions.
const TILE: usize = 16;

/// Writes rows of `columns` elements, `row_step` apart, whose first elements are adjacent in `from` and whose own are
/// `column_step` apart there.
pub(crate) fn transpose<T: Pod>(
    from: &[T],
    [rows, columns]: [usize; 2],
    column_step: usize,
    out: &mut [T],
    row_step: usize,
) {
    let axes = [
        Axis {
            size: rows,
            from: 1,
            to: row_step,
        },
        Axis {
            size: columns,
            from: column_step,
            to: 1,
        },
    ];
    let (from, out): (&[u8], &mut [u8]) = (cast_slice(from), cast_slice_mut(out));
    match size_of::<T>() {
        1 => copy_transposed::<1>(axes, from.as_chunks().0, 0, out.as_chunks_mut().0, 0),
        2 => copy_transposed::<2>(axes, from.as_chunks().0, 0, out.as_chunks_mut().0, 0),
        4 => copy_transposed::<4>(axes, from.as_chunks().0, 0, out.as_chunks_mut().0, 0),
        _ => copy_transposed::<8>(axes, from.as_chunks().0, 0, out.as_chunks_mut().0, 0),
    }
}

/// Copies rows whose first elements are adjacent in `from`, and whose own elements are adjacent in `out`.
pub(super) fn copy_transposed<const N: usize>(
    [rows, columns]: [Axis; 2],
    from: &[[u8; N]],
    start: usize,
    out: &mut [[u8; N]],
    at: usize,
) {
    let mut done = [0, 0];
    #[cfg(target_arch = "x86_64")]
    if let pulp::Arch::V4(simd) = simd::arch()
        && matches!(N, 1 | 2 | 4 | 8)
    {
        let side = 64 / N;
        done = [rows.size / side * side, columns.size / side * side];
        if done[0] > 0 && done[1] > 0 {
            simd.vectorize(avx512::Tiles {
                simd,
                from: from.as_flattened(),
                out: out.as_flattened_mut(),
                start: start.wrapping_mul(N),
                at: at.wrapping_mul(N),
                sizes: done,
                column_step: columns.from.wrapping_mul(N),
                row_step: rows.to.wrapping_mul(N),
                element: N,
            });
        } else {
            done = [0, 0];
        }
    }
    let [done_rows, done_columns] = done;
    let part = |first: [usize; 2], sizes: [usize; 2], out: &mut [[u8; N]]| {
        let start = start
            .wrapping_add(first[0])
            .wrapping_add(first[1].wrapping_mul(columns.from));
        let at = at
            .wrapping_add(first[0].wrapping_mul(rows.to))
            .wrapping_add(first[1]);
        copy_scalar(sizes, [columns.from, rows.to], from, start, out, at);
    };
    part(
        [0, done_columns],
        [done_rows, columns.size - done_columns],
        out,
    );
    part([done_rows, 0], [rows.size - done_rows, columns.size], out);
}

/// The same without vector instructions; `steps` are from column to column, and from row to row.
fn copy_scalar<const N: usize>(
    [rows, columns]: [usize; 2],
    [column_step, row_step]: [usize; 2],
    from: &[[u8; N]],
    start: usize,
    out: &mut [[u8; N]],
    at: usize,
) {
    for first_row in (0..rows).step_by(TILE) {
        let height = TILE.min(rows - first_row);
        for first in (0..columns).step_by(TILE) {
            for column in first..columns.min(first + TILE) {
                let index = start
                    .wrapping_add(first_row)
                    .wrapping_add(column.wrapping_mul(column_step));
                let mut to = at
                    .wrapping_add(first_row.wrapping_mul(row_step))
                    .wrapping_add(column);
                for element in &from[index..][..height] {
                    out[to] = *element;
                    to = to.wrapping_add(row_step);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::__m512i;

    use pulp::NullaryFnOnce;
    use pulp::bytemuck::{bytes_of, cast, pod_read_unaligned};
    use pulp::x86::V4;

    /// Bytes of a register.
    const REGISTER: usize = 64;

    /// Whole tiles; all places and steps in bytes.
    pub(super) struct Tiles<'a> {
        pub(super) simd: V4,
        pub(super) from: &'a [u8],
        pub(super) out: &'a mut [u8],
        pub(super) start: usize,
        pub(super) at: usize,
        /// Rows and columns, in elements: multiples of a register.
        pub(super) sizes: [usize; 2],
        pub(super) column_step: usize,
        pub(super) row_step: usize,
        /// The size of an element: 1, 2, 4 or 8.
        pub(super) element: usize,
    }

    impl NullaryFnOnce for Tiles<'_> {
        type Output = ();

        #[inline(always)]
        fn call(mut self) {
            match self.element {
                1 => self.each_tile::<1>(),
                2 => self.each_tile::<2>(),
                4 => self.each_tile::<4>(),
                _ => self.each_tile::<8>(),
            }
        }
    }

    impl Tiles<'_> {
        #[inline(always)]
        fn each_tile<const N: usize>(&mut self) {
            let side = REGISTER / N;
            let [rows, columns] = self.sizes;
            for column in (0..columns).step_by(side) {
                for row in (0..rows).step_by(side) {
                    let first = self
                        .start
                        .wrapping_add(row * N)
                        .wrapping_add(column.wrapping_mul(self.column_step));
                    let to = self
                        .at
                        .wrapping_add(row.wrapping_mul(self.row_step))
                        .wrapping_add(column * N);
                    match N {
                        1 => self.tile_of_bytes(first, to),
                        2 => self.tile_of_words(first, to),
                        4 => self.tile_of_doublewords(first, to),
                        _ => self.tile_of_quadwords(first, to),
                    }
                }
            }
        }

        #[inline(always)]
        fn column(&self, first: usize, column: usize) -> __m512i {
            let place = first.wrapping_add(column.wrapping_mul(self.column_step));
            pod_read_unaligned(&self.from[place..][..REGISTER])
        }

        #[inline(always)]
        fn write(&mut self, to: usize, row: usize, value: __m512i) {
            let place = to.wrapping_add(row.wrapping_mul(self.row_step));
            self.out[place..][..REGISTER].copy_from_slice(bytes_of(&value));
        }

        #[inline(always)]
        fn tile_of_doublewords(&mut self, first: usize, to: usize) {
            let columns: [__m512i; 16] = std::array::from_fn(|k| self.column(first, k));
            let rows = transposed_16(self.simd, columns);
            for (row, value) in rows.into_iter().enumerate() {
                self.write(to, row, value);
            }
        }

        #[inline(always)]
        fn tile_of_quadwords(&mut self, first: usize, to: usize) {
            let columns: [__m512i; 8] = std::array::from_fn(|k| self.column(first, k));
            let rows = transposed_8(self.simd, columns);
            for (row, value) in rows.into_iter().enumerate() {
                self.write(to, row, value);
            }
        }

        /// Pairs of columns are interleaved: in each quarter of a register, the first four rows, or the last four.
        #[allow(clippy::needless_range_loop)] // Several registers are made of each step.
        #[inline(always)]
        fn tile_of_words(&mut self, first: usize, to: usize) {
            let bw = self.simd.avx512bw;
            let mut halves = [[pulp::bytemuck::Zeroable::zeroed(); 16]; 2];
            for k in 0..16 {
                let (a, b) = (self.column(first, 2 * k), self.column(first, 2 * k + 1));
                halves[0][k] = bw._mm512_unpacklo_epi16(a, b);
                halves[1][k] = bw._mm512_unpackhi_epi16(a, b);
            }
            for (half, columns) in halves.into_iter().enumerate() {
                let rows = transposed_16(self.simd, columns);
                for (i, value) in rows.into_iter().enumerate() {
                    self.write(to, 8 * (i / 4) + 4 * half + i % 4, value);
                }
            }
        }

        /// The same for four columns: in each quarter of a register, four rows of sixteen.
        #[allow(clippy::needless_range_loop)] // Several registers are made of each step.
        #[inline(always)]
        fn tile_of_bytes(&mut self, first: usize, to: usize) {
            let bw = self.simd.avx512bw;
            let mut quarters = [[pulp::bytemuck::Zeroable::zeroed(); 16]; 4];
            for k in 0..16 {
                let [a, b, c, d] = std::array::from_fn(|i| self.column(first, 4 * k + i));
                let (ab, cd) = (bw._mm512_unpacklo_epi8(a, b), bw._mm512_unpacklo_epi8(c, d));
                quarters[0][k] = bw._mm512_unpacklo_epi16(ab, cd);
                quarters[1][k] = bw._mm512_unpackhi_epi16(ab, cd);
                let (ab, cd) = (bw._mm512_unpackhi_epi8(a, b), bw._mm512_unpackhi_epi8(c, d));
                quarters[2][k] = bw._mm512_unpacklo_epi16(ab, cd);
                quarters[3][k] = bw._mm512_unpackhi_epi16(ab, cd);
            }
            for (quarter, columns) in quarters.into_iter().enumerate() {
                let rows = transposed_16(self.simd, columns);
                for (i, value) in rows.into_iter().enumerate() {
                    self.write(to, 16 * (i / 4) + 4 * quarter + i % 4, value);
                }
            }
        }
    }

    /// Transposes 16 registers of 16 elements. Each round moves the highest bit of a register's number to the lowest bit of
    /// the places in it, and the highest bit of these to the lowest bit of the number: four rounds exchange them.
    #[inline(always)]
    fn transposed_16(simd: V4, mut registers: [__m512i; 16]) -> [__m512i; 16] {
        const LOW: [u32; 16] = [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23];
        const HIGH: [u32; 16] = [8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31];
        let (low, high): (__m512i, __m512i) = (cast(LOW), cast(HIGH));
        for _ in 0..4 {
            let before = registers;
            for i in 0..8 {
                let (a, b) = (before[i], before[i + 8]);
                registers[2 * i] = simd.avx512f._mm512_permutex2var_epi32(a, low, b);
                registers[2 * i + 1] = simd.avx512f._mm512_permutex2var_epi32(a, high, b);
            }
        }
        registers
    }

    /// The same for 8 registers of 8 elements, in three rounds.
    #[inline(always)]
    fn transposed_8(simd: V4, mut registers: [__m512i; 8]) -> [__m512i; 8] {
        const LOW: [u64; 8] = [0, 8, 1, 9, 2, 10, 3, 11];
        const HIGH: [u64; 8] = [4, 12, 5, 13, 6, 14, 7, 15];
        let (low, high): (__m512i, __m512i) = (cast(LOW), cast(HIGH));
        for _ in 0..3 {
            let before = registers;
            for i in 0..4 {
                let (a, b) = (before[i], before[i + 4]);
                registers[2 * i] = simd.avx512f._mm512_permutex2var_epi64(a, low, b);
                registers[2 * i + 1] = simd.avx512f._mm512_permutex2var_epi64(a, high, b);
            }
        }
        registers
    }
}
