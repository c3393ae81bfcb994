//! Reducing contiguous rows.

use pulp::{Simd, WithSimd};

use super::pairwise::Pairwise;
use super::{Reduction, max_or_nan, min_or_nan};
use crate::element::Element;
use crate::parallel::parallel_for;
use crate::rowwise::row_fold::row_sum;
use crate::simd;

/// Elements that are reduced at once.
const BLOCK: usize = 4096;
/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Longer rows are split over threads.
const MAX_SERIAL_ROW: usize = 64 * 1024;

/// Lengths are checked, rows are not empty.
pub(super) fn reduce<T: Element>(reduction: Reduction, dim: usize, x: &[T], out: &mut [T]) {
    if dim > MAX_SERIAL_ROW {
        for (x, out) in x.chunks_exact(dim).zip(out) {
            let value = reduce_row_in_parallel(reduction, x);
            write(out, reduction.finish(value, dim));
        }
        return;
    }
    let rows = (TASK / dim).max(1);
    parallel_for(
        x.chunks(rows * dim).zip(out.chunks_mut(rows)),
        0.12 * x.len() as f64,
        || [0.0; BLOCK],
        |scratch, (x, out)| {
            for (x, out) in x.chunks_exact(dim).zip(out) {
                write(
                    out,
                    reduction.finish(reduce_row(reduction, x, scratch), dim),
                );
            }
        },
    );
}

fn write<T: Element>(out: &mut T, value: f32) {
    T::write(std::slice::from_mut(out), &mut [0.0], |out| out[0] = value);
}

/// One row on all threads.
fn reduce_row_in_parallel<T: Element>(reduction: Reduction, x: &[T]) -> f32 {
    let mut parts = vec![0.0; x.len().div_ceil(TASK)];
    parallel_for(
        x.chunks(TASK).zip(parts.iter_mut()),
        0.12 * x.len() as f64,
        || [0.0; BLOCK],
        |scratch, (x, value)| *value = reduce_row(reduction, x, scratch),
    );
    let mut total = Pairwise::new(reduction);
    parts.into_iter().for_each(|part| total.add(part));
    total.total()
}

/// Contiguous elements, on one thread.
fn reduce_row<T: Element>(reduction: Reduction, x: &[T], scratch: &mut [f32; BLOCK]) -> f32 {
    if x.len() <= BLOCK {
        let x = T::read(x, scratch);
        return simd::dispatch(Block { reduction, x });
    }
    let mut total = Pairwise::new(reduction);
    for x in x.chunks(BLOCK) {
        let x = T::read(x, scratch);
        total.add(simd::dispatch(Block { reduction, x }));
    }
    total.total()
}

/// A plain loop over as many lanes as fill four registers; the compiler vectorizes it.
macro_rules! max_or_min {
    ($x:expr, $start:expr, $of:ident) => {{
        const LANES: usize = 64;
        let (body, tail) = $x.as_chunks::<LANES>();
        let mut found = [$start; LANES];
        for x in body {
            for lane in 0..LANES {
                found[lane] = $of(found[lane], x[lane]);
            }
        }
        let found = found.iter().fold($start, |a, b| $of(a, *b));
        tail.iter().fold(found, |a, b| $of(a, *b))
    }};
}

struct Block<'a> {
    reduction: Reduction,
    x: &'a [f32],
}

impl WithSimd for Block<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        match self.reduction {
            Reduction::Sum | Reduction::Mean => row_sum(simd, self.x, |x| x),
            Reduction::Max => max_or_min!(self.x, f32::NEG_INFINITY, max_or_nan),
            Reduction::Min => max_or_min!(self.x, f32::INFINITY, min_or_nan),
        }
    }
}
