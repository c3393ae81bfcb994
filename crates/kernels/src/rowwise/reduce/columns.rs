//! Reducing columns: rows are added to a tile of results.

use pulp::{Simd, WithSimd};

use super::pairwise::Pairwise;
use super::{ReduceShape, Reduction, greatest, least};
use crate::element::Element;
use crate::parallel::parallel_for;
use crate::simd;

/// Columns whose results stay in the cache, at most.
const TILE: usize = 4096;
/// Elements that one thread takes at a time, if there are so many to share.
const PIECE: usize = 16 * 1024;
/// Rows that are added to one result before that is added to the total.
const RUN: usize = 64;

/// Lengths are checked, nothing is empty.
pub(super) fn reduce<T: Element>(reduction: Reduction, shape: ReduceShape, x: &[T], out: &mut [T]) {
    if shape.reduced > part(shape.inner) {
        tall(reduction, shape, x, out);
        return;
    }
    let ReduceShape { reduced, inner, .. } = shape;
    let together = (PIECE / (reduced * inner)).max(1);
    // Either several outer indices of narrow rows, or parts of the rows of one.
    let pieces: Vec<(usize, usize, &mut [T])> = out
        .chunks_mut(together * inner)
        .enumerate()
        .flat_map(|(piece, out)| {
            let width = if out.len() > inner { out.len() } else { TILE };
            out.chunks_mut(width)
                .enumerate()
                .map(move |(tile, out)| (piece * together, tile * width, out))
        })
        .collect();
    let nanoseconds = nanoseconds(shape);
    parallel_for(
        pieces.into_iter(),
        nanoseconds,
        Scratch::new,
        |scratch, (outer, column, out)| {
            let width = out.len().min(inner);
            for (i, out) in out.chunks_mut(width).enumerate() {
                for (tile, out) in out.chunks_mut(TILE).enumerate() {
                    let rows = &x[(outer + i) * reduced * inner..][..reduced * inner];
                    scratch.add_rows(reduction, rows, inner, column + tile * TILE, out.len());
                    let Scratch { total, wide, .. } = scratch;
                    T::write(out, wide, |out| {
                        for (out, total) in out.iter_mut().zip(total) {
                            *out = reduction.finish(*total, reduced);
                        }
                    });
                }
            }
        },
    );
}

/// How many rows one thread takes: more are split, and their results joined pairwise.
fn part(inner: usize) -> usize {
    (64 * 1024 / inner).clamp(128, 4096)
}

fn nanoseconds(shape: ReduceShape) -> f64 {
    let elements = (shape.outer * shape.reduced * shape.inner) as f64;
    // Few columns leave most of a register empty.
    elements * if shape.inner < 16 { 0.6 } else { 0.15 }
}

/// Many rows: parts of them reduced by themselves, then all parts.
fn tall<T: Element>(reduction: Reduction, shape: ReduceShape, x: &[T], out: &mut [T]) {
    let ReduceShape { reduced, inner, .. } = shape;
    let tall = part(inner);
    let parts = reduced.div_ceil(tall);
    let mut results = vec![0.0; out.len() * parts];
    let rows = x
        .chunks_exact(reduced * inner)
        .flat_map(|x| x.chunks(tall * inner));
    let pieces: Vec<(&[T], usize, &mut [f32])> = rows
        .zip(results.chunks_mut(inner))
        .flat_map(|(rows, results)| {
            let tiles = results.chunks_mut(TILE).enumerate();
            tiles.map(move |(tile, results)| (rows, tile * TILE, results))
        })
        .collect();
    parallel_for(
        pieces.into_iter(),
        nanoseconds(shape),
        Scratch::new,
        |scratch, (rows, column, results)| {
            scratch.add_rows(reduction, rows, inner, column, results.len());
            results.copy_from_slice(&scratch.total[..results.len()]);
        },
    );
    let results = results.chunks_exact(parts * inner);
    for (results, out) in results.zip(out.chunks_exact_mut(inner)) {
        for (column, out) in out.iter_mut().enumerate() {
            let mut total = Pairwise::new(reduction);
            let parts = results[column..].iter().step_by(inner);
            parts.for_each(|part| total.add(*part));
            let value = reduction.finish(total.total(), reduced);
            T::write(std::slice::from_mut(out), &mut [0.0], |out| out[0] = value);
        }
    }
}

/// A tile of results.
struct Scratch {
    total: [f32; TILE],
    run: [f32; TILE],
    wide: [f32; TILE],
}

impl Scratch {
    fn new() -> Self {
        Self {
            total: [0.0; TILE],
            run: [0.0; TILE],
            wide: [0.0; TILE],
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
        let Self { total, run, wide } = self;
        let (total, run) = (&mut total[..width], &mut run[..width]);
        for (number, rows) in rows.chunks(RUN * inner).enumerate() {
            // The first run is the total, the first row of a run its sum: nothing has to be a neutral element.
            let target = if number == 0 { &mut *total } else { &mut *run };
            for (row, x) in rows.chunks_exact(inner).enumerate() {
                let x = T::read(&x[column..column + width], wide);
                if row == 0 {
                    target.copy_from_slice(x);
                } else {
                    simd::dispatch(Join {
                        reduction,
                        x,
                        to: target,
                    });
                }
            }
            if number > 0 {
                simd::dispatch(Join {
                    reduction,
                    x: run,
                    to: total,
                });
            }
        }
    }
}

/// Joins numbers to others, element by element.
struct Join<'a> {
    reduction: Reduction,
    x: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for Join<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Plain loops, which the compiler makes vector instructions of.
        let pairs = self.to.iter_mut().zip(self.x);
        match self.reduction {
            Reduction::Sum | Reduction::Mean => pairs.for_each(|(to, x)| *to += x),
            Reduction::Max => pairs.for_each(|(to, x)| *to = greatest(*to, *x)),
            Reduction::Min => pairs.for_each(|(to, x)| *to = least(*to, *x)),
        }
    }
}
