//! Few vectors and rows of 4 or 8 bits in registers of 512 bits, for vectors in `f32` and for vectors rounded to bytes.
//!
//! - Vectors of bytes: a register of 4-bit words gives two of bytes, the even numbers and the odd ones, and one of 8-bit
//!   words is bytes; the instruction that adds four products to a lane (AVX-512 VNNI) takes them. About nine instructions
//!   for 128 numbers of 4 bits. Limit: the bandwidth of the third cache or of memory.
//! - Vectors in `f32`: a number is cut out of its word and set into the bits of a float of the exponent for which it reads
//!   as a power of two and itself, in one instruction; one more takes the power off. About 27 instructions for 128 numbers
//!   of 4 bits, and 16 for 64 of 8 bits. Limit: these instructions, at about 12 and 8 cycles for 64 bytes.
//!
//! A lane's sum is of one group, and meets the scale of that.

#![expect(
    unsafe_code,
    reason = "what needs instructions is called after asking for them"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "iterators of several arrays of registers may be compiled without their instructions"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_permutexvar_ps,
    _mm512_reduce_add_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_srli_epi32, _mm512_sub_ps, _mm512_ternarylogic_epi32,
};

use pulp::bytemuck::cast;

use super::activations::{Block, Vector, bits, is_bytes};
use super::registers::{
    GROUPS, Run, WORDS, has_instructions, part_of_numbers, part_of_words, places,
    prefetch_distance, register,
};
use crate::element::Element;
use crate::quantized::Quantized;
use crate::quantized::rows::{self, Rows};
use crate::simd::prefetch;

/// Rows that one vector meets at once.
const ROWS: usize = 2;
/// Vectors that a number meets at once, and rows that such vectors meet while 16 groups of them are in the first cache.
const VECTORS: usize = 4;
const ROWS_OF_MANY: usize = 4;

/// Computes with vectors as they are, and says whether: for 4 and 8 bits, if the processor has the instructions.
///
/// Lengths are checked, nothing is empty.
pub(in crate::quantized) fn multiply<S: Element>(
    matrix: Quantized<S>,
    x: &[f32],
    out: &mut [f32],
) -> bool {
    if !has_instructions() {
        return false;
    }
    match matrix.bits {
        4 => run::<S, 8>(matrix, x, 0.045, out),
        8 => run::<S, 4>(matrix, x, 0.05, out),
        _ => return false,
    }
    true
}

/// The same with vectors rounded to bytes.
pub(in crate::quantized) fn multiply_bytes<S: Element>(
    matrix: Quantized<S>,
    x: &[f32],
    out: &mut [f32],
) -> bool {
    if !has_instructions() {
        return false;
    }
    match matrix.bits {
        4 => run::<S, 2>(matrix, x, 0.016, out),
        8 => run::<S, 1>(matrix, x, 0.02, out),
        _ => return false,
    }
    true
}

/// Computes, when the processor has been asked for its instructions.
fn run<S: Element, const PARTS: usize>(
    matrix: Quantized<S>,
    x: &[f32],
    nanoseconds: f64,
    out: &mut [f32],
) {
    let columns = matrix.shape.columns;
    let mut vectors = Vec::with_capacity(x.len() / columns);
    for x in x.chunks_exact(columns) {
        // SAFETY: the processor has been asked.
        vectors.push(unsafe { Vector::<PARTS>::new(matrix.group_size, x) });
    }
    let numbers = (matrix.shape.rows * columns * vectors.len()) as f64;
    rows::each(matrix, vectors.len(), nanoseconds * numbers, out, |rows| {
        // SAFETY: the processor has been asked.
        unsafe {
            match (bits(PARTS), rows.group_size) {
                (4, 32) => fill::<4, PARTS>(rows, &vectors),
                (4, 64) => fill::<8, PARTS>(rows, &vectors),
                (4, _) => fill::<16, PARTS>(rows, &vectors),
                (_, 32) => fill::<8, PARTS>(rows, &vectors),
                (_, 64) => fill::<16, PARTS>(rows, &vectors),
                (..) => fill::<32, PARTS>(rows, &vectors),
            }
        }
    });
}

