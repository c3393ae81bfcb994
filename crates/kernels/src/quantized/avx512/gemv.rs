//! A few vectors times rows of 4 or 8 bits with AVX-512 VNNI, for activations in `f32` or rounded to bytes.
//!
//! - Bytes: a register of 4-bit words gives two of bytes, the even numbers and the odd ones, and one of 8-bit words is
//!   bytes; VNNI's `vpdpbusd`, which adds four products to a lane, takes them. About nine instructions for 128 numbers of 4
//!   bits. Limit: the bandwidth of the L3 cache or of memory.
//! - `f32`: a number is masked out of its word and or-ed into the mantissa of a power of two, in one instruction; one more
//!   subtracts the power. About 27 instructions for 128 numbers of 4 bits, and 16 for 64 of 8 bits. Limit: these
//!   instructions, at about 12 and 8 cycles for 64 bytes.
//!
//! Each lane's sum is of one group, and is multiplied with that group's scale. Decision 26 has the measurements.

#![expect(
    unsafe_code,
    reason = "functions that need instructions are called after checking for them"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "iterators over several arrays of registers may be compiled without the instructions"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps, _mm512_permutexvar_ps,
    _mm512_reduce_add_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_srli_epi32, _mm512_sub_ps, _mm512_ternarylogic_epi32,
};

use pulp::bytemuck::cast;

use super::activations::{PackedBlock, PackedVector, bits, is_i8};
use super::registers::{
    GROUPS, RowBlock, WORDS, as_register, group_indices, has_avx512_vnni, load_f32s, load_words,
    prefetch_distance,
};
use crate::element::Element;
use crate::quantized::Quantized;
use crate::quantized::rows::{RowChunk, for_each_chunk};
use crate::simd::prefetch;

/// Rows that one vector is multiplied with at once.
const ROWS: usize = 2;
/// Vectors that a number is multiplied with at once, and rows that are multiplied with those while 16 groups of them are in
/// the L1 cache.
const VECTORS: usize = 4;
const ROWS_OF_MANY: usize = 4;

/// What a row is multiplied with.
#[derive(Clone, Copy)]
pub(in crate::quantized) enum ActivationType {
    F32,
    /// Rounded to bytes.
    I8,
}

/// Multiplies and returns whether it did: for 4 and 8 bits, if the processor has the instructions. Lengths are checked,
/// nothing is empty.
pub(in crate::quantized) fn gemv<S: Element>(
    matrix: Quantized<S>,
    x: &[f32],
    activations: ActivationType,
    out: &mut [f32],
) -> bool {
    if !has_avx512_vnni() {
        return false;
    }
    match (matrix.bits, activations) {
        (4, ActivationType::F32) => gemv_checked::<S, 8>(matrix, x, 0.045, out),
        (8, ActivationType::F32) => gemv_checked::<S, 4>(matrix, x, 0.05, out),
        (4, ActivationType::I8) => gemv_checked::<S, 2>(matrix, x, 0.016, out),
        (8, ActivationType::I8) => gemv_checked::<S, 1>(matrix, x, 0.02, out),
        _ => return false,
    }
    true
}

/// Multiplies, after the check for the instructions.
fn gemv_checked<S: Element, const PARTS: usize>(
    matrix: Quantized<S>,
    x: &[f32],
    nanoseconds: f64,
    out: &mut [f32],
) {
    let columns = matrix.shape.columns;
    let mut vectors = Vec::with_capacity(x.len() / columns);
    for x in x.chunks_exact(columns) {
        // SAFETY: the caller has checked that the processor has AVX-512.
        vectors.push(unsafe { PackedVector::<PARTS>::new(matrix.group_size, x) });
    }
    let nanoseconds = nanoseconds * (matrix.shape.rows * columns * vectors.len()) as f64;
    for_each_chunk(matrix, vectors.len(), nanoseconds, out, |rows| {
        // SAFETY: the caller has checked that the processor has AVX-512 and VNNI.
        unsafe {
            match (bits(PARTS), rows.group_size) {
                (4, 32) => gemv_rows::<4, PARTS>(rows, &vectors),
                (4, 64) => gemv_rows::<8, PARTS>(rows, &vectors),
                (4, _) => gemv_rows::<16, PARTS>(rows, &vectors),
                (_, 32) => gemv_rows::<8, PARTS>(rows, &vectors),
                (_, 64) => gemv_rows::<16, PARTS>(rows, &vectors),
                (..) => gemv_rows::<32, PARTS>(rows, &vectors),
            }
        }
    });
}

