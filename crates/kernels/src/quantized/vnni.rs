//! 4-bit rows times vectors of bytes, with the instruction that adds four products of bytes to a lane (AVX-512 VNNI).
//!
//! A register of words gives two of bytes, the even numbers and the odd ones, so vectors are kept in that order. The sum of
//! a lane is of one group: it becomes `f32` and meets `scale * step`. About nine instructions for 128 numbers. Limit: the
//! bandwidth of the third cache or of memory.

#![expect(
    unsafe_code,
    reason = "what needs instructions is called after asking for them"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_abs_ps, _mm512_add_ps, _mm512_and_si512, _mm512_cvtepi16_epi8,
    _mm512_cvtepi32_epi8, _mm512_cvtepi32_ps, _mm512_cvtps_epi32, _mm512_div_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_max_ps, _mm512_mul_ps,
    _mm512_permutexvar_ps, _mm512_reduce_add_ps, _mm512_reduce_max_ps, _mm512_set1_epi8,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16, _mm512_srli_epi32,
};

use pulp::bytemuck::cast;

use super::Quantized;
use super::rows::{self, Rows};
use super::wide::{
    AT_ONCE, GROUPS, NUMBERS, Run, WORDS, ahead, has_byte_products, part_of_numbers, part_of_words,
    places, register,
};
use crate::element::Element;

/// Whether it was done: for 4 bits, if the processor has the instruction. Lengths are checked, nothing is empty.
pub(super) fn multiply<S: Element>(matrix: Quantized<S>, x: &[f32], out: &mut [f32]) -> bool {
    if matrix.bits != 4 || !has_byte_products() {
        return false;
    }
    let columns = matrix.shape.columns;
    let vectors: Vec<Rounded> = x
        .chunks_exact(columns)
        // SAFETY: the processor has these instructions.
        .map(|x| unsafe { Rounded::new(matrix.group_size, x) })
        .collect();
    let each = 0.012 * vectors.len() as f64;
    let nanoseconds = each * (matrix.shape.rows * columns) as f64;
    rows::each(matrix, vectors.len(), nanoseconds, out, |rows| {
        // SAFETY: the processor has these instructions.
        unsafe {
            match rows.group_size {
                32 => fill::<32, 4>(rows, &vectors),
                64 => fill::<64, 8>(rows, &vectors),
                _ => fill::<128, 16>(rows, &vectors),
            }
        }
    });
    true
}

/// A vector rounded to bytes.
struct Rounded {
    /// For each 128 numbers the even ones, and then the odd ones; zeros fill the last.
    x: Vec<[[u32; WORDS]; 2]>,
    /// The step of each group, and zeros up to a whole register; so also below.
    steps: Vec<f32>,
    /// The sum of each group, for its bias.
    sums: Vec<f32>,
    /// `8 * sum(x - step * q)` of each group, for its scale.
    rests: Vec<f32>,
}

impl Rounded {
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(group_size: usize, x: &[f32]) -> Self {
        let groups = (x.len() / group_size).next_multiple_of(GROUPS);
        let mut rounded = Self {
            x: vec![[[0; WORDS]; 2]; x.len().div_ceil(NUMBERS)],
            steps: vec![0.0; groups],
            sums: vec![0.0; groups],
            rests: vec![0.0; groups],
        };
        let numbers = x.chunks(NUMBERS);
        let per_block = NUMBERS / group_size;
        for ((i, x), out) in numbers.enumerate().zip(&mut rounded.x) {
            let mut bytes = [0_u8; NUMBERS];
            let groups = x
                .chunks_exact(group_size)
                .zip(bytes.chunks_exact_mut(group_size));
            for (group, (x, bytes)) in groups.enumerate() {
                let group = i * per_block + group;
                let (step, sum, rest) = round(x, bytes);
                rounded.steps[group] = step;
                rounded.sums[group] = sum;
                rounded.rests[group] = 8.0 * rest;
            }
            let [first, second]: [__m512i; 2] = cast(bytes);
            let even = [_mm512_cvtepi16_epi8(first), _mm512_cvtepi16_epi8(second)];
            let odd = [
                _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(first)),
                _mm512_cvtepi16_epi8(_mm512_srli_epi16::<8>(second)),
            ];
            *out = cast([even, odd]);
        }
        rounded
    }
}

