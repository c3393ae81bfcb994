//! Few vectors in `f32`: numbers of a row are converted once and meet up to four vectors.

use super::Quantized;
use super::layout::{Block, UNITS, blocks, for_bits, number, pieces, places, split};
use super::rows::{self, Rows, dot};
use super::simd_i8::{Integers, Kernel, dispatch};
use crate::element::Element;

/// Vectors that a number meets at once.
const AT_ONCE: usize = 4;

/// Lengths are checked, nothing is empty.
pub(super) fn multiply<S: Element>(matrix: Quantized<S>, x: &[f32], out: &mut [f32]) {
    let columns = matrix.shape.columns;
    let vectors: Vec<Prepared> = x
        .chunks_exact(columns)
        .map(|x| Prepared::new(matrix.bits, matrix.group_size, x))
        .collect();
    let each = 0.035 + 0.025 * vectors.len() as f64;
    let nanoseconds = each * (matrix.shape.rows * columns) as f64;
    rows::each(matrix, vectors.len(), nanoseconds, out, |rows| {
        dispatch(Few {
            rows,
            vectors: &vectors,
        });
    });
}

/// A vector in the order in which numbers are unpacked.
struct Prepared {
    /// For each block: for each place in a unit, the elements at that place of each unit.
    x: Vec<f32>,
    /// The sum of each group, for its bias.
    sums: Vec<f32>,
}

impl Prepared {
    fn new(bits: usize, group_size: usize, x: &[f32]) -> Self {
        let places = places(bits);
        let block = UNITS * places;
        let mut ordered = vec![0.0; x.len().next_multiple_of(block)];
        for (ordered, x) in ordered.chunks_exact_mut(block).zip(x.chunks(block)) {
            for (unit, x) in x.chunks_exact(places).enumerate() {
                for (ordered, x) in ordered.chunks_exact_mut(UNITS).zip(x) {
                    ordered[unit] = *x;
                }
            }
        }
        let sums = x.chunks_exact(group_size).map(|x| x.iter().sum()).collect();
        Self { x: ordered, sums }
    }
}

/// Some rows and all vectors.
struct Few<'a> {
    rows: Rows<'a>,
    vectors: &'a [Prepared],
}

impl Kernel for Few<'_> {
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        #[inline(always)]
        fn run<const BITS: usize, const WORDS: usize, const PLACES: usize, const PIECES: usize>(
            simd: impl Integers,
            few: Few,
        ) {
            few.all::<_, BITS, WORDS, PLACES, PIECES>(simd);
        }
        for_bits!(self.rows.bits, run(simd, self));
    }
}

impl Few<'_> {
    #[inline(always)]
    fn all<
        S: Integers,
        const BITS: usize,
        const WORDS: usize,
        const PLACES: usize,
        const PIECES: usize,
    >(
        self,
        simd: S,
    ) {
        let Self { mut rows, vectors } = self;
        for index in 0..rows.count() {
            let row = rows.row(simd, index);
            let pieces = vectors.chunks(AT_ONCE).zip(row.results.chunks_mut(AT_ONCE));
            for (vectors, results) in pieces {
                if let [vector] = vectors {
                    let x = [vector.x.as_slice()];
                    let sums = products::<S, BITS, WORDS, PLACES, PIECES, 1>(
                        simd,
                        row.weights,
                        row.unit_scales,
                        x,
                    );
                    results[0] = sums[0];
                } else {
                    // Missing vectors repeat the first: their sums are dropped.
                    let x: [&[f32]; AT_ONCE] =
                        std::array::from_fn(|i| vectors.get(i).unwrap_or(&vectors[0]).x.as_slice());
                    let sums = products::<S, BITS, WORDS, PLACES, PIECES, AT_ONCE>(
                        simd,
                        row.weights,
                        row.unit_scales,
                        x,
                    );
                    results.copy_from_slice(&sums[..results.len()]);
                }
                for (result, vector) in results.iter_mut().zip(vectors) {
                    *result += dot(row.biases, &vector.sums);
                }
            }
        }
    }
}

/// `sum over units of scale * sum(number * x)` for each vector.
#[inline(always)]
fn products<
    S: Integers,
    const BITS: usize,
    const WORDS: usize,
    const PLACES: usize,
    const PIECES: usize,
    const V: usize,
>(
    simd: S,
    weights: &[u32],
    scales: &[f32],
    x: [&[f32]; V],
) -> [f32; V] {
    let mut totals = [simd.splat_f32s(0.0); V];
    let (whole, last) = blocks::<WORDS>(weights);
    totals = run_blocks::<S, BITS, WORDS, PLACES, PIECES, V>(simd, whole, scales, x, totals);
    if let Some(last) = last {
        let first = whole.len() * UNITS;
        let (scales, x) = (&scales[first..], x.map(|x| &x[first * PLACES..]));
        totals = run_blocks::<S, BITS, WORDS, PLACES, PIECES, V>(simd, &[last], scales, x, totals);
    }
    let mut results = [0.0; V];
    for (result, total) in results.iter_mut().zip(totals) {
        *result = simd.reduce_sum_f32s(total);
    }
    results
}

/// Adds blocks of a row to the totals, lane by lane.
#[inline(always)]
fn run_blocks<
    S: Integers,
    const BITS: usize,
    const WORDS: usize,
    const PLACES: usize,
    const PIECES: usize,
    const V: usize,
>(
    simd: S,
    blocks: &[Block<WORDS>],
    scales: &[f32],
    x: [&[f32]; V],
    mut totals: [S::f32s; V],
) -> [S::f32s; V] {
    let registers = UNITS / S::F32_LANES;
    let scales = S::as_simd_f32s(scales).0.chunks_exact(registers);
    let mut x: [_; V] =
        std::array::from_fn(|v| S::as_simd_f32s(x[v]).0.chunks_exact(PLACES * registers));
    for (block, scales) in blocks.iter().zip(scales) {
        let words = split(block);
        let x: [&[S::f32s]; V] = std::array::from_fn(|v| x[v].next().unwrap_or_default());
        for (i, scale) in scales.iter().enumerate() {
            let pieces = pieces::<S, WORDS, PIECES>(simd, &words, i);
            let mut sums = [[simd.splat_f32s(0.0); V]; 2];
            for (p, piece) in pieces.into_iter().enumerate() {
                for pair in 0..PLACES / PIECES / 2 {
                    for (half, sums) in sums.iter_mut().enumerate() {
                        let place = 2 * pair + half;
                        let number = simd.to_f32(number::<S, BITS>(simd, piece, place));
                        let at = (p * (PLACES / PIECES) + place) * registers + i;
                        for v in 0..V {
                            sums[v] = simd.mul_add_e_f32s(number, x[v][at], sums[v]);
                        }
                    }
                }
            }
            for v in 0..V {
                let sum = simd.add_f32s(sums[0][v], sums[1][v]);
                totals[v] = simd.mul_add_e_f32s(sum, *scale, totals[v]);
            }
        }
    }
    totals
}