/// All rows times all vectors. `BLOCKS` registers of words hold 16 groups.
#[target_feature(enable = "avx512f,avx512vnni")]
fn gemv_rows<const BLOCKS: usize, const PARTS: usize>(
    mut rows: RowChunk<'_>,
    vectors: &[PackedVector<PARTS>],
) {
    let count = rows.count();
    if let [vector] = vectors {
        let pairs = count / ROWS * ROWS;
        for first in (0..pairs).step_by(ROWS) {
            let block = rows.row_block::<ROWS>(first);
            let sums = dot_rows::<BLOCKS, PARTS, ROWS, 1>(&block, [vector]);
            for i in 0..ROWS {
                rows.results[first + i] = sums[i][0];
            }
        }
        for row in pairs..count {
            let block = rows.row_block::<1>(row);
            rows.results[row] = dot_rows::<BLOCKS, PARTS, 1, 1>(&block, [vector])[0][0];
        }
        return;
    }
    let fours = count / ROWS_OF_MANY * ROWS_OF_MANY;
    for first in (0..fours).step_by(ROWS_OF_MANY) {
        gemv_row_block::<BLOCKS, PARTS, ROWS_OF_MANY>(&mut rows, first, vectors);
    }
    for row in fours..count {
        gemv_row_block::<BLOCKS, PARTS, 1>(&mut rows, row, vectors);
    }
}

/// Rows `first..first + N` times all vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn gemv_row_block<const BLOCKS: usize, const PARTS: usize, const N: usize>(
    rows: &mut RowChunk<'_>,
    first: usize,
    vectors: &[PackedVector<PARTS>],
) {
    let block = rows.row_block::<N>(first);
    let results = &mut rows.results[first * vectors.len()..][..N * vectors.len()];
    for (at, some) in vectors.chunks(VECTORS).enumerate() {
        // Missing vectors repeat the first: their sums are dropped.
        let mut x = [&some[0]; VECTORS];
        for (x, vector) in x.iter_mut().zip(some) {
            *x = vector;
        }
        let sums = dot_rows::<BLOCKS, PARTS, N, VECTORS>(&block, x);
        for (sums, results) in sums.iter().zip(results.chunks_exact_mut(vectors.len())) {
            let results = &mut results[at * VECTORS..][..some.len()];
            results.copy_from_slice(&sums[..some.len()]);
        }
    }
}

