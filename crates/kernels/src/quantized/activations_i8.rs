//! Activations rounded to 8 bits: bytes of numbers are multiplied with bytes of vectors, four products at a time.
//!
//! With `x = scale * q + residual` in a group, `sum(number * x)` is `scale * sum(number * q) + sum(number * residual)`. The
//! last sum is approximated by `middle * sum(residual)`, so that only a number's distance from the middle counts in the
//! error.

use super::gemv::Activations;
use super::layout::{
    Block, UNITS, extract_bytes, numbers_per_unit, position_of_byte, unit_pieces, words_of_units,
};
use super::rows::{Row, broadcast_scales, dot};
use super::simd_i8::SimdI8;

/// A vector rounded to bytes.
pub(super) struct I8Activations {
    /// For each block: for each register of a unit, four bytes for each unit.
    x: Vec<u32>,
    /// The scale of each unit; zeros past the end.
    scales: Vec<f32>,
    /// The sum of each group, for its bias.
    sums: Vec<f32>,
    /// `middle * sum(x - scale * q)` of each group, for its scale.
    residuals: Vec<f32>,
}

impl Activations for I8Activations {
    const NANOSECONDS: [f64; 2] = [0.02, 0.012];

    fn new(bits: usize, group_size: usize, x: &[f32]) -> Self {
        let (numbers, groups) = (numbers_per_unit(bits), x.len() / group_size);
        let units = (x.len() / numbers).next_multiple_of(UNITS);
        let middle = (1 << (bits - 1)) as f32;
        let mut rounded = vec![0_i8; units * numbers];
        let mut group_scales = Vec::with_capacity(groups);
        let (mut sums, mut residuals) = (Vec::with_capacity(groups), Vec::with_capacity(groups));
        for (x, out) in x
            .chunks_exact(group_size)
            .zip(rounded.chunks_exact_mut(group_size))
        {
            let (scale, sum, residual) = quantize_group(x, out);
            group_scales.push(scale);
            sums.push(sum);
            residuals.push(middle * residual);
        }
        let mut scales = vec![0.0; units];
        broadcast_scales(
            pulp::Scalar::new(),
            &group_scales,
            group_size / numbers,
            &mut scales,
        );
        Self {
            x: pack_bytes(bits, &rounded),
            scales,
            sums,
            residuals,
        }
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
            let x = &vectors[v].x[first_unit * NUMBERS / 4..];
            S::as_simd_u32s(x).0.chunks_exact(NUMBERS / 4 * registers)
        });
        let mut x_scales: [_; V] = std::array::from_fn(|v| {
            let scales = &vectors[v].scales[first_unit..];
            S::as_simd_f32s(scales).0.chunks_exact(registers)
        });
        for (block, scales) in blocks.iter().zip(scales) {
            let words = words_of_units(block);
            let x: [&[S::u32s]; V] = std::array::from_fn(|v| x[v].next().unwrap_or_default());
            let x_scales: [&[S::f32s]; V] =
                std::array::from_fn(|v| x_scales[v].next().unwrap_or_default());
            for (i, scale) in scales.iter().enumerate() {
                let pieces = unit_pieces::<S, WORDS, PIECES>(simd, &words, i);
                let sums = dot_units::<S, BITS, NUMBERS, PIECES, V>(simd, pieces, x, i);
                for v in 0..V {
                    let factor = simd.mul_f32s(x_scales[v][i], *scale);
                    totals[v] = simd.mul_add_e_f32s(simd.to_f32(sums[v]), factor, totals[v]);
                }
            }
        }
        totals
    }

    #[inline(always)]
    fn group_terms(&self, row: &Row<'_>) -> f32 {
        dot(row.biases, &self.sums) + dot(row.scales, &self.residuals)
    }
}

/// Bytes in the order in which [`extract_bytes`] unpacks numbers.
fn pack_bytes(bits: usize, rounded: &[i8]) -> Vec<u32> {
    let numbers = numbers_per_unit(bits);
    let mut packed = vec![0; rounded.len() / 4];
    let blocks = rounded.chunks_exact(UNITS * numbers);
    for (packed, block) in packed.chunks_exact_mut(UNITS * numbers / 4).zip(blocks) {
        for (register, packed) in packed.chunks_exact_mut(UNITS).enumerate() {
            let from: [usize; 4] =
                std::array::from_fn(|byte| position_of_byte(bits, register, byte));
            for (packed, unit) in packed.iter_mut().zip(block.chunks_exact(numbers)) {
                *packed = u32::from_le_bytes(from.map(|position| unit[position] as u8));
            }
        }
    }
    packed
}

/// Rounds a group to multiples of a scale; returns the scale, the sum, and the sum of the rounding errors.
fn quantize_group(x: &[f32], out: &mut [i8]) -> (f32, f32, f32) {
    let max = x.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let sum: f32 = x.iter().sum();
    if x.iter().any(|x| !x.is_finite()) {
        return (f32::NAN, sum, 0.0);
    }
    if max == 0.0 {
        return (0.0, 0.0, 0.0);
    }
    let scale = max / 127.0;
    // Dividing before multiplying keeps the smallest and the largest numbers from overflowing on the way.
    let mut residual = 0.0;
    for (out, x) in out.iter_mut().zip(x) {
        let q = (x / max * 127.0).round_ties_even();
        *out = q as i8;
        residual += x - q * scale;
    }
    (scale, sum, residual)
}

/// `sum(number * q)` of each unit of register `i` of a block, for each vector.
#[inline(always)]
fn dot_units<
    S: SimdI8,
    const BITS: usize,
    const NUMBERS: usize,
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
            let low = simd.dot_pairs(simd.zero_pairs(), low, x[v][i]);
            let high = simd.dot_pairs(simd.zero_pairs(), high, x[v][i]);
            sums[v] = simd.add_u32s(simd.sum_pairs(low, 1), simd.sum_pairs(high, 16));
        }
        return sums;
    }
    let mut pairs = [simd.zero_pairs(); V];
    let registers = NUMBERS / PIECES / 4;
    for (p, piece) in pieces.into_iter().enumerate() {
        for register in 0..registers {
            let numbers = extract_bytes::<S, BITS>(simd, piece, register);
            let at = (p * registers + register) * (UNITS / S::F32_LANES) + i;
            for v in 0..V {
                pairs[v] = simd.dot_pairs(pairs[v], numbers, x[v][at]);
            }
        }
        // Pairs of products of 6 bits are at most 2 * 63 * 127: two fit in 16 bits; of fewer bits, all of a unit.
        if BITS == 6 && p % 2 == 1 {
            for v in 0..V {
                sums[v] = simd.add_u32s(sums[v], simd.sum_pairs(pairs[v], 1));
                pairs[v] = simd.zero_pairs();
            }
        }
    }
    if BITS != 6 {
        for v in 0..V {
            sums[v] = simd.sum_pairs(pairs[v], 1);
        }
    }
    sums
}
