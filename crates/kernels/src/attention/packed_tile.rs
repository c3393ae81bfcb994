//! Rows packed across lanes: a panel is `[tiles, dim, tile]`, so that one number of every row of a tile fills registers.

use super::strided::{HeadRows, row_to_f32};
use crate::element::Element;

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
