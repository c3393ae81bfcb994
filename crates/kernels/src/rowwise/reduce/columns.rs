//! Reducing columns: rows are added to a tile of results.

use super::add_rows::{Combine, add_rows};
use super::{ReduceShape, Reduction};
use crate::element::Element;
use crate::parallel::parallel_for;
use crate::simd;

/// Columns whose results stay in the cache, at most.
const TILE: usize = 4096;
/// Elements of a task, if there are enough to share.
const TASK: usize = 16 * 1024;
/// Rows that are added to one partial result before that is added to the total.
const RUN: usize = 64;

/// Lengths are checked, nothing is empty.
pub(super) fn reduce<T: Element, O: Element>(
    reduction: Reduction,
    shape: ReduceShape,
    x: &[T],
    out: &mut [O],
) {
    if shape.reduced > rows_per_part(shape.inner) {
        reduce_in_parts(reduction, shape, x, out);
        return;
    }
    let ReduceShape { reduced, inner, .. } = shape;
    let outer_per_task = (TASK / (reduced * inner)).max(1);
    // Either several outer indices of narrow rows, or parts of the rows of one.
    let tasks: Vec<(usize, usize, &mut [O])> = out
        .chunks_mut(outer_per_task * inner)
        .enumerate()
        .flat_map(|(task, out)| {
            let width = if out.len() > inner { out.len() } else { TILE };
            out.chunks_mut(width)
                .enumerate()
                .map(move |(tile, out)| (task * outer_per_task, tile * width, out))
        })
        .collect();
    let nanoseconds = nanoseconds(shape);
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        Scratch::new,
        |scratch, (outer, column, out)| {
            let width = out.len().min(inner);
            for (i, out) in out.chunks_mut(width).enumerate() {
                for (tile, out) in out.chunks_mut(TILE).enumerate() {
                    let rows = &x[(outer + i) * reduced * inner..][..reduced * inner];
                    scratch.add_rows(reduction, rows, inner, column + tile * TILE, out.len());
                    let Scratch { total, row_f32, .. } = scratch;
                    O::write(out, row_f32, |out| {
                        for (out, total) in out.iter_mut().zip(total) {
                            *out = reduction.finish(*total, reduced);
                        }
                    });
                }
            }
        },
    );
}

/// Rows of a part: more are split, and their results combined pairwise.
fn rows_per_part(inner: usize) -> usize {
    (64 * 1024 / inner).clamp(128, 4096)
}

fn nanoseconds(shape: ReduceShape) -> f64 {
    let elements = (shape.outer * shape.reduced * shape.inner) as f64;
    // Few columns leave most of a register empty.
    elements * if shape.inner < 16 { 0.6 } else { 0.15 }
}

/// Many rows: parts of them reduced separately, then all parts.
fn reduce_in_parts<T: Element, O: Element>(
    reduction: Reduction,
    shape: ReduceShape,
    x: &[T],
    out: &mut [O],
) {
    let ReduceShape { reduced, inner, .. } = shape;
    let part = rows_per_part(inner);
    let parts = reduced.div_ceil(part);
    let mut results = vec![0.0; out.len() * parts];
    let rows = x
        .chunks_exact(reduced * inner)
        .flat_map(|x| x.chunks(part * inner));
    let tasks: Vec<(&[T], usize, &mut [f32])> = rows
        .zip(results.chunks_mut(inner))
        .flat_map(|(rows, results)| {
            let tiles = results.chunks_mut(TILE).enumerate();
            tiles.map(move |(tile, results)| (rows, tile * TILE, results))
        })
        .collect();
    parallel_for(
        tasks.into_iter(),
        nanoseconds(shape),
        Scratch::new,
        |scratch, (rows, column, results)| {
            scratch.add_rows(reduction, rows, inner, column, results.len());
            results.copy_from_slice(&scratch.total[..results.len()]);
        },
    );
    let results = results.chunks_exact_mut(parts * inner);
    let mut row_f32 = [0.0; TILE];
    for (results, out) in results.zip(out.chunks_exact_mut(inner)) {
        combine_pairwise(reduction, inner, results);
        for (out, totals) in out.chunks_mut(TILE).zip(results[..inner].chunks(TILE)) {
            O::write(out, &mut row_f32, |out| {
                for (out, total) in out.iter_mut().zip(totals) {
                    *out = reduction.finish(*total, reduced);
                }
            });
        }
    }
}

/// Combines rows in the first one: two, then two of these, and so on.
fn combine_pairwise(reduction: Reduction, inner: usize, rows: &mut [f32]) {
    let count = rows.len() / inner;
    let mut step = 1;
    while step < count {
        for row in (0..count - step).step_by(2 * step) {
            let (to, x) = rows.split_at_mut((row + step) * inner);
            simd::dispatch(Combine {
                reduction,
                x: &x[..inner],
                to: &mut to[row * inner..][..inner],
            });
        }
        step *= 2;
    }
}

/// A tile of results.
struct Scratch {
    total: [f32; TILE],
    run: [f32; TILE],
    row_f32: [f32; TILE],
}

impl Scratch {
    fn new() -> Self {
        Self {
            total: [0.0; TILE],
            run: [0.0; TILE],
            row_f32: [0.0; TILE],
        }
    }

    /// Reduces `width` columns of rows of `inner` elements.
    fn add_rows<T: Element>(
        &mut self,
        reduction: Reduction,
        rows: &[T],
        inner: usize,
        column: usize,
        width: usize,
    ) {
        let Self {
            total,
            run,
            row_f32,
        } = self;
        let (total, run) = (&mut total[..width], &mut run[..width]);
        for (number, rows) in rows.chunks(RUN * inner).enumerate() {
            // The first run is the total, the first row of a run its sum: no neutral element is needed.
            let target = if number == 0 { &mut *total } else { &mut *run };
            let first = T::read(&rows[column..column + width], row_f32);
            target.copy_from_slice(first);
            add_rows(reduction, &rows[inner..], inner, column, target, row_f32);
            if number > 0 {
                simd::dispatch(Combine {
                    reduction,
                    x: run,
                    to: total,
                });
            }
        }
    }
}
