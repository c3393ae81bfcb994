//! Few vectors and rows of 4 bits in registers of 512 bits, for vectors in `f32` and for vectors rounded to bytes.
//!
//! - Vectors of bytes: a register of words gives two of bytes, the even numbers and the odd ones, and the instruction that
//!   adds four products to a lane (AVX-512 VNNI) takes both. About nine instructions for 128 numbers.
//!   Limit: the bandwidth of the third cache or of memory.
//! - Vectors in `f32`: a number is cut out of its word and set into the bits of a float of the exponent for which it reads
//!   as a power of two and itself, in one instruction; one more takes the power off. About 27 instructions for 128 numbers.
//!   Limit: these instructions, at about 12 cycles for 64 bytes.
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

use super::Quantized;
use super::four_bit_vectors::{BYTES, Block, SINGLES, Vector};
use super::rows::{self, Rows};
use super::wide::{
    GROUPS, Run, WORDS, ahead, has_instructions, part_of_numbers, part_of_words, places, register,
};
use crate::element::Element;

/// Rows that one vector meets at once.
const ROWS: usize = 2;
/// Vectors that a number meets at once, and rows that such vectors meet while 16 groups of them are in the first cache.
const VECTORS: usize = 4;
const ROWS_OF_MANY: usize = 4;

/// Computes with vectors as they are, and says whether: for 4 bits, if the processor has the instructions.
///
/// Lengths are checked, nothing is empty.
pub(super) fn multiply<S: Element>(matrix: Quantized<S>, x: &[f32], out: &mut [f32]) -> bool {
    // SAFETY: it is called when the processor has been asked.
    let prepare = |x: &[f32]| unsafe { Vector::in_order(matrix.group_size, x) };
    run::<S, SINGLES>(matrix, x, 0.045, out, prepare)
}

/// The same with vectors rounded to bytes.
pub(super) fn multiply_bytes<S: Element>(matrix: Quantized<S>, x: &[f32], out: &mut [f32]) -> bool {
    // SAFETY: it is called when the processor has been asked.
    let prepare = |x: &[f32]| unsafe { Vector::rounded(matrix.group_size, x) };
    run::<S, BYTES>(matrix, x, 0.016, out, prepare)
}

fn run<S: Element, const PARTS: usize>(
    matrix: Quantized<S>,
    x: &[f32],
    nanoseconds: f64,
    out: &mut [f32],
    prepare: impl Fn(&[f32]) -> Vector<PARTS>,
) -> bool {
    if matrix.bits != 4 || !has_instructions() {
        return false;
    }
    let columns = matrix.shape.columns;
    let vectors: Vec<_> = x.chunks_exact(columns).map(prepare).collect();
    let numbers = (matrix.shape.rows * columns * vectors.len()) as f64;
    rows::each(matrix, vectors.len(), nanoseconds * numbers, out, |rows| {
        // SAFETY: the processor has been asked.
        unsafe {
            match rows.group_size {
                32 => fill::<32, 4, PARTS>(rows, &vectors),
                64 => fill::<64, 8, PARTS>(rows, &vectors),
                _ => fill::<128, 16, PARTS>(rows, &vectors),
            }
        }
    });
    true
}

/// `BLOCKS` registers of words have 16 groups of `GROUP` numbers.
#[target_feature(enable = "avx512f,avx512vnni")]
fn fill<const GROUP: usize, const BLOCKS: usize, const PARTS: usize>(
    mut rows: Rows<'_>,
    vectors: &[Vector<PARTS>],
) {
    let count = rows.count();
    if let [vector] = vectors {
        let pairs = count / ROWS * ROWS;
        for first in (0..pairs).step_by(ROWS) {
            let run = rows.run::<ROWS>(first);
            let sums = products::<GROUP, BLOCKS, PARTS, ROWS, 1>(&run, [vector]);
            for i in 0..ROWS {
                rows.results[first + i] = sums[i][0];
            }
        }
        for row in pairs..count {
            let run = rows.run::<1>(row);
            rows.results[row] = products::<GROUP, BLOCKS, PARTS, 1, 1>(&run, [vector])[0][0];
        }
        return;
    }
    let fours = count / ROWS_OF_MANY * ROWS_OF_MANY;
    for first in (0..fours).step_by(ROWS_OF_MANY) {
        some::<GROUP, BLOCKS, PARTS, ROWS_OF_MANY>(&mut rows, first, vectors);
    }
    for row in fours..count {
        some::<GROUP, BLOCKS, PARTS, 1>(&mut rows, row, vectors);
    }
}

/// `N` rows from `first` on times all vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn some<const GROUP: usize, const BLOCKS: usize, const PARTS: usize, const N: usize>(
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
        let sums = products::<GROUP, BLOCKS, PARTS, N, VECTORS>(&run, x);
        for (sums, results) in sums.iter().zip(results.chunks_exact_mut(vectors.len())) {
            let results = &mut results[at * VECTORS..][..some.len()];
            results.copy_from_slice(&sums[..some.len()]);
        }
    }
}

/// `N` rows times `V` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn products<
    const GROUP: usize,
    const BLOCKS: usize,
    const PARTS: usize,
    const N: usize,
    const V: usize,
>(
    run: &Run<'_, N>,
    vectors: [&Vector<PARTS>; V],
) -> [[f32; V]; N] {
    let places = places::<GROUP, BLOCKS>();
    let mut totals = [[_mm512_setzero_ps(); V]; N];
    let words = run.weights[0].len();
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
                ahead(&weights[block], N * words);
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
            let rest = run.weights[i][first_word..].chunks(WORDS);
            for ((block, words), places) in rest.enumerate().zip(places) {
                let numbers = numbers::<PARTS>(part_of_words(words));
                for v in 0..V {
                    let factor = _mm512_permutexvar_ps(cast(places), factors[v]);
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

/// The numbers of each word: the even ones as bytes and then the odd ones, or each as `f32`.
#[inline]
#[target_feature(enable = "avx512f")]
fn numbers<const PARTS: usize>(words: __m512i) -> [__m512i; PARTS] {
    let mut numbers = [words; PARTS];
    if PARTS == BYTES {
        let low = _mm512_set1_epi8(0x0f);
        numbers[0] = _mm512_and_si512(words, low);
        numbers[1] = _mm512_and_si512(_mm512_srli_epi32::<4>(words), low);
        return numbers;
    }
    let last = _mm512_srli_epi32::<12>(words);
    for place in 0..PARTS {
        // Fractions have 23 bits: the last three numbers are brought down to where others were.
        let (words, bit) = if place < 5 {
            (words, 4 * place)
        } else {
            (last, 4 * place - 12)
        };
        let mask = _mm512_set1_epi32(0xf << bit);
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
    if PARTS == BYTES {
        let sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), numbers[0], register(&x.0[0]));
        return _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(sum, numbers[1], register(&x.0[1])));
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
        if PARTS != BYTES {
            return (scale, total);
        }
        let total = _mm512_fmadd_ps(scale, cast(groups.rests), total);
        (_mm512_mul_ps(scale, cast(groups.steps)), total)
    }
}
