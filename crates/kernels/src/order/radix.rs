//! Radix sort by bytes, the least significant first: stable, and its time does not depend on the order of what comes.
//!
//! Blocking: [`radix_sort`] moves a row that fits the L2 cache once for each byte in which keys differ. [`radix_sort_large`]
//! first splits an array by its keys' leading bits into at most 256 bins of about equal size, in chunks on all threads, and
//! then sorts the bins. Limit: dependent loads and stores of the counters in the L1 cache, about 1.2 ns for an element and byte.

use std::ops::Range;

use super::key::Item;
use crate::parallel::{parallel_for, threads};

/// Fewer items are sorted by comparisons.
const MIN_RADIX: usize = 192;
/// More items are split into bins first.
pub(super) const MIN_LARGE: usize = 1 << 16;
/// What an item of a row costs, in nanoseconds.
pub(super) const NANOSECONDS: f64 = 8.0;
/// Leading bits that are counted to split an array.
const COARSE_BITS: u32 = 12;
const MAX_BINS: usize = 256;
const VALUES: usize = 256;

/// Sorts; `scratch` is at least as long.
pub(super) fn radix_sort<T: Item>(items: &mut [T], scratch: &mut [T]) {
    if items.len() < MIN_RADIX {
        items.sort_unstable();
        return;
    }
    let scratch = &mut scratch[..items.len()];
    let mut counts = [[0_u32; VALUES]; 8];
    for item in items.iter() {
        for (place, counts) in counts.iter_mut().enumerate().take(T::DIGITS) {
            counts[item.digit(place)] += 1;
        }
    }
    let all = items.len() as u32;
    let mut is_in_scratch = false;
    for (place, counts) in counts.iter_mut().enumerate().take(T::DIGITS) {
        if counts[items[0].digit(place)] == all {
            continue;
        }
        let mut next = 0;
        for count in counts.iter_mut() {
            next += std::mem::replace(count, next);
        }
        if is_in_scratch {
            scatter(scratch, items, place, counts);
        } else {
            scatter(items, scratch, place, counts);
        }
        is_in_scratch = !is_in_scratch;
    }
    if is_in_scratch {
        items.copy_from_slice(scratch);
    }
}

/// Moves each item to the next place of its byte.
fn scatter<T: Item>(from: &[T], to: &mut [T], place: usize, next: &mut [u32; VALUES]) {
    for item in from {
        let next = &mut next[item.digit(place)];
        to[*next as usize] = *item;
        *next += 1;
    }
}

/// Sorts an array on all threads; `scratch` is as long.
pub(super) fn radix_sort_large<T: Item>(items: &mut [T], scratch: &mut [T]) {
    let chunk = chunk_of(items.len());
    let coarse = Coarse::of(items, chunk);
    let counts = chunk_counts(items, chunk, coarse);
    let (bin_of, n_bins) = bins(&counts, items.len());
    let starts: Vec<Vec<u32>> = counts
        .iter()
        .map(|counts| chunk_starts(counts, &bin_of, n_bins))
        .collect();
    let nanoseconds = 2.0 * items.len() as f64;
    parallel_for(
        items
            .chunks(chunk)
            .zip(scratch.chunks_mut(chunk))
            .zip(&starts),
        nanoseconds,
        || (),
        |(), ((from, to), starts)| {
            let mut next = starts.clone();
            for item in from {
                let next = &mut next[usize::from(bin_of[coarse.of_item(*item)])];
                to[*next as usize] = *item;
                *next += 1;
            }
        },
    );
    let scratch = &*scratch;
    let piece = |part: usize, bin: usize| -> Range<usize> {
        let first = part * chunk;
        first + starts[part][bin] as usize..first + starts[part][bin + 1] as usize
    };
    let mut rest = items;
    let mut tasks = Vec::with_capacity(n_bins);
    for bin in 0..n_bins {
        let size = (0..starts.len()).map(|part| piece(part, bin).len()).sum();
        let (own, later) = std::mem::take(&mut rest).split_at_mut(size);
        rest = later;
        tasks.push((bin, own));
    }
    parallel_for(
        tasks.into_iter(),
        nanoseconds * 4.0,
        Vec::new,
        |own_scratch, (bin, own)| {
            let mut at = 0;
            for part in 0..starts.len() {
                let from = &scratch[piece(part, bin)];
                own[at..][..from.len()].copy_from_slice(from);
                at += from.len();
            }
            if own_scratch.len() < own.len() {
                own_scratch.resize(own.len(), T::default());
            }
            radix_sort(own, own_scratch);
        },
    );
}

/// Elements of a task of a large array.
pub(super) fn chunk_of(len: usize) -> usize {
    len.div_ceil(4 * threads()).max(1 << 14)
}

/// Where the leading bits are: those from the highest in which keys differ.
#[derive(Clone, Copy)]
struct Coarse {
    shift: u32,
}

impl Coarse {
    fn of<T: Item>(items: &[T], chunk: usize) -> Self {
        let mut found = vec![(0, u64::MAX); items.len().div_ceil(chunk)];
        parallel_for(
            items.chunks(chunk).zip(&mut found),
            0.3 * items.len() as f64,
            || (),
            |(), (items, (any, all))| {
                for item in items {
                    *any |= item.bits();
                    *all &= item.bits();
                }
            },
        );
        let (any, all) = found
            .iter()
            .fold((0, u64::MAX), |(any, all), own| (any | own.0, all & own.1));
        let differing = u64::BITS - (any ^ all).leading_zeros();
        Self {
            shift: differing.saturating_sub(COARSE_BITS),
        }
    }

    /// Bits above are the same for all items.
    #[inline(always)]
    fn of_item<T: Item>(self, item: T) -> usize {
        ((item.bits() >> self.shift) & ((1 << COARSE_BITS) - 1)) as usize
    }
}

type CoarseCounts = Vec<u32>;

/// How often each value of the leading bits is in each chunk.
fn chunk_counts<T: Item>(items: &[T], chunk: usize, coarse: Coarse) -> Vec<CoarseCounts> {
    let mut counts = vec![vec![0; 1 << COARSE_BITS]; items.len().div_ceil(chunk)];
    parallel_for(
        items.chunks(chunk).zip(&mut counts),
        items.len() as f64,
        || (),
        |(), (items, counts)| {
            for item in items {
                counts[coarse.of_item(*item)] += 1;
            }
        },
    );
    counts
}

/// The bin of each value of the leading bits, in order and about equally full, and the number of bins.
fn bins(counts: &[CoarseCounts], len: usize) -> (Vec<u8>, usize) {
    let target = len.div_ceil(MAX_BINS / 2).max(4096);
    let mut bin_of = vec![0; 1 << COARSE_BITS];
    let (mut bin, mut filled) = (0_usize, 0);
    for (value, bin_of) in bin_of.iter_mut().enumerate() {
        let count: usize = counts.iter().map(|counts| counts[value] as usize).sum();
        if filled > 0 && filled + count > target && bin + 1 < MAX_BINS {
            bin += 1;
            filled = 0;
        }
        filled += count;
        *bin_of = bin as u8;
    }
    (bin_of, bin + 1)
}

/// Where the bins of a chunk start, and where the last one ends.
fn chunk_starts(counts: &CoarseCounts, bin_of: &[u8], n_bins: usize) -> Vec<u32> {
    let mut starts = vec![0; n_bins + 1];
    for (count, bin) in counts.iter().zip(bin_of) {
        starts[usize::from(*bin) + 1] += count;
    }
    for bin in 0..n_bins {
        starts[bin + 1] += starts[bin];
    }
    starts
}