/// Rounds a group to multiples of a step; returns the step, the sum, and the sum of what was lost.
#[inline]
#[target_feature(enable = "avx512f")]
fn round(x: &[f32], out: &mut [u8]) -> (f32, f32, f32) {
    let (x, out) = (x.as_chunks::<16>().0, out.as_chunks_mut::<16>().0);
    let (mut largest, mut sum) = (_mm512_setzero_ps(), _mm512_setzero_ps());
    let mut unknown = _mm512_setzero_ps();
    for x in x {
        let x: __m512 = cast(*x);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
        sum = _mm512_add_ps(sum, x);
        // Zero times what is not finite is not a number.
        unknown = _mm512_fmadd_ps(x, _mm512_setzero_ps(), unknown);
    }
    let (largest, sum) = (_mm512_reduce_max_ps(largest), _mm512_reduce_add_ps(sum));
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

#[target_feature(enable = "avx512f,avx512vnni")]
fn fill<const GROUP: usize, const BLOCKS: usize>(rows: Rows<'_>, vectors: &[Rounded]) {
    let (count, n_vectors) = (rows.count(), vectors.len());
    for first in (0..count / AT_ONCE * AT_ONCE).step_by(AT_ONCE) {
        let run = rows.run::<AT_ONCE>(first);
        for (v, vector) in vectors.iter().enumerate() {
            let sums = products::<GROUP, BLOCKS, AT_ONCE>(&run, vector);
            for i in 0..AT_ONCE {
                rows.results[(first + i) * n_vectors + v] = sums[i];
            }
        }
    }
    for row in count / AT_ONCE * AT_ONCE..count {
        let run = rows.run::<1>(row);
        for (v, vector) in vectors.iter().enumerate() {
            rows.results[row * n_vectors + v] = products::<GROUP, BLOCKS, 1>(&run, vector)[0];
        }
    }
}

/// `N` rows times a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products<const GROUP: usize, const BLOCKS: usize, const N: usize>(
    run: &Run<'_, N>,
    vector: &Rounded,
) -> [f32; N] {
    let places = places::<GROUP, BLOCKS>();
    let mut totals = [_mm512_setzero_ps(); N];
    let mut others = [_mm512_setzero_ps(); N];
    let words = run.weights[0].len();
    let (x, x_rest) = vector.x.as_chunks::<BLOCKS>();
    let steps = vector.steps.as_chunks::<GROUPS>().0;
    let sums = vector.sums.as_chunks::<GROUPS>().0;
    let rests = vector.rests.as_chunks::<GROUPS>().0;
    let whole = words / (WORDS * BLOCKS);
    for (at, (((x, steps), sums), rests)) in x
        .iter()
        .zip(steps)
        .zip(sums)
        .zip(rests)
        .take(whole)
        .enumerate()
    {
        for i in 0..N {
            let (Some(weights), Some(scales), Some(biases)) = (
                run.weights[i]
                    .as_chunks::<WORDS>()
                    .0
                    .as_chunks::<BLOCKS>()
                    .0
                    .get(at),
                run.scales[i].as_chunks::<GROUPS>().0.get(at),
                run.biases[i].as_chunks::<GROUPS>().0.get(at),
            ) else {
                continue;
            };
            let (scale, bias): (__m512, __m512) = (cast(*scales), cast(*biases));
            let factor = _mm512_mul_ps(scale, cast(*steps));
            others[i] = _mm512_fmadd_ps(scale, cast(*rests), others[i]);
            others[i] = _mm512_fmadd_ps(bias, cast(*sums), others[i]);
            for block in 0..BLOCKS {
                ahead(&weights[block], N * words);
                let sum = dot(register(&weights[block]), &x[block]);
                let factor = _mm512_permutexvar_ps(cast(places[block]), factor);
                totals[i] = _mm512_fmadd_ps(sum, factor, totals[i]);
            }
        }
    }
    let (first_word, first_group) = (whole * WORDS * BLOCKS, whole * GROUPS);
    if first_word < words {
        for i in 0..N {
            let scale = part_of_numbers(&run.scales[i][first_group..]);
            let bias = part_of_numbers(&run.biases[i][first_group..]);
            let factor = _mm512_mul_ps(scale, cast(steps[whole]));
            others[i] = _mm512_fmadd_ps(scale, cast(rests[whole]), others[i]);
            others[i] = _mm512_fmadd_ps(bias, cast(sums[whole]), others[i]);
            let blocks = run.weights[i][first_word..].chunks(WORDS).zip(x_rest);
            for ((words, x), places) in blocks.zip(places) {
                let sum = dot(part_of_words(words), x);
                let factor = _mm512_permutexvar_ps(cast(places), factor);
                totals[i] = _mm512_fmadd_ps(sum, factor, totals[i]);
            }
        }
    }
    let mut results = [0.0; N];
    for i in 0..N {
        results[i] = _mm512_reduce_add_ps(_mm512_add_ps(totals[i], others[i]));
    }
    results
}

/// `sum(number * q)` of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot(words: __m512i, x: &[[u32; WORDS]; 2]) -> __m512 {
    let low = _mm512_set1_epi8(0x0f);
    let even = _mm512_and_si512(words, low);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<4>(words), low);
    let sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), even, register(&x[0]));
    _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(sum, odd, register(&x[1])))
}
