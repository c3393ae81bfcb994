//! Reducing contiguous rows.

use super::Reduction;
use super::block::reduce_block;
use super::pairwise::Pairwise;
use crate::element::Element;
use crate::parallel::parallel_for;

/// Elements that are reduced at once.
const BLOCK: usize = 4096;
/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Longer rows are split over threads.
const MAX_SERIAL_ROW: usize = 64 * 1024;

/// Lengths are checked, rows are not empty.
pub(super) fn reduce<T: Element, O: Element>(
    reduction: Reduction,
    dim: usize,
    x: &[T],
    out: &mut [O],
) {
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
        return reduce_block(reduction, x, scratch);
    }
    let mut total = Pairwise::new(reduction);
    for x in x.chunks(BLOCK) {
        total.add(reduce_block(reduction, x, scratch));
    }
    total.total()
}
