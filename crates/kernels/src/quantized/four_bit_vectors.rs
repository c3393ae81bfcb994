//! Vectors in the order in which a register of 16 words with 4-bit numbers is taken apart, rounded to bytes or not.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_abs_ps, _mm512_add_ps, _mm512_cvtepi16_epi8, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_max_ps, _mm512_mul_ps, _mm512_permutex2var_ps, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_srli_epi16,
};

use pulp::bytemuck::cast;

use super::wide::{GROUPS, NUMBERS, WORDS};

/// Registers for the numbers of a register of words: as bytes, and as `f32`.
pub(super) const BYTES: usize = 2;
pub(super) const SINGLES: usize = 8;

/// A vector; zeros fill the last register.
pub(super) struct Vector<const PARTS: usize> {
    /// For each 128 numbers the even ones and then the odd ones, as bytes; or the first of each word, the second, ...
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
    /// `8 * sum(x - step * q)`, for scales.
    pub(super) rests: [f32; GROUPS],
}

impl<const PARTS: usize> Vector<PARTS> {
    fn zeros(group_size: usize, columns: usize) -> Self {
        Self {
            x: vec![Block([[0; WORDS]; PARTS]); columns.div_ceil(NUMBERS)],
            groups: vec![Groups::default(); (columns / group_size).div_ceil(GROUPS)],
        }
    }

    /// The registers of the 16 groups from `16 * at` on, which are there.
    #[inline(always)]
    pub(super) fn blocks<const BLOCKS: usize>(&self, at: usize) -> &[Block<PARTS>; BLOCKS] {
        &self.x.as_chunks::<BLOCKS>().0[at]
    }
}

impl Vector<SINGLES> {
    #[target_feature(enable = "avx512f")]
    pub(super) fn in_order(group_size: usize, x: &[f32]) -> Self {
        let mut vector = Self::zeros(group_size, x.len());
        for (x, out) in x.chunks(NUMBERS).zip(&mut vector.x) {
            let mut numbers = [0.0; NUMBERS];
            numbers[..x.len()].copy_from_slice(x);
            // Each time the even numbers come to the front, and a bit of the place in a word to the top of the index.
            let mut registers: [__m512; SINGLES] = cast(numbers);
            for _ in 0..3 {
                registers = even_first(registers);
            }
            out.0 = cast(registers);
        }
        for (group, x) in x.chunks_exact(group_size).enumerate() {
            vector.groups[group / GROUPS].sums[group % GROUPS] = sum(x);
        }
        vector
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn even_first(registers: [__m512; SINGLES]) -> [__m512; SINGLES] {
    const EVEN: [u32; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30];
    const ODD: [u32; 16] = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31];
    let mut sorted = registers;
    for i in 0..SINGLES / 2 {
        let [a, b] = [registers[2 * i], registers[2 * i + 1]];
        sorted[i] = _mm512_permutex2var_ps(a, cast(EVEN), b);
        sorted[SINGLES / 2 + i] = _mm512_permutex2var_ps(a, cast(ODD), b);
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

impl Vector<BYTES> {
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn rounded(group_size: usize, x: &[f32]) -> Self {
        let mut vector = Self::zeros(group_size, x.len());
        let mut group = 0;
        for (x, out) in x.chunks(NUMBERS).zip(&mut vector.x) {
            let mut bytes = [0_u8; NUMBERS];
            for (x, bytes) in x
                .chunks_exact(group_size)
                .zip(bytes.chunks_exact_mut(group_size))
            {
                let (step, sum, rest) = round(x, bytes);
                let (groups, at) = (&mut vector.groups[group / GROUPS], group % GROUPS);
                groups.steps[at] = step;
                groups.sums[at] = sum;
                groups.rests[at] = 8.0 * rest;
                group += 1;
            }
            let [first, second]: [__m512i; 2] = cast(bytes);
            let even = [_mm512_cvtepi16_epi8(first), _mm512_cvtepi16_epi8(second)];
            let odd = [
                _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(first)),
                _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(second)),
            ];
            out.0 = cast([even, odd]);
        }
        vector
    }
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
