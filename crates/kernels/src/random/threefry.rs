//! The random bits of Threefry-2x32 with 20 rounds, in MLX's order.
//!
//! Formula: a key of two words and a counter of two words make two words of output. An array of `n` words is made of
//! `n / 2` counters `(i, i + n - n / 2)`; the first word of each is element `i`, the second one element `i + n - n / 2`.
//! If `n` is odd, the element in the middle is the first word of the counter `(n / 2, 0)`.
//! Blocking: a register of counters at a time, tasks of 8192 counters. Limit: 75 vector instructions for two registers of
//! output. Error: none, the bits are exact.

use pulp::{Simd, WithSimd};

use crate::parallel::parallel_for;
use crate::simd;

/// Counters of a task.
pub(super) const TASK: usize = 8192;
/// What a counter costs, in nanoseconds.
const NANOSECONDS: f64 = 1.0;
const PARITY: u32 = 0x1BD1_1BDA;

/// Writes random bits: the bytes of an array of 32-bit words in the processor's order, the last of which may be cut short.
///
/// ```
/// let mut bytes = [0; 6];
/// mlx_kernels::random_bits([0, 7], &mut bytes);
/// let mut longer = [0; 8];
/// mlx_kernels::random_bits([0, 7], &mut longer);
/// assert_eq!(bytes, longer[..6]);
/// ```
pub fn random_bits(key: [u32; 2], bytes: &mut [u8]) {
    if let Ok(words) = pulp::bytemuck::try_cast_slice_mut(bytes) {
        fill(key, words);
        return;
    }
    // A last word that is cut short, or one of several short arrays in a row.
    let mut words = vec![0_u32; bytes.len().div_ceil(size_of::<u32>())];
    fill(key, &mut words);
    bytes.copy_from_slice(&pulp::bytemuck::cast_slice(&words)[..bytes.len()]);
}

fn fill(key: [u32; 2], words: &mut [u32]) {
    let (counters, middle, first, second) = halves(words);
    if let [middle] = middle {
        *middle = middle_word(key, counters);
    }
    let distance = counters + middle.len();
    parallel_for(
        first
            .chunks_mut(TASK)
            .zip(second.chunks_mut(TASK))
            .enumerate(),
        NANOSECONDS * counters as f64,
        || (),
        |(), (task, (first, second))| threefry(key, task * TASK, distance, first, second),
    );
}

/// An array as the number of its counters, the element in the middle, if there is one, and what is before and after it.
pub(super) fn halves<T>(array: &mut [T]) -> (usize, &mut [T], &mut [T], &mut [T]) {
    let counters = array.len() / 2;
    let middle = array.len() % 2;
    let (first, rest) = array.split_at_mut(counters);
    let (middle, second) = rest.split_at_mut(middle);
    (counters, middle, first, second)
}

/// The element in the middle of an array with this many counters, an odd number of elements.
pub(super) fn middle_word(key: [u32; 2], counters: usize) -> u32 {
    let (mut first, mut second) = ([0], [0]);
    // The second word of its counter is 0.
    threefry(
        key,
        counters,
        counters.wrapping_neg(),
        &mut first,
        &mut second,
    );
    first[0]
}

/// Writes both words of the counters `(i, i + distance)` with `i` from `start` on. The slices are of one length.
pub(super) fn threefry(
    key: [u32; 2],
    start: usize,
    distance: usize,
    first: &mut [u32],
    second: &mut [u32],
) {
    simd::dispatch(Threefry {
        key,
        // MLX's counters are of 32 bits.
        start: start as u32,
        distance: distance as u32,
        first,
        second,
    });
}

struct Threefry<'a> {
    key: [u32; 2],
    start: u32,
    distance: u32,
    first: &'a mut [u32],
    second: &'a mut [u32],
}

impl WithSimd for Threefry<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        const NUMBERS: [u32; 64] = {
            let mut numbers = [0; 64];
            let mut i = 0;
            while i < numbers.len() {
                numbers[i] = i as u32;
                i += 1;
            }
            numbers
        };
        let [k0, k1] = self.key;
        let keys = [k0, k1, k0 ^ k1 ^ PARITY].map(|word| s.splat_u32s(word));
        let (first, first_tail) = S::as_mut_simd_u32s(self.first);
        let (second, second_tail) = S::as_mut_simd_u32s(self.second);
        let distance = s.splat_u32s(self.distance);
        let lanes = s.splat_u32s(S::U32_LANES as u32);
        let numbers = s.partial_load_u32s(&NUMBERS[..S::U32_LANES]);
        let mut counter = s.add_u32s(numbers, s.splat_u32s(self.start));
        for (first, second) in first.iter_mut().zip(second) {
            [*first, *second] = hash(s, keys, [counter, s.add_u32s(counter, distance)]);
            counter = s.add_u32s(counter, lanes);
        }
        if !first_tail.is_empty() {
            let [a, b] = hash(s, keys, [counter, s.add_u32s(counter, distance)]);
            s.partial_store_u32s(first_tail, a);
            s.partial_store_u32s(second_tail, b);
        }
    }
}

/// The words of a register of counters.
#[inline(always)]
fn hash<S: Simd>(s: S, keys: [S::u32s; 3], counter: [S::u32s; 2]) -> [S::u32s; 2] {
    let [k0, k1, k2] = keys;
    let words = [s.add_u32s(counter[0], k0), s.add_u32s(counter[1], k1)];
    let words = add_keys(s, first_rounds(s, words), k1, k2, 1);
    let words = add_keys(s, second_rounds(s, words), k2, k0, 2);
    let words = add_keys(s, first_rounds(s, words), k0, k1, 3);
    let words = add_keys(s, second_rounds(s, words), k1, k2, 4);
    add_keys(s, first_rounds(s, words), k2, k0, 5)
}

#[inline(always)]
fn first_rounds<S: Simd>(s: S, words: [S::u32s; 2]) -> [S::u32s; 2] {
    let words = round::<S, 13>(s, words);
    let words = round::<S, 15>(s, words);
    let words = round::<S, 26>(s, words);
    round::<S, 6>(s, words)
}

#[inline(always)]
fn second_rounds<S: Simd>(s: S, words: [S::u32s; 2]) -> [S::u32s; 2] {
    let words = round::<S, 17>(s, words);
    let words = round::<S, 29>(s, words);
    let words = round::<S, 16>(s, words);
    round::<S, 24>(s, words)
}

/// The two shifts of a constant become one rotation where there is such an instruction.
#[inline(always)]
fn round<S: Simd, const ROTATION: u32>(s: S, [a, b]: [S::u32s; 2]) -> [S::u32s; 2] {
    let a = s.add_u32s(a, b);
    let left = s.wrapping_dyn_shl_u32s(b, s.splat_u32s(ROTATION));
    let right = s.wrapping_dyn_shr_u32s(b, s.splat_u32s(32 - ROTATION));
    [a, s.xor_u32s(s.or_u32s(left, right), a)]
}

#[inline(always)]
fn add_keys<S: Simd>(
    s: S,
    [a, b]: [S::u32s; 2],
    first: S::u32s,
    second: S::u32s,
    number: u32,
) -> [S::u32s; 2] {
    let second = s.add_u32s(second, s.splat_u32s(number));
    [s.add_u32s(a, first), s.add_u32s(b, second)]
}
