//! Rows packed across lanes: a panel is `[tiles, dim, tile]`, so that one number of every row of a tile fills registers.

use pulp::{Simd, WithSimd};

use super::strided::{HeadRows, row_to_f32};
use crate::element::Element;
use crate::gemm::microkernel::has_16_registers;
use crate::simd;

/// A kernel over packed tiles, which multiplies `ROWS` rows with a tile at once.
pub(super) trait TileKernel {
    fn run<S: Simd, const ROWS: usize>(self, simd: S);
}

/// Runs a kernel with the widest registers of the processor, and as many rows as it has registers for.
pub(super) fn dispatch_tiles(kernel: impl TileKernel) {
    simd::dispatch(Dispatched(kernel));
}

struct Dispatched<K>(K);

impl<K: TileKernel> WithSimd for Dispatched<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if has_16_registers::<S>() {
            self.0.run::<S, 4>(simd);
        } else {
            self.0.run::<S, 8>(simd);
        }
    }
}

/// Packs rows `first..first + count`, times `factor`, into a panel; lanes without a row are zeros.
///
/// `row` has room for one row.
#[inline(always)]
pub(super) fn pack<T: Element>(
    rows: HeadRows<T>,
    (first, count): (usize, usize),
    factor: f32,
    tile: usize,
    row: &mut [f32],
    panel: &mut [f32],
) {
    let dim = rows.dim();
    let row = &mut row[..dim];
    panel[..count.next_multiple_of(tile) * dim].fill(0.0);
    for i in 0..count {
        row_to_f32(rows.row(first + i), row);
        let tile_of_row = &mut panel[i / tile * dim * tile..][..dim * tile];
        for (column, x) in tile_of_row.chunks_exact_mut(tile).zip(&*row) {
            column[i % tile] = x * factor;
        }
    }
}

/// Writes the rows of a panel, each times its factor, to `out`, `[rows, dim]`.
#[inline(always)]
pub(super) fn unpack<T: Element>(
    panel: &[f32],
    factor: impl Fn(usize) -> f32,
    (tile, dim): (usize, usize),
    row: &mut [f32],
    out: &mut [T],
) {
    for (i, out) in out.chunks_exact_mut(dim).enumerate() {
        let (factor, tile_of_row) = (factor(i), &panel[i / tile * dim * tile..][..dim * tile]);
        T::write(out, row, |out| {
            for (out, column) in out.iter_mut().zip(tile_of_row.chunks_exact(tile)) {
                *out = column[i % tile] * factor;
            }
        });
    }
}
