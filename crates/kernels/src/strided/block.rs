//! A block of elements with strides on both sides, copied by one thread.
//!
//! Axes are merged where one stride on each side steps through two. Then one of three loops runs, by the last axis and the
//! axis along which the elements that are read are adjacent: contiguous rows are copied whole, rows of a transpose in tiles
//! (`tile.rs`), all others one element after the other.

use super::merge::{MergedAxis, merge_axes};
use super::tile;

/// Sizes of axes, and how far apart neighbours are on both sides, in elements. No size is 0 or 1.
///
/// Negative strides are stored as `usize` too: sums wrap around.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) axes: Vec<Axis>,
}

/// One axis of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) size: usize,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Block {
    /// Merges axes, and drops those of size 1. There is a stride for each size on both sides, and no size is 0.
    pub(crate) fn new(shape: &[usize], from: &[isize], to: &[isize]) -> Self {
        let axis = |axis: MergedAxis<2>| Axis {
            size: axis.size,
            from: axis.strides[0],
            to: axis.strides[1],
        };
        let axes = merge_axes(shape, [from, to]);
        Self {
            axes: axes.into_iter().map(axis).collect(),
        }
    }

    /// The axis whose elements are adjacent where they are read, if it is not the last one and the last one's are adjacent
    /// where they are written: the two make tiles.
    pub(crate) fn tiled_axis(&self) -> Option<usize> {
        let (last, outer) = self.axes.split_last()?;
        let is_strided = last.from != 1 && last.from != 0 && last.to == 1;
        is_strided
            .then(|| outer.iter().rposition(|axis| axis.from == 1))
            .flatten()
    }

    /// Moves the axis of tiles beside the last one. The order of axes matters for speed alone.
    pub(crate) fn order_for_tiles(&mut self) {
        if let Some(tiled) = self.tiled_axis() {
            let axis = self.axes.remove(tiled);
            self.axes.insert(self.axes.len() - 1, axis);
        }
    }

    /// Copies from `start` on to `at` on.
    pub(crate) fn copy<const N: usize>(
        &self,
        from: &[[u8; N]],
        start: usize,
        out: &mut [[u8; N]],
        at: usize,
    ) {
        copy_axes(&self.axes, from, start, out, at);
    }
}

fn copy_axes<const N: usize>(
    axes: &[Axis],
    from: &[[u8; N]],
    start: usize,
    out: &mut [[u8; N]],
    at: usize,
) {
    match axes {
        [] => out[at] = from[start],
        [row] => copy_row(*row, from, start, out, at),
        [rows, columns] if rows.from == 1 && columns.from != 1 && columns.to == 1 => {
            tile::copy_transposed([*rows, *columns], from, start, out, at);
        }
        [rows, row] if row.from == 1 && row.to == 1 && row.size < 16 => {
            for index in 0..rows.size {
                let (start, at) = offsets(rows, index, start, at);
                let (from, out) = (&from[start..][..row.size], &mut out[at..][..row.size]);
                for (out, from) in out.iter_mut().zip(from) {
                    *out = *from;
                }
            }
        }
        [first, rest @ ..] => {
            for index in 0..first.size {
                let (start, at) = offsets(first, index, start, at);
                copy_axes(rest, from, start, out, at);
            }
        }
    }
}

/// Where the part at this index of an axis starts, on both sides.
fn offsets(axis: &Axis, index: usize, start: usize, at: usize) -> (usize, usize) {
    (
        start.wrapping_add(index.wrapping_mul(axis.from)),
        at.wrapping_add(index.wrapping_mul(axis.to)),
    )
}

fn copy_row<const N: usize>(
    row: Axis,
    from: &[[u8; N]],
    start: usize,
    out: &mut [[u8; N]],
    at: usize,
) {
    let Axis {
        size,
        from: step,
        to,
    } = row;
    if to != 1 {
        for index in 0..size {
            let (start, at) = offsets(&row, index, start, at);
            out[at] = from[start];
        }
        return;
    }
    let out = &mut out[at..][..size];
    match step {
        1 => out.copy_from_slice(&from[start..][..size]),
        0 => out.fill(from[start]),
        usize::MAX => super::reverse::copy_reversed(&from[start + 1 - size..][..size], out),
        _ => {
            let mut index = start;
            for out in out {
                *out = from[index];
                index = index.wrapping_add(step);
            }
        }
    }
}
