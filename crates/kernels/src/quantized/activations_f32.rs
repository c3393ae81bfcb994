//! Activations in `f32`, in the order in which numbers are unpacked.

use super::gemv::Activations;
use super::layout::{Block, UNITS, extract_number, numbers_per_unit, unit_pieces, words_of_units};
use super::rows::{Row, dot};
use super::simd_i8::SimdI8;

/// A vector in `f32`.
pub(super) struct F32Activations {
    /// For each block: for each position in a unit, the elements at that position of each unit.
    x: Vec<f32>,
    /// The sum of each group, for its bias.
    sums: Vec<f32>,
}

impl Activations for F32Activations {
    const NANOSECONDS: [f64; 2] = [0.035, 0.025];

    fn new(bits: usize, group_size: usize, x: &[f32]) -> Self {
        let numbers = numbers_per_unit(bits);
        let block = UNITS * numbers;
        let mut ordered = vec![0.0; x.len().next_multiple_of(block)];
        for (ordered, x) in ordered.chunks_exact_mut(block).zip(x.chunks(block)) {
            for (unit, x) in x.chunks_exact(numbers).enumerate() {
                for (ordered, x) in ordered.chunks_exact_mut(UNITS).zip(x) {
                    ordered[unit] = *x;
                }
            }
        }
        let sums = x.chunks_exact(group_size).map(|x| x.iter().sum()).collect();
        Self { x: ordered, sums }
    }

    #[inline(always)]
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
        mut totals: [S::f32s; V],
    ) -> [S::f32s; V] {
        let registers = UNITS / S::F32_LANES;
        let scales = S::as_simd_f32s(scales).0.chunks_exact(registers);
        let mut x: [_; V] = std::array::from_fn(|v| {
            let x = &vectors[v].x[first_unit * NUMBERS..];
            S::as_simd_f32s(x).0.chunks_exact(NUMBERS * registers)
        });
        for (block, scales) in blocks.iter().zip(scales) {
            let words = words_of_units(block);
            let x: [&[S::f32s]; V] = std::array::from_fn(|v| x[v].next().unwrap_or_default());
            for (i, scale) in scales.iter().enumerate() {
                let pieces = unit_pieces::<S, WORDS, PIECES>(simd, &words, i);
                let mut sums = [[simd.splat_f32s(0.0); V]; 2];
                for (p, piece) in pieces.into_iter().enumerate() {
                    for pair in 0..NUMBERS / PIECES / 2 {
                        for (half, sums) in sums.iter_mut().enumerate() {
                            let position = 2 * pair + half;
                            let number =
                                simd.to_f32(extract_number::<S, BITS>(simd, piece, position));
                            let at = (p * (NUMBERS / PIECES) + position) * registers + i;
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

    #[inline(always)]
    fn group_terms(&self, row: &Row<'_>) -> f32 {
        dot(row.biases, &self.sums)
    }
}