/// `BLOCKS` registers of words have 16 groups.
#[target_feature(enable = "avx512f,avx512vnni")]
fn fill<const BLOCKS: usize, const PARTS: usize>(mut rows: Rows<'_>, vectors: &[Vector<PARTS>]) {
    let count = rows.count();
    if let [vector] = vectors {
        let pairs = count / ROWS * ROWS;
        for first in (0..pairs).step_by(ROWS) {
            let run = rows.run::<ROWS>(first);
            let sums = products::<BLOCKS, PARTS, ROWS, 1>(&run, [vector]);
            for i in 0..ROWS {
                rows.results[first + i] = sums[i][0];
            }
        }
        for row in pairs..count {
            let run = rows.run::<1>(row);
            rows.results[row] = products::<BLOCKS, PARTS, 1, 1>(&run, [vector])[0][0];
        }
        return;
    }
    let fours = count / ROWS_OF_MANY * ROWS_OF_MANY;
    for first in (0..fours).step_by(ROWS_OF_MANY) {
        some::<BLOCKS, PARTS, ROWS_OF_MANY>(&mut rows, first, vectors);
    }
    for row in fours..count {
        some::<BLOCKS, PARTS, 1>(&mut rows, row, vectors);
    }
}

/// `N` rows from `first` on times all vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn some<const BLOCKS: usize, const PARTS: usize, const N: usize>(
    rows: &mut Rows<'_>,
    first: usize,
    vectors: &[Vector<PARTS>],
) {
    let run = rows.run::<N>(first);
    let results = &mut rows.results[first * vectors.len()..][..N * vectors.len()];
    for (at, some) in vectors.chunks(VECTORS).enumerate() {
        // Missing vectors repeat the first: their sums are dropped.
        let mut x = [&some[0]; VECTORS];
        for (x, vector) in x.iter_mut().zip(some) {
            *x = vector;
        }
        let sums = products::<BLOCKS, PARTS, N, VECTORS>(&run, x);
        for (sums, results) in sums.iter().zip(results.chunks_exact_mut(vectors.len())) {
            let results = &mut results[at * VECTORS..][..some.len()];
            results.copy_from_slice(&sums[..some.len()]);
        }
    }
}

/// `N` rows times `V` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products<const BLOCKS: usize, const PARTS: usize, const N: usize, const V: usize>(
    run: &Run<'_, N>,
    vectors: [&Vector<PARTS>; V],
) -> [[f32; V]; N] {
    // In memory, and not on the stack of each call.
    let places = const { &places::<BLOCKS>() };
    let mut totals = [[_mm512_setzero_ps(); V]; N];
    let words = run.weights[0].len();
    let distance = prefetch_distance(N * words);
    let whole = words / (WORDS * BLOCKS);
    for at in 0..whole {
        for i in 0..N {
            let (weights, scales, biases) = run.whole::<BLOCKS>(i, at);
            let (scale, bias): (__m512, __m512) = (cast(*scales), cast(*biases));
            let mut factors = [scale; V];
            let mut x = [vectors[0].blocks::<BLOCKS>(at); V];
            for v in 0..V {
                x[v] = vectors[v].blocks::<BLOCKS>(at);
                (factors[v], totals[i][v]) = vectors[v].meet(at, scale, bias, totals[i][v]);
            }
            for block in 0..BLOCKS {
                prefetch(&weights[block], distance);
                let numbers = numbers::<PARTS>(register(&weights[block]));
                for v in 0..V {
                    let factor = _mm512_permutexvar_ps(cast(places[block]), factors[v]);
                    let sum = dot(numbers, &x[v][block]);
                    totals[i][v] = _mm512_fmadd_ps(sum, factor, totals[i][v]);
                }
            }
        }
    }
    let (first_word, first_group) = (whole * WORDS * BLOCKS, whole * GROUPS);
    if first_word < words {
        for i in 0..N {
            let scale = part_of_numbers(&run.scales[i][first_group..]);
            let bias = part_of_numbers(&run.biases[i][first_group..]);
            let mut factors = [scale; V];
            for v in 0..V {
                (factors[v], totals[i][v]) = vectors[v].meet(whole, scale, bias, totals[i][v]);
            }
            let (registers, last) = run.weights[i][first_word..].as_chunks::<WORDS>();
            for (block, words) in registers.iter().enumerate() {
                prefetch(words, distance);
                let numbers = numbers::<PARTS>(register(words));
                for v in 0..V {
                    let factor = _mm512_permutexvar_ps(cast(places[block]), factors[v]);
                    let sum = dot(numbers, &vectors[v].x[whole * BLOCKS + block]);
                    totals[i][v] = _mm512_fmadd_ps(sum, factor, totals[i][v]);
                }
            }
            if !last.is_empty() {
                let block = registers.len();
                let numbers = numbers::<PARTS>(part_of_words(last));
                for v in 0..V {
                    let factor = _mm512_permutexvar_ps(cast(places[block]), factors[v]);
                    let sum = dot(numbers, &vectors[v].x[whole * BLOCKS + block]);
                    totals[i][v] = _mm512_fmadd_ps(sum, factor, totals[i][v]);
                }
            }
        }
    }
    let mut results = [[0.0; V]; N];
    for i in 0..N {
        for v in 0..V {
            results[i][v] = _mm512_reduce_add_ps(totals[i][v]);
        }
    }
    results
}