/// `N` rows times `V` vectors.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_rows<const BLOCKS: usize, const PARTS: usize, const N: usize, const V: usize>(
    rows: &RowBlock<'_, N>,
    vectors: [&PackedVector<PARTS>; V],
) -> [[f32; V]; N] {
    // In static memory, and not on the stack of each call.
    let lanes = const { &group_indices::<BLOCKS>() };
    let mut totals = [[_mm512_setzero_ps(); V]; N];
    let words = rows.weights[0].len();
    let distance = prefetch_distance(N * words);
    let whole = words / (WORDS * BLOCKS);
    for at in 0..whole {
        for i in 0..N {
            let (weights, scales, biases) = rows.groups_at::<BLOCKS>(i, at);
            let (scale, bias): (__m512, __m512) = (cast(*scales), cast(*biases));
            let mut factors = [scale; V];
            let mut x = [vectors[0].blocks::<BLOCKS>(at); V];
            for v in 0..V {
                x[v] = vectors[v].blocks::<BLOCKS>(at);
                (factors[v], totals[i][v]) = vectors[v].apply_scale(at, scale, bias, totals[i][v]);
            }
            for block in 0..BLOCKS {
                prefetch(&weights[block], distance);
                let numbers = unpack::<PARTS>(as_register(&weights[block]));
                for v in 0..V {
                    let factor = _mm512_permutexvar_ps(cast(lanes[block]), factors[v]);
                    let sum = dot(numbers, &x[v][block]);
                    totals[i][v] = _mm512_fmadd_ps(sum, factor, totals[i][v]);
                }
            }
        }
    }
    if whole * WORDS * BLOCKS < words {
        for i in 0..N {
            totals[i] = dot_rest::<BLOCKS, PARTS, N, V>(rows, i, vectors, totals[i]);
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

/// Adds the groups of row `i` after the last 16 whole ones.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot_rest<const BLOCKS: usize, const PARTS: usize, const N: usize, const V: usize>(
    rows: &RowBlock<'_, N>,
    i: usize,
    vectors: [&PackedVector<PARTS>; V],
    mut totals: [__m512; V],
) -> [__m512; V] {
    let lanes = const { &group_indices::<BLOCKS>() };
    let words = rows.weights[i].len();
    let distance = prefetch_distance(N * words);
    let whole = words / (WORDS * BLOCKS);
    let scale = load_f32s(&rows.scales[i][whole * GROUPS..]);
    let bias = load_f32s(&rows.biases[i][whole * GROUPS..]);
    let mut factors = [scale; V];
    for v in 0..V {
        (factors[v], totals[v]) = vectors[v].apply_scale(whole, scale, bias, totals[v]);
    }
    let (registers, last) = rows.weights[i][whole * WORDS * BLOCKS..].as_chunks::<WORDS>();
    let partial = usize::from(!last.is_empty());
    for block in 0..registers.len() + partial {
        let words = match registers.get(block) {
            Some(words) => {
                prefetch(words, distance);
                as_register(words)
            }
            None => load_words(last),
        };
        let numbers = unpack::<PARTS>(words);
        for v in 0..V {
            let factor = _mm512_permutexvar_ps(cast(lanes[block]), factors[v]);
            let sum = dot(numbers, &vectors[v].x[whole * BLOCKS + block]);
            totals[v] = _mm512_fmadd_ps(sum, factor, totals[v]);
        }
    }
    totals
}

/// The numbers of each word: as bytes, those of 4 bits at even positions and then at odd ones; or each as `f32`.
#[inline]
#[target_feature(enable = "avx512f")]
fn unpack<const PARTS: usize>(words: __m512i) -> [__m512i; PARTS] {
    let mut numbers = [words; PARTS];
    if is_i8(PARTS) {
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
    for position in 0..PARTS {
        let bit = position * bits(PARTS);
        // Mantissas have 23 bits: the last numbers are shifted down first.
        let (words, bit) = match bit + bits(PARTS) {
            0..24 => (words, bit),
            _ if PARTS == 8 => (last, bit - 12),
            _ => (last, bit - 16),
        };
        let mask = _mm512_set1_epi32(((1 << bits(PARTS)) - 1) << bit);
        let power = _mm512_set1_epi32((127 + 23 - bit as i32) << 23);
        // `words & mask | power`.
        let sum = _mm512_ternarylogic_epi32::<0xea>(words, mask, power);
        numbers[position] = cast(_mm512_sub_ps(
            _mm512_castsi512_ps(sum),
            _mm512_castsi512_ps(power),
        ));
    }
    numbers
}

/// `sum(number * x)` of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot<const PARTS: usize>(numbers: [__m512i; PARTS], x: &PackedBlock<PARTS>) -> __m512 {
    if is_i8(PARTS) {
        let mut sum = _mm512_setzero_si512();
        for part in 0..PARTS {
            sum = _mm512_dpbusd_epi32(sum, numbers[part], as_register(&x.0[part]));
        }
        return _mm512_cvtepi32_ps(sum);
    }
    // Two sums hide the latency of the addition.
    let mut sums = [_mm512_setzero_ps(); 2];
    for part in 0..PARTS {
        let (number, x): (__m512, __m512) = (cast(numbers[part]), cast(x.0[part]));
        sums[part % 2] = _mm512_fmadd_ps(number, x, sums[part % 2]);
    }
    _mm512_add_ps(sums[0], sums[1])
}

impl<const PARTS: usize> PackedVector<PARTS> {
    /// The factors of 16 groups, and the total with what scales and biases of whole groups add to it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn apply_scale(
        &self,
        at: usize,
        scale: __m512,
        bias: __m512,
        total: __m512,
    ) -> (__m512, __m512) {
        let groups = &self.groups[at];
        let total = _mm512_fmadd_ps(bias, cast(groups.sums), total);
        if !is_i8(PARTS) {
            return (scale, total);
        }
        let total = _mm512_fmadd_ps(scale, cast(groups.residuals), total);
        (_mm512_mul_ps(scale, cast(groups.scales)), total)
    }
}
