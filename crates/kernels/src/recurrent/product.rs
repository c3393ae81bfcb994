//! The product of the hidden states of some sequences with packed weights, and its sums.
//!
//! Blocking: tiles of columns, two registers wide, of which [`KC`] elements at a time lie one after the other: a tile stays
//! in the L1 cache while it is multiplied with all rows, eight (four without AVX-512) at a time with their sums in registers.

use pulp::{Simd, WithSimd};

use crate::gemm::factors::{KC, RightColumns, Strided};
use crate::gemm::microkernel::{
    TILE_REGISTERS, add_dot_tile, as_tile, as_tile_mut, has_16_registers,
};
use crate::gemm::scratch::Scratch;
use crate::parallel::parallel_for;
use crate::simd;

/// Numbers behind each row of scratch memory, so that rows do not share the sets of a cache.
const PADDING: usize = 16;

/// A right factor in the order in which it is read: `[block of depth, tile, depth, column]`.
pub(super) struct Packed {
    depth: usize,
    /// The columns with those that fill the last tile.
    width: usize,
    numbers: Scratch,
}

impl Packed {
    /// Packs a matrix of `depth` rows.
    pub(super) fn new(matrix: Strided<'_, f32>, depth: usize, columns: usize) -> Self {
        let tile = TILE_REGISTERS * simd::f32_lanes();
        let width = columns.next_multiple_of(tile);
        let mut numbers = Scratch::new(depth * width);
        let mut parts = Vec::new();
        let blocks = numbers.as_mut_slice().chunks_mut(KC * width.max(1));
        for (block, numbers) in blocks.enumerate() {
            let count = KC.min(depth - block * KC);
            for (at, out) in numbers.chunks_exact_mut(count * tile).enumerate() {
                parts.push(Pack {
                    matrix,
                    rows: (block * KC, count),
                    columns: (at * tile, tile.min(columns - at * tile)),
                    out,
                });
            }
        }
        parallel_for(
            parts.into_iter(),
            0.3 * (depth * width) as f64,
            || (),
            |(), part| simd::dispatch(part),
        );
        Self {
            depth,
            width,
            numbers,
        }
    }

    /// Writes the product of `n_rows` rows, or adds it.
    #[inline(always)]
    pub(super) fn multiply<S: Simd>(
        &self,
        simd: S,
        rows: &Rows,
        n_rows: usize,
        out: &mut Rows,
        adds: bool,
    ) {
        let tile = TILE_REGISTERS * S::F32_LANES;
        for start in (0..self.depth).step_by(KC) {
            let count = KC.min(self.depth - start);
            let panels = &self.numbers.as_slice()[start * self.width..][..count * self.width];
            for (at, panel) in panels.chunks_exact(count * tile).enumerate() {
                let mut part = Part {
                    rows,
                    out,
                    n_rows,
                    depth: (start, count),
                    column: at * tile,
                    adds: adds || start > 0,
                };
                let mut first = 0;
                while first < n_rows {
                    if !has_16_registers::<S>() && n_rows - first > 4 {
                        part.add::<S, 8>(simd, as_tile::<S>(panel), first);
                        first += 8;
                    } else {
                        part.add::<S, 4>(simd, as_tile::<S>(panel), first);
                        first += 4;
                    }
                }
            }
        }
    }
}

/// Rows of scratch memory, each with room for whole tiles.
pub(super) struct Rows {
    numbers: Scratch,
    stride: usize,
}

impl Rows {
    /// Returns rows of zeros.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        let tile = TILE_REGISTERS * simd::f32_lanes();
        let stride = columns.next_multiple_of(tile) + PADDING;
        let mut numbers = Scratch::new(rows * stride);
        numbers.as_mut_slice().fill(0.0);
        Self { numbers, stride }
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.numbers.as_slice()[row * self.stride..][..self.stride]
    }

    #[inline(always)]
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.numbers.as_mut_slice()[row * self.stride..][..self.stride]
    }

    /// Writes the first elements of each row.
    pub(super) fn set(&mut self, rows: &[f32], size: usize) {
        for (row, numbers) in rows.chunks_exact(size.max(1)).enumerate() {
            self.row_mut(row)[..size].copy_from_slice(numbers);
        }
    }
}

/// A part of the depth of a product, for a tile of its columns.
struct Part<'a> {
    rows: &'a Rows,
    out: &'a mut Rows,
    n_rows: usize,
    /// The first element of each row, and how many.
    depth: (usize, usize),
    column: usize,
    adds: bool,
}

impl Part<'_> {
    /// Computes `HEIGHT` rows from `first` on; the last one again where there are not enough.
    #[inline(always)]
    fn add<S: Simd, const HEIGHT: usize>(
        &mut self,
        simd: S,
        panel: &[[S::f32s; TILE_REGISTERS]],
        first: usize,
    ) {
        let (start, count) = self.depth;
        let mut rows = [&[][..]; HEIGHT];
        let mut sums = [[simd.splat_f32s(0.0); TILE_REGISTERS]; HEIGHT];
        for (i, (row, sums)) in rows.iter_mut().zip(&mut sums).enumerate() {
            let at = (first + i).min(self.n_rows - 1);
            *row = &self.rows.row(at)[start..][..count];
            if self.adds {
                *sums = as_tile::<S>(self.tile::<S>(at))[0];
            }
        }
        let sums = add_dot_tile(simd, sums, rows, panel);
        for (i, sums) in sums.iter().enumerate().take(self.n_rows - first) {
            let tile = TILE_REGISTERS * S::F32_LANES;
            let out = &mut self.out.row_mut(first + i)[self.column..][..tile];
            as_tile_mut::<S>(out)[0] = *sums;
        }
    }

    #[inline(always)]
    fn tile<S: Simd>(&self, row: usize) -> &[f32] {
        &self.out.row(row)[self.column..][..TILE_REGISTERS * S::F32_LANES]
    }
}

/// A tile that is packed.
struct Pack<'a, 'b> {
    matrix: Strided<'a, f32>,
    rows: (usize, usize),
    columns: (usize, usize),
    out: &'b mut [f32],
}

impl WithSimd for Pack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let tile = TILE_REGISTERS * S::F32_LANES;
        self.matrix
            .pack(simd, self.rows, self.columns, tile, self.out);
    }
}