/// The numbers of each word: as bytes, those of 4 bits at even places and then at odd ones; or each as `f32`.
#[inline]
#[target_feature(enable = "avx512f")]
fn numbers<const PARTS: usize>(words: __m512i) -> [__m512i; PARTS] {
    let mut numbers = [words; PARTS];
    if is_bytes(PARTS) {
        if PARTS == 2 {
            let low = _mm512_set1_epi8(0x0f);
            numbers[0] = _mm512_and_si512(words, low);
            numbers[1] = _mm512_and_si512(_mm512_srli_epi32::<4>(words), low);
        }
        return numbers;
    }
    let last = if PARTS == 8 {
        _mm512_srli_epi32::<12>(words)
    } else {
        _mm512_srli_epi32::<16>(words)
    };
    for place in 0..PARTS {
        let bit = place * bits(PARTS);
        // Fractions have 23 bits: the last numbers are brought down to where others were.
        let (words, bit) = match bit + bits(PARTS) {
            0..24 => (words, bit),
            _ if PARTS == 8 => (last, bit - 12),
            _ => (last, bit - 16),
        };
        let mask = _mm512_set1_epi32(((1 << bits(PARTS)) - 1) << bit);
        let power = _mm512_set1_epi32((127 + 23 - bit as i32) << 23);
        // `words & mask | power`.
        let sum = _mm512_ternarylogic_epi32::<0xea>(words, mask, power);
        numbers[place] = cast(_mm512_sub_ps(
            _mm512_castsi512_ps(sum),
            _mm512_castsi512_ps(power),
        ));
    }
    numbers
}

/// `sum(number * x)` of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot<const PARTS: usize>(numbers: [__m512i; PARTS], x: &Block<PARTS>) -> __m512 {
    if is_bytes(PARTS) {
        let mut sum = _mm512_setzero_si512();
        for part in 0..PARTS {
            sum = _mm512_dpbusd_epi32(sum, numbers[part], register(&x.0[part]));
        }
        return _mm512_cvtepi32_ps(sum);
    }
    // Two sums hide the latency of the addition.
    let mut sums = [_mm512_setzero_ps(); 2];
    for place in 0..PARTS {
        let (number, x): (__m512, __m512) = (cast(numbers[place]), cast(x.0[place]));
        sums[place % 2] = _mm512_fmadd_ps(number, x, sums[place % 2]);
    }
    _mm512_add_ps(sums[0], sums[1])
}

impl<const PARTS: usize> Vector<PARTS> {
    /// The factors of 16 groups, and the total with what scales and biases add to it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn meet(&self, at: usize, scale: __m512, bias: __m512, total: __m512) -> (__m512, __m512) {
        let groups = &self.groups[at];
        let total = _mm512_fmadd_ps(bias, cast(groups.sums), total);
        if !is_bytes(PARTS) {
            return (scale, total);
        }
        let total = _mm512_fmadd_ps(scale, cast(groups.rests), total);
        (_mm512_mul_ps(scale, cast(groups.steps)), total)
    }
}
