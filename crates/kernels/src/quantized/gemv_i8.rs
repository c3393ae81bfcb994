//! Vectors rounded to 8 bits: bytes of numbers meet bytes of vectors, and four products are added at once.
//!
//! With `x = step * q + rest` in a group, `sum(number * x)` is `step * sum(number * q) + sum(number * rest)`. The last
//! sum is taken for `middle * sum(rest)`, so that only the distance of a number from the middle counts in the error.

use super::Quantized;
use super::layout::{Block, UNITS, blocks, bytes, for_bits, pieces, place_of_byte, places, split};
use super::rows::{self, Rows, dot, spread};
use super::simd_i8::{Integers, Kernel, dispatch};
use crate::element::Element;

/// Vectors that a number meets at once.
const AT_ONCE: usize = 4;

/// Lengths are checked, nothing is empty.
pub(super) fn multiply<S: Element>(matrix: Quantized<S>, x: &[f32], out: &mut [f32]) {
    let columns = matrix.shape.columns;
    let vectors: Vec<Bytes> = x
        .chunks_exact(columns)
        .map(|x| Bytes::new(matrix.bits, matrix.group_size, x))
        .collect();
    let each = 0.02 + 0.012 * vectors.len() as f64;
    let nanoseconds = each * (matrix.shape.rows * columns) as f64;
    rows::each(matrix, vectors.len(), nanoseconds, out, |rows| {
        dispatch(Int8 {
            rows,
            vectors: &vectors,
        });
    });
}

/// A vector rounded to bytes, in the order in which numbers are unpacked.
struct Bytes {
    /// For each block: for each register of a unit, four bytes for each unit.
    x: Vec<u32>,
    /// The step of each unit; zeros past the end.
    steps: Vec<f32>,
    /// The sum of each group, for its bias.
    sums: Vec<f32>,
    /// `middle * sum(x - step * q)` of each group, for its scale.
    rests: Vec<f32>,
}

impl Bytes {
    fn new(bits: usize, group_size: usize, x: &[f32]) -> Self {
        let (places, groups) = (places(bits), x.len() / group_size);
        let units = (x.len() / places).next_multiple_of(UNITS);
        let middle = (1 << (bits - 1)) as f32;
        let mut rounded = vec![0_i8; units * places];
        let mut group_steps = Vec::with_capacity(groups);
        let (mut sums, mut rests) = (Vec::with_capacity(groups), Vec::with_capacity(groups));
        for (x, out) in x
            .chunks_exact(group_size)
            .zip(rounded.chunks_exact_mut(group_size))
        {
            let (step, sum, rest) = round(x, out);
            group_steps.push(step);
            sums.push(sum);
            rests.push(middle * rest);
        }
        let mut steps = vec![0.0; units];
        spread(
            pulp::Scalar::new(),
            &group_steps,
            group_size / places,
            &mut steps,
        );
        let mut ordered = vec![0; units * places / 4];
        let blocks = rounded.chunks_exact(UNITS * places);
        for (ordered, block) in ordered.chunks_exact_mut(UNITS * places / 4).zip(blocks) {
            for (register, ordered) in ordered.chunks_exact_mut(UNITS).enumerate() {
                let from: [usize; 4] =
                    std::array::from_fn(|byte| place_of_byte(bits, register, byte));
                for (ordered, unit) in ordered.iter_mut().zip(block.chunks_exact(places)) {
                    *ordered = u32::from_le_bytes(from.map(|place| unit[place] as u8));
                }
            }
        }
        Self {
            x: ordered,
            steps,
            sums,
            rests,
        }
    }
}

/// Rounds a group to multiples of a step; returns the step, the sum, and the sum of what was lost.
fn round(x: &[f32], out: &mut [i8]) -> (f32, f32, f32) {
    let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let sum: f32 = x.iter().sum();
    if x.iter().any(|x| !x.is_finite()) {
        return (f32::NAN, sum, 0.0);
    }
    if largest == 0.0 {
        return (0.0, 0.0, 0.0);
    }
    let step = largest / 127.0;
    // Dividing twice keeps the smallest and the largest numbers from leaving the range on the way.
    let mut rest = 0.0;
    for (out, x) in out.iter_mut().zip(x) {
        let q = (x / largest * 127.0).round_ties_even();
        *out = q as i8;
        rest += x - q * step;
    }
    (step, sum, rest)
}

/// Some rows and all vectors.
struct Int8<'a> {
    rows: Rows<'a>,
    vectors: &'a [Bytes],
}

impl Kernel for Int8<'_> {
    #[inline(always)]
    fn run<S: Integers>(self, simd: S) {
        #[inline(always)]
        fn run<const BITS: usize, const WORDS: usize, const PLACES: usize, const PIECES: usize>(
            simd: impl Integers,
            int8: Int8,
        ) {
            int8.all::<_, BITS, WORDS, PLACES, PIECES>(simd);
        }
        for_bits!(self.rows.bits, run(simd, self));
    }
}

