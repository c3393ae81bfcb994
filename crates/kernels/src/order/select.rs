//! The key at one place of the order, without sorting.
//!
//! Blocking: keys that fit the L2 cache are counted, in vector registers, once for each bit in which they differ. Longer rows
//! are first narrowed down to those keys that share their leading bits with the wanted one, by a count of these bits.

use pulp::{Simd, WithSimd};

use super::key::Key;
use super::radix::chunk_of;
use crate::parallel::parallel_for;
use crate::simd;

/// More keys are narrowed down first.
const MAX_COUNTED: usize = 1 << 15;
/// The bits by which they are.
const COARSE_BITS: u32 = 11;

/// Returns the key that has `place` others before it when sorted. There are more than `place` keys.
pub(super) fn select<K: Key>(keys: &[K], mut place: usize) -> K {
    let mut narrowed: Vec<K>;
    let mut current = keys;
    while current.len() > MAX_COUNTED {
        let (least, most) = simd::dispatch(Extremes { keys: current });
        let shared = least.common_bits(most);
        let shift = (K::BITS - shared).saturating_sub(COARSE_BITS);
        let coarse = |key: K| ((key.bits() >> shift) & ((1 << COARSE_BITS) - 1)) as usize;
        let mut counts = vec![0_usize; 1 << COARSE_BITS];
        for key in current {
            counts[coarse(*key)] += 1;
        }
        let mut wanted = 0;
        while place >= counts[wanted] {
            place -= counts[wanted];
            wanted += 1;
        }
        let rest: Vec<K> = current
            .iter()
            .copied()
            .filter(|key| coarse(*key) == wanted)
            .collect();
        if shift == 0 {
            // All of them are alike.
            return rest[0];
        }
        narrowed = rest;
        current = &narrowed;
    }
    simd::dispatch(Select {
        keys: current,
        place,
    })
}

/// The same on all threads, for one long row.
pub(super) fn select_large<K: Key>(keys: &[K], mut place: usize) -> K {
    let shift = K::BITS.saturating_sub(COARSE_BITS);
    let coarse = |key: K| (key.bits() >> shift) as usize;
    let chunk = chunk_of(keys.len());
    let mut counts = vec![vec![0_usize; 1 << COARSE_BITS]; keys.len().div_ceil(chunk)];
    parallel_for(
        keys.chunks(chunk).zip(&mut counts),
        keys.len() as f64,
        || (),
        |(), (keys, counts)| keys.iter().for_each(|key| counts[coarse(*key)] += 1),
    );
    let mut wanted = 0;
    loop {
        let count: usize = counts.iter().map(|counts| counts[wanted]).sum();
        if place < count {
            break;
        }
        place -= count;
        wanted += 1;
    }
    let mut found = vec![Vec::new(); counts.len()];
    parallel_for(
        keys.chunks(chunk).zip(&mut found),
        keys.len() as f64,
        || (),
        |(), (keys, found)| found.extend(keys.iter().filter(|key| coarse(**key) == wanted)),
    );
    select(&found.concat(), place)
}

/// The least and the largest key.
struct Extremes<'a, K> {
    keys: &'a [K],
}

impl<K: Key> WithSimd for Extremes<'_, K> {
    type Output = (K, K);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (K, K) {
        let (mut least, mut most) = (K::MAX, K::default());
        for key in self.keys {
            least = if *key < least { *key } else { least };
            most = if *key > most { *key } else { most };
        }
        (least, most)
    }
}

/// A binary search of the key, one bit after the other from the first in which keys differ.
struct Select<'a, K> {
    keys: &'a [K],
    place: usize,
}

impl<K: Key> WithSimd for Select<'_, K> {
    type Output = K;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> K {
        let (least, most) = Extremes { keys: self.keys }.with_simd(s);
        let differing = K::BITS - least.common_bits(most);
        let mut found = least.clear_low(differing);
        for bit in (0..differing).rev() {
            let candidate = found.with_bit(bit);
            let before: u32 = self
                .keys
                .iter()
                .map(|key| u32::from(*key < candidate))
                .sum();
            if self.place >= before as usize {
                found = candidate;
            }
        }
        found
    }
}
