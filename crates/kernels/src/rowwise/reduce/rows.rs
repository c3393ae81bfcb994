//! Reducing rows whose elements lie together.

use pulp::{Simd, WithSimd};

use super::pairwise::Pairwise;
use super::{Reduction, greatest, least};
use crate::element::Element;
use crate::parallel::parallel_for;
use crate::rowwise::row_fold::sum_of;
use crate::simd;

/// Elements that are reduced at once.
const BLOCK: usize = 4096;
/// Elements that one thread takes at a time.
const PIECE: usize = 16 * 1024;
/// Rows that are longer are split over threads.
const LONG: usize = 64 * 1024;

/// Lengths are checked, rows are not empty.
pub(super) fn reduce<T: Element>(reduction: Reduction, dim: usize, x: &[T], out: &mut [T]) {
    if dim > LONG {
        for (x, out) in x.chunks_exact(dim).zip(out) {
            let value = long(reduction, x);
            write(out, reduction.finish(value, dim));
        }
        return;
    }
    let rows = (PIECE / dim).max(1);
    parallel_for(
        x.chunks(rows * dim).zip(out.chunks_mut(rows)),
        0.12 * x.len() as f64,
        || [0.0; BLOCK],
        |scratch, (x, out)| {
            for (x, out) in x.chunks_exact(dim).zip(out) {
                write(out, reduction.finish(part(reduction, x, scratch), dim));
            }
        },
    );
}

fn write<T: Element>(out: &mut T, value: f32) {
    T::write(std::slice::from_mut(out), &mut [0.0], |out| out[0] = value);
}

/// One row on all threads.
fn long<T: Element>(reduction: Reduction, x: &[T]) -> f32 {
    let mut parts = vec![0.0; x.len().div_ceil(PIECE)];
    parallel_for(
        x.chunks(PIECE).zip(parts.iter_mut()),
        0.12 * x.len() as f64,
        || [0.0; BLOCK],
        |scratch, (x, value)| *value = part(reduction, x, scratch),
    );
    let mut total = Pairwise::new(reduction);
    parts.into_iter().for_each(|part| total.add(part));
    total.total()
}

/// Elements that lie together, on one thread.
fn part<T: Element>(reduction: Reduction, x: &[T], scratch: &mut [f32; BLOCK]) -> f32 {
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

/// A plain loop over as many lanes as fill four registers; the compiler makes vector instructions of it.
macro_rules! extreme {
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
            Reduction::Sum | Reduction::Mean => sum_of(simd, self.x, |x| x),
            Reduction::Max => extreme!(self.x, f32::NEG_INFINITY, greatest),
            Reduction::Min => extreme!(self.x, f32::INFINITY, least),
        }
    }
}
