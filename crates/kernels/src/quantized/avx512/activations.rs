//! Activations in the order in which a register of 16 words with numbers of 4 or 8 bits is unpacked, in `f32` or rounded to
//! bytes.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_abs_ps, _mm512_add_ps, _mm512_cvtepi16_epi8, _mm512_cvtepi32_epi8,
    _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_max_ps, _mm512_mul_ps, _mm512_permutex2var_ps, _mm512_reduce_add_ps,
    _mm512_reduce_max_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_srli_epi16,
};

use pulp::bytemuck::cast;

use super::registers::{GROUPS, WORDS};

/// The bits of the numbers of a register of words that is unpacked into `parts` registers: one for each number as `f32`,
/// 8 of 4 bits or 4 of 8; one for four numbers as bytes, 2 or 1.
pub(super) const fn bits(parts: usize) -> usize {
    if matches!(parts, 8 | 2) { 4 } else { 8 }
}

/// Whether these are registers of bytes.
pub(super) const fn is_i8(parts: usize) -> bool {
    parts <= 2
}

/// How many numbers a register of words holds.
const fn numbers(parts: usize) -> usize {
    WORDS * 32 / bits(parts)
}

/// A vector; the last register is padded with zeros.
pub(super) struct PackedVector<const PARTS: usize> {
    /// For each register of words the first number of each word, then the second, ...; as bytes, the numbers at even
    /// positions of words of 4 bits and then those at odd ones, or all in order.
    pub(super) x: Vec<PackedBlock<PARTS>>,
    pub(super) groups: Vec<GroupStatistics>,
}

/// Numbers in the order in which a register of words is unpacked, aligned to cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct PackedBlock<const PARTS: usize>(pub(super) [[u32; WORDS]; PARTS]);

/// Sums and scales of 16 groups.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct GroupStatistics {
    /// The sums, for biases.
    pub(super) sums: [f32; GROUPS],
    /// The scales of rounded numbers.
    pub(super) scales: [f32; GROUPS],
    /// `middle * sum(x - scale * q)`, for scales.
    pub(super) residuals: [f32; GROUPS],
}

impl<const PARTS: usize> PackedVector<PARTS> {
    fn zeros(group_size: usize, columns: usize) -> Self {
        Self {
            x: vec![PackedBlock([[0; WORDS]; PARTS]); columns.div_ceil(numbers(PARTS))],
            groups: vec![GroupStatistics::default(); (columns / group_size).div_ceil(GROUPS)],
        }
    }

    /// The registers of groups `16 * at..16 * at + 16`, which exist.
    #[inline(always)]
    pub(super) fn blocks<const BLOCKS: usize>(&self, at: usize) -> &[PackedBlock<PARTS>; BLOCKS] {
        &self.x.as_chunks::<BLOCKS>().0[at]
    }
}

impl<const PARTS: usize> PackedVector<PARTS> {
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn new(group_size: usize, x: &[f32]) -> Self {
        if is_i8(PARTS) {
            Self::from_rounded(group_size, x)
        } else {
            Self::from_f32(group_size, x)
        }
    }

    #[target_feature(enable = "avx512f")]
    fn from_f32(group_size: usize, x: &[f32]) -> Self {
        let mut vector = Self::zeros(group_size, x.len());
        for (x, out) in x.chunks(numbers(PARTS)).zip(&mut vector.x) {
            let mut ordered = [[0.0; WORDS]; PARTS];
            ordered.as_flattened_mut()[..x.len()].copy_from_slice(x);
            let mut registers = [_mm512_setzero_ps(); PARTS];
            for (register, numbers) in registers.iter_mut().zip(ordered) {
                *register = cast(numbers);
            }
            // Each step moves even numbers to the front, and with them a bit of the position in a word to the top of the index.
            for _ in 0..PARTS.trailing_zeros() {
                registers = deinterleave(registers);
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
    fn from_rounded(group_size: usize, x: &[f32]) -> Self {
        let mut vector = Self::zeros(group_size, x.len());
        let middle = (1 << (bits(PARTS) - 1)) as f32;
        // A group may span two registers of words.
        let mut rounded = vec![[[0_u8; 4 * WORDS]; PARTS]; vector.x.len()];
        let bytes = rounded.as_flattened_mut().as_flattened_mut();
        let groups = x
            .chunks_exact(group_size)
            .zip(bytes.chunks_exact_mut(group_size));
        for (group, (x, bytes)) in groups.enumerate() {
            let (scale, sum, residual) = quantize_group(x, bytes);
            let (groups, at) = (&mut vector.groups[group / GROUPS], group % GROUPS);
            groups.scales[at] = scale;
            groups.sums[at] = sum;
            groups.residuals[at] = middle * residual;
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
fn deinterleave<const PARTS: usize>(registers: [__m512; PARTS]) -> [__m512; PARTS] {
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

/// Rounds a group to multiples of a scale; returns the scale, the sum, and the sum of the rounding errors.
#[inline]
#[target_feature(enable = "avx512f")]
fn quantize_group(x: &[f32], out: &mut [u8]) -> (f32, f32, f32) {
    let sum = sum(x);
    let (x, out) = (x.as_chunks::<16>().0, out.as_chunks_mut::<16>().0);
    let (mut max, mut not_finite) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    for x in x {
        let x: __m512 = cast(*x);
        max = _mm512_max_ps(max, _mm512_abs_ps(x));
        // Zero times an infinity or NaN is NaN.
        not_finite = _mm512_fmadd_ps(x, _mm512_setzero_ps(), not_finite);
    }
    let max = _mm512_reduce_max_ps(max);
    if _mm512_reduce_add_ps(not_finite).is_nan() {
        return (f32::NAN, sum, 0.0);
    }
    if max == 0.0 {
        return (0.0, 0.0, 0.0);
    }
    let scale = max / 127.0;
    let (divisor, factor) = (_mm512_set1_ps(max), _mm512_set1_ps(127.0));
    let mut residual = _mm512_setzero_ps();
    for (out, x) in out.iter_mut().zip(x) {
        let x: __m512 = cast(*x);
        // Dividing and then multiplying keeps the smallest and the max numbers from leaving the range on the way.
        let q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_div_ps(x, divisor), factor));
        *out = cast(_mm512_cvtepi32_epi8(q));
        let error = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(q), _mm512_set1_ps(scale), x);
        residual = _mm512_add_ps(residual, error);
    }
    (scale, sum, _mm512_reduce_add_ps(residual))
}
