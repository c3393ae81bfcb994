//! Vectors in the order in which a register of 16 words with numbers of 4 or 8 bits is taken apart, rounded to bytes or not.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_abs_ps, _mm512_add_ps, _mm512_cvtepi16_epi8, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_max_ps, _mm512_mul_ps, _mm512_permutex2var_ps, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_srli_epi16,
};

use pulp::bytemuck::cast;

use super::registers::{GROUPS, WORDS};

/// The bits of a number of a word that is taken apart into so many registers: one for each number as `f32`, 8 of 4 bits
/// or 4 of 8; one for four numbers as bytes, 2 or 1.
pub(super) const fn bits(parts: usize) -> usize {
    if matches!(parts, 8 | 2) { 4 } else { 8 }
}

/// Whether these are registers of bytes.
pub(super) const fn is_bytes(parts: usize) -> bool {
    parts <= 2
}

/// How many numbers a register of words has.
const fn numbers(parts: usize) -> usize {
    WORDS * 32 / bits(parts)
}

/// A vector; zeros fill the last register.
pub(super) struct Vector<const PARTS: usize> {
    /// For each register of words the first numbers of all words, the second ones, ...; as bytes, the numbers at even
    /// places of words of 4 bits and then those at odd ones, or all as they are.
    pub(super) x: Vec<Block<PARTS>>,
    pub(super) groups: Vec<Groups>,
}

/// Numbers in the order in which they meet a register of words; no register of them lies in two lines of the cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Block<const PARTS: usize>(pub(super) [[u32; WORDS]; PARTS]);

/// What is known of 16 groups.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Groups {
    /// The sums, for biases.
    pub(super) sums: [f32; GROUPS],
    /// The steps of rounded numbers.
    pub(super) steps: [f32; GROUPS],
    /// `middle * sum(x - step * q)`, for scales.
    pub(super) rests: [f32; GROUPS],
}

impl<const PARTS: usize> Vector<PARTS> {
    fn zeros(group_size: usize, columns: usize) -> Self {
        Self {
            x: vec![Block([[0; WORDS]; PARTS]); columns.div_ceil(numbers(PARTS))],
            groups: vec![Groups::default(); (columns / group_size).div_ceil(GROUPS)],
        }
    }

    /// The registers of the 16 groups from `16 * at` on, which are there.
    #[inline(always)]
    pub(super) fn blocks<const BLOCKS: usize>(&self, at: usize) -> &[Block<PARTS>; BLOCKS] {
        &self.x.as_chunks::<BLOCKS>().0[at]
    }
}

impl<const PARTS: usize> Vector<PARTS> {
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn new(group_size: usize, x: &[f32]) -> Self {
        if is_bytes(PARTS) {
            Self::rounded(group_size, x)
        } else {
            Self::in_order(group_size, x)
        }
    }

    #[target_feature(enable = "avx512f")]
    fn in_order(group_size: usize, x: &[f32]) -> Self {
        let mut vector = Self::zeros(group_size, x.len());
        for (x, out) in x.chunks(numbers(PARTS)).zip(&mut vector.x) {
            let mut ordered = [[0.0; WORDS]; PARTS];
            ordered.as_flattened_mut()[..x.len()].copy_from_slice(x);
            let mut registers = [_mm512_setzero_ps(); PARTS];
            for (register, numbers) in registers.iter_mut().zip(ordered) {
                *register = cast(numbers);
            }
            // Each time the even numbers come to the front, and a bit of the place in a word to the top of the index.
            for _ in 0..PARTS.trailing_zeros() {
                registers = even_first(registers);
            }
            for (out, register) in out.0.iter_mut().zip(registers) {
                *out = cast(register);
            }
        }
        for (group, x) in x.chunks_exact(group_size).enumerate() {
            vector.groups[group / GROUPS].sums[group % GROUPS] = sum(x);
        }
        vector
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn rounded(group_size: usize, x: &[f32]) -> Self {
        let mut vector = Self::zeros(group_size, x.len());
        let middle = (1 << (bits(PARTS) - 1)) as f32;
        // A group may be as long as two registers of words.
        let mut rounded = vec![[[0_u8; 4 * WORDS]; PARTS]; vector.x.len()];
        let bytes = rounded.as_flattened_mut().as_flattened_mut();
        let pieces = x
            .chunks_exact(group_size)
            .zip(bytes.chunks_exact_mut(group_size));
        for (group, (x, bytes)) in pieces.enumerate() {
            let (step, sum, rest) = round(x, bytes);
            let (groups, at) = (&mut vector.groups[group / GROUPS], group % GROUPS);
            groups.steps[at] = step;
            groups.sums[at] = sum;
            groups.rests[at] = middle * rest;
        }
        for (bytes, out) in rounded.iter().zip(&mut vector.x) {
            for (out, bytes) in out.0.iter_mut().zip(bytes) {
                *out = cast(*bytes);
            }
            if PARTS == 2 {
                let (first, second): (__m512i, __m512i) = (cast(bytes[0]), cast(bytes[1]));
                let even = [_mm512_cvtepi16_epi8(first), _mm512_cvtepi16_epi8(second)];
                let odd = [
                    _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(first)),
                    _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(second)),
                ];
                (out.0[0], out.0[1]) = (cast(even), cast(odd));
            }
        }
        vector
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn even_first<const PARTS: usize>(registers: [__m512; PARTS]) -> [__m512; PARTS] {
    const EVEN: [u32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
    const ODD: [u32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
    let mut sorted = registers;
    for i in 0..PARTS / 2 {
        let [a, b] = [registers[2 * i], registers[2 * i + 1]];
        sorted[i] = _mm512_permutex2var_ps(a, cast(EVEN), b);
        sorted[PARTS / 2 + i] = _mm512_permutex2var_ps(a, cast(ODD), b);
    }
    sorted
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum(x: &[f32]) -> f32 {
    let mut sum = _mm512_setzero_ps();
    for x in x.as_chunks::<16>().0 {
        sum = _mm512_add_ps(sum, cast(*x));
    }
    _mm512_reduce_add_ps(sum)
}

/// Rounds a group to multiples of a step; returns the step, the sum, and the sum of what was lost.
#[inline]
#[target_feature(enable = "avx512f")]
fn round(x: &[f32], out: &mut [u8]) -> (f32, f32, f32) {
    let sum = sum(x);
    let (x, out) = (x.as_chunks::<16>().0, out.as_chunks_mut::<16>().0);
    let (mut largest, mut unknown) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    for x in x {
        let x: __m512 = cast(*x);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
        // Zero times what is not finite is not a number.
        unknown = _mm512_fmadd_ps(x, _mm512_setzero_ps(), unknown);
    }
    let largest = _mm512_reduce_max_ps(largest);
    if _mm512_reduce_add_ps(unknown).is_nan() {
        return (f32::NAN, sum, 0.0);
    }
    if largest == 0.0 {
        return (0.0, 0.0, 0.0);
    }
    let step = largest / 127.0;
    let (divisor, factor) = (_mm512_set1_ps(largest), _mm512_set1_ps(127.0));
    let mut rest = _mm512_setzero_ps();
    for (out, x) in out.iter_mut().zip(x) {
        let x: __m512 = cast(*x);
        // Dividing and then multiplying keeps the smallest and the largest numbers from leaving the range on the way.
        let q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_div_ps(x, divisor), factor));
        *out = cast(_mm512_cvtepi32_epi8(q));
        let lost = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(step), x);
        rest = _mm512_add_ps(rest, lost);
    }
    (step, sum, _mm512_reduce_add_ps(rest))
}
