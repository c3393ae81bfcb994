//! A quantized matrix times a few vectors: each number is unpacked once and multiplied with up to four vectors.

use super::Quantized;
use super::layout::{Block, UNITS, for_bits, split_blocks};
use super::rows::{Row, RowChunk, for_each_chunk};
use super::simd_i8::{SimdI8, SimdI8Kernel, dispatch_i8};
use crate::element::Element;

/// Vectors that a number is multiplied with at once.
const VECTORS: usize = 4;

/// A vector in the order in which numbers are unpacked, in `f32` or rounded to 8 bits.
pub(super) trait Activations: Sync + Sized {
    /// Nanoseconds of one number on one thread: to unpack it, and to multiply it with a vector.
    const NANOSECONDS: [f64; 2];

    fn new(bits: usize, group_size: usize, x: &[f32]) -> Self;

    /// Adds `scale * sum(number * x)` of the units of `blocks`, lane by lane; the first one is unit `first_unit`.
    fn dot_blocks<
        S: SimdI8,
        const BITS: usize,
        const WORDS: usize,
        const NUMBERS: usize,
        const PIECES: usize,
        const V: usize,
    >(
        simd: S,
        blocks: &[Block<WORDS>],
        scales: &[f32],
        vectors: [&Self; V],
        first_unit: usize,
        totals: [S::f32s; V],
    ) -> [S::f32s; V];

    /// What biases, and all that is known of whole groups, add to the product with a row.
    fn group_terms(&self, row: &Row<'_>) -> f32;
}

/// Writes `x * transpose(matrix)` to `out`. Lengths are checked, nothing is empty.
pub(super) fn gemv<A: Activations, S: Element>(matrix: Quantized<S>, x: &[f32], out: &mut [f32]) {
    let columns = matrix.shape.columns;
    let vectors: Vec<A> = x
        .chunks_exact(columns)
        .map(|x| A::new(matrix.bits, matrix.group_size, x))
        .collect();
    let [unpack, multiply] = A::NANOSECONDS;
    let each = unpack + multiply * vectors.len() as f64;
    let nanoseconds = each * (matrix.shape.rows * columns) as f64;
    for_each_chunk(matrix, vectors.len(), nanoseconds, out, |rows| {
        dispatch_i8(Gemv {
            rows,
            vectors: &vectors,
        });
    });
}

/// Some rows and all vectors.
struct Gemv<'a, A> {
    rows: RowChunk<'a>,
    vectors: &'a [A],
}

impl<A: Activations> SimdI8Kernel for Gemv<'_, A> {
    #[inline(always)]
    fn run<S: SimdI8>(self, simd: S) {
        #[inline(always)]
        fn run<const BITS: usize, const WORDS: usize, const NUMBERS: usize, const PIECES: usize>(
            simd: impl SimdI8,
            gemv: Gemv<impl Activations>,
        ) {
            gemv.gemv_rows::<_, BITS, WORDS, NUMBERS, PIECES>(simd);
        }
        for_bits!(self.rows.bits, run(simd, self));
    }
}

impl<A: Activations> Gemv<'_, A> {
    #[inline(always)]
    fn gemv_rows<
        S: SimdI8,
        const BITS: usize,
        const WORDS: usize,
        const NUMBERS: usize,
        const PIECES: usize,
    >(
        self,
        simd: S,
    ) {
        let Self { mut rows, vectors } = self;
        for index in 0..rows.count() {
            let row = rows.row(simd, index);
            for first in (0..vectors.len()).step_by(VECTORS) {
                let vectors = &vectors[first..vectors.len().min(first + VECTORS)];
                let mut sums = [0.0; VECTORS];
                if let [vector] = vectors {
                    [sums[0]] = dot_row::<S, A, BITS, WORDS, NUMBERS, PIECES, 1>(
                        simd,
                        row.weights,
                        row.unit_scales,
                        [vector],
                    );
                } else {
                    // Missing vectors repeat the first: their sums are dropped.
                    let all: [&A; VECTORS] =
                        std::array::from_fn(|i| vectors.get(i).unwrap_or(&vectors[0]));
                    sums = dot_row::<S, A, BITS, WORDS, NUMBERS, PIECES, VECTORS>(
                        simd,
                        row.weights,
                        row.unit_scales,
                        all,
                    );
                }
                for (i, vector) in vectors.iter().enumerate() {
                    row.results[first + i] = sums[i] + vector.group_terms(&row);
                }
            }
        }
    }
}

/// `sum over units of scale * sum(number * x)` for each vector.
#[inline(always)]
fn dot_row<
    S: SimdI8,
    A: Activations,
    const BITS: usize,
    const WORDS: usize,
    const NUMBERS: usize,
    const PIECES: usize,
    const V: usize,
>(
    simd: S,
    weights: &[u32],
    scales: &[f32],
    vectors: [&A; V],
) -> [f32; V] {
    let mut totals = [simd.splat_f32s(0.0); V];
    let (whole, last) = split_blocks::<WORDS>(weights);
    totals = A::dot_blocks::<S, BITS, WORDS, NUMBERS, PIECES, V>(
        simd, whole, scales, vectors, 0, totals,
    );
    if let Some(last) = last {
        let first = whole.len() * UNITS;
        let scales = &scales[first..];
        totals = A::dot_blocks::<S, BITS, WORDS, NUMBERS, PIECES, V>(
            simd,
            &[last],
            scales,
            vectors,
            first,
            totals,
        );
    }
    let mut results = [0.0; V];
    for (result, total) in results.iter_mut().zip(totals) {
        *result = simd.reduce_sum_f32s(total);
    }
    results
}
