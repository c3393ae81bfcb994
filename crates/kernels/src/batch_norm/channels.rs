//! Sums over the rows of each channel, and how rows are cut.

use crate::element::{Element, to_f32_vec};
use crate::parallel::{parallel_for, threads};

use super::NANOSECONDS;

/// As many numbers are computed together.
pub(super) const LANES: usize = 16;
/// Elements that are converted together.
const BLOCK: usize = 4096;

/// A vector as `f32`, or the same number for all channels.
pub(super) fn wide<T: Element>(vector: Option<&[T]>, channels: usize, default: f32) -> Vec<f32> {
    match vector {
        Some(vector) => to_f32_vec(vector),
        None => vec![default; channels],
    }
}

/// A vector over channels, again and again until it fills registers.
pub(super) fn repeated(vector: &[f32], elements: usize) -> Vec<f32> {
    vector.repeat(repeats(vector.len(), elements))
}

/// So often that the channels are whole registers, if there are as many rows.
fn repeats(channels: usize, elements: usize) -> usize {
    let wanted = LANES >> channels.trailing_zeros().min(LANES.trailing_zeros());
    match elements / channels >= wanted {
        true => wanted,
        false => 1,
    }
}

/// How elements are cut into tasks and blocks: whole rows of repeated channels, but for the last.
pub(super) struct Blocks {
    pub(super) task: usize,
    pub(super) block: usize,
}

impl Blocks {
    pub(super) fn of(elements: usize, width: usize) -> Self {
        let block = (BLOCK / width).max(1) * width;
        let task = elements
            .div_ceil(8 * threads())
            .max(1)
            .next_multiple_of(block);
        Self { task, block }
    }

    /// The numbers of a block that must be converted.
    pub(super) fn scratch<T: Element>(&self) -> usize {
        if T::IS_F32 { 0 } else { self.block }
    }
}

/// Adds up two sums for each channel over all rows: `[2, channels]`.
pub(super) fn totals<T: Element>(
    channels: usize,
    x: &[T],
    add: impl Fn(&[f32], &mut [f64]) + Sync,
) -> Vec<f64> {
    pair_totals(channels, (x, x), |x, _, sums| add(x, sums))
}

/// The same of two arrays.
pub(super) fn pair_totals<T: Element>(
    channels: usize,
    (a, b): (&[T], &[T]),
    add: impl Fn(&[f32], &[f32], &mut [f64]) + Sync,
) -> Vec<f64> {
    let width = channels * repeats(channels, a.len());
    let place = Blocks::of(a.len(), width);
    let n_tasks = a.len().div_ceil(place.task);
    let mut all = vec![0.0; n_tasks * 2 * width];
    let tasks = a.chunks(place.task).zip(b.chunks(place.task));
    parallel_for(
        tasks.zip(all.chunks_exact_mut(2 * width)),
        NANOSECONDS * a.len() as f64,
        || {
            [
                vec![0.0; place.scratch::<T>()],
                vec![0.0; place.scratch::<T>()],
            ]
        },
        |[read_a, read_b], ((a, b), sums)| {
            for (a, b) in a.chunks(place.block).zip(b.chunks(place.block)) {
                add(T::read(a, read_a), T::read(b, read_b), sums);
            }
        },
    );
    let mut totals = vec![0.0; 2 * channels];
    for sums in all.chunks_exact(2 * width) {
        let (first, second) = sums.split_at(width);
        let (total, other) = totals.split_at_mut(channels);
        for (sums, total) in [(first, total), (second, other)] {
            for sums in sums.chunks_exact(channels) {
                for (total, sum) in total.iter_mut().zip(sums) {
                    *total += sum;
                }
            }
        }
    }
    totals
}

/// The numbers of a register from a place on.
#[inline(always)]
pub(super) fn lanes(numbers: &[f32], at: usize) -> [f32; LANES] {
    let found = numbers.get(at..).and_then(<[f32]>::first_chunk);
    found.copied().unwrap_or_default()
}

/// Whole rows of whole registers.
#[inline(always)]
fn whole_rows(elements: usize, width: usize) -> usize {
    if width.is_multiple_of(LANES) {
        elements / width
    } else {
        0
    }
}

/// The places of one register of a row in all these rows.
#[inline(always)]
pub(super) fn rows(elements: usize, width: usize, column: usize) -> impl Iterator<Item = usize> {
    (0..whole_rows(elements, width)).map(move |row| row * width + column)
}

/// The elements that are in no such rows, and the channel of each.
#[inline(always)]
pub(super) fn others(elements: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = whole_rows(elements, width) * width;
    (first..elements).map(move |at| (at, (at - first) % width))
}