impl Int8<'_> {
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
                    let sums = products::<S, BITS, WORDS, PLACES, PIECES, 1>(
                        simd,
                        row.weights,
                        row.unit_scales,
                        [vector],
                    );
                    results[0] = sums[0];
                } else {
                    // Missing vectors repeat the first: their sums are dropped.
                    let x: [&Bytes; AT_ONCE] =
                        std::array::from_fn(|i| vectors.get(i).unwrap_or(&vectors[0]));
                    let sums = products::<S, BITS, WORDS, PLACES, PIECES, AT_ONCE>(
                        simd,
                        row.weights,
                        row.unit_scales,
                        x,
                    );
                    results.copy_from_slice(&sums[..results.len()]);
                }
                for (result, vector) in results.iter_mut().zip(vectors) {
                    *result += dot(row.biases, &vector.sums) + dot(row.scales, &vector.rests);
                }
            }
        }
    }
}

/// `sum over units of scale * step * sum(number * q)` for each vector.
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
    vectors: [&Bytes; V],
) -> [f32; V] {
    let mut totals = [simd.splat_f32s(0.0); V];
    let (whole, last) = blocks::<WORDS>(weights);
    let (x, steps) = (
        vectors.map(|vector| vector.x.as_slice()),
        vectors.map(|vector| vector.steps.as_slice()),
    );
    totals = run_blocks::<S, BITS, WORDS, PLACES, PIECES, V>(simd, whole, scales, x, steps, totals);
    if let Some(last) = last {
        let first = whole.len() * UNITS;
        let (scales, steps) = (&scales[first..], steps.map(|steps| &steps[first..]));
        let x = x.map(|x| &x[first * PLACES / 4..]);
        totals = run_blocks::<S, BITS, WORDS, PLACES, PIECES, V>(
            simd,
            &[last],
            scales,
            x,
            steps,
            totals,
        );
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
    x: [&[u32]; V],
    steps: [&[f32]; V],
    mut totals: [S::f32s; V],
) -> [S::f32s; V] {
    let registers = UNITS / S::F32_LANES;
    let scales = S::as_simd_f32s(scales).0.chunks_exact(registers);
    let mut x: [_; V] =
        std::array::from_fn(|v| S::as_simd_u32s(x[v]).0.chunks_exact(PLACES / 4 * registers));
    let mut steps: [_; V] =
        std::array::from_fn(|v| S::as_simd_f32s(steps[v]).0.chunks_exact(registers));
    for (block, scales) in blocks.iter().zip(scales) {
        let words = split(block);
        let x: [&[S::u32s]; V] = std::array::from_fn(|v| x[v].next().unwrap_or_default());
        let steps: [&[S::f32s]; V] = std::array::from_fn(|v| steps[v].next().unwrap_or_default());
        for (i, scale) in scales.iter().enumerate() {
            let pieces = pieces::<S, WORDS, PIECES>(simd, &words, i);
            let sums = unit::<S, BITS, PLACES, PIECES, V>(simd, pieces, x, i);
            for v in 0..V {
                let factor = simd.mul_f32s(steps[v][i], *scale);
                totals[v] = simd.mul_add_e_f32s(simd.to_f32(sums[v]), factor, totals[v]);
            }
        }
    }
    totals
}

/// `sum(number * q)` of each unit of register `i` of a block, for each vector.
#[inline(always)]
fn unit<
    S: Integers,
    const BITS: usize,
    const PLACES: usize,
    const PIECES: usize,
    const V: usize,
>(
    simd: S,
    pieces: [S::u32s; PIECES],
    x: [&[S::u32s]; V],
    i: usize,
) -> [S::u32s; V] {
    let mut sums = [simd.splat_u32s(0); V];
    if BITS == 8 {
        // A pair of products of whole bytes does not fit in 16 bits: halves of bytes are multiplied.
        let half = simd.splat_u32s(0x0f0f_0f0f);
        let low = simd.and_u32s(pieces[0], half);
        let high = simd.wrapping_dyn_shr_u32s(pieces[0], simd.splat_u32s(4));
        let high = simd.and_u32s(high, half);
        for v in 0..V {
            let low = simd.add_pairs(simd.no_pairs(), low, x[v][i]);
            let high = simd.add_pairs(simd.no_pairs(), high, x[v][i]);
            sums[v] = simd.add_u32s(simd.lanes(low, 1), simd.lanes(high, 16));
        }
        return sums;
    }
    let mut pairs = [simd.no_pairs(); V];
    let registers = PLACES / PIECES / 4;
    for (p, piece) in pieces.into_iter().enumerate() {
        for register in 0..registers {
            let numbers = bytes::<S, BITS>(simd, piece, register);
            let at = (p * registers + register) * (UNITS / S::F32_LANES) + i;
            for v in 0..V {
                pairs[v] = simd.add_pairs(pairs[v], numbers, x[v][at]);
            }
        }
        // Pairs of products of 6 bits are at most 2 * 63 * 127: two fit in 16 bits; of fewer bits, all of a unit.
        if BITS == 6 && p % 2 == 1 {
            for v in 0..V {
                sums[v] = simd.add_u32s(sums[v], simd.lanes(pairs[v], 1));
                pairs[v] = simd.no_pairs();
            }
        }
    }
    if BITS != 6 {
        for v in 0..V {
            sums[v] = simd.lanes(pairs[v], 1);
        }
    }
    sums
}
