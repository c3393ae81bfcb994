//! A quantized matrix times vectors, for MLX's affine layouts of 4 and 8 bits with groups of 32, 64 or 128.
//!
//! A row is a run of `u32`, each with `32 / bits` numbers from the low bits up; a group shares a scale and a bias, and a
//! weight is `scale * number + bias`. So a row times a vector is
//! `sum over words of scale * sum(number * x) + sum over groups of bias * sum(x)`.
//!
//! Blocking of one vector: it is reordered once so that the numbers at one place of many words meet one register, and
//! runs of rows go to threads. Limit: about four instructions for each register of weights, then their bandwidth.
//! From four vectors on, rows are unpacked once for all; the limit is multiply-adds.

use pulp::{Simd, WithSimd};

use crate::error::{Error, Result, length, product};
use crate::lanes::Lanes;
use crate::many::{self, MANY, Unpack};
use crate::matvec::MatrixShape;
use crate::{pool, simd};

/// Words of a row that are taken at once: a multiple of every register.
const WORDS: usize = 16;
/// `2^23`: a small number set into its low bits reads as `2^23 + number`.
const EXPONENT: u32 = 0x4b00_0000;

/// A matrix in MLX's affine layout.
#[derive(Clone, Copy, Debug)]
pub struct Quantized<'a> {
    /// The sizes of the matrix, before packing.
    pub shape: MatrixShape,
    /// 4 or 8.
    pub bits: usize,
    /// How many weights share a scale: 32, 64 or 128.
    pub group_size: usize,
    /// `[rows, columns * bits / 32]`.
    pub weights: &'a [u32],
    /// `[rows, columns / group_size]`.
    pub scales: &'a [f32],
    /// `[rows, columns / group_size]`.
    pub biases: &'a [f32],
}

impl Quantized<'_> {
    fn check(self) -> Result<()> {
        const OP: &str = "quantized_matmul";
        let refuse = |what, wanted, got| {
            Err(Error::Parameter {
                op: OP,
                what,
                wanted,
                got,
            })
        };
        if !matches!(self.bits, 4 | 8) {
            return refuse("bits", "4 or 8", self.bits);
        }
        if !matches!(self.group_size, 32 | 64 | 128) {
            return refuse("group_size", "32, 64 or 128", self.group_size);
        }
        let MatrixShape { rows, columns } = self.shape;
        if !columns.is_multiple_of(self.group_size) {
            return refuse("columns", "a multiple of group_size", columns);
        }
        let words = product(OP, &[rows, columns / (32 / self.bits)])?;
        let groups = product(OP, &[rows, columns / self.group_size])?;
        length(OP, "weights", words, self.weights.len())?;
        length(OP, "scales", groups, self.scales.len())?;
        length(OP, "biases", groups, self.biases.len())
    }
}

/// Writes `x * transpose(matrix)` to `out`: `x` is `[vectors, columns]`, `out` is `[vectors, rows]`.
///
/// Vectors are not quantized: numbers are multiplied in `f32`, and scales are applied after or before.
/// Error: `2^-24 * (8 + min(columns, 512) + columns / 16)` of `sum((scale * number + |bias|) * |x|)`, and far less on average.
///
/// # Errors
/// When a length does not match the shape, or the layout is none of MLX's with 4 or 8 bits.
pub fn quantized_matmul(
    matrix: Quantized,
    vectors: usize,
    x: &[f32],
    out: &mut [f32],
) -> Result<()> {
    const OP: &str = "quantized_matmul";
    matrix.check()?;
    let MatrixShape { rows, columns } = matrix.shape;
    length(OP, "x", product(OP, &[vectors, columns])?, x.len())?;
    length(OP, "out", product(OP, &[vectors, rows])?, out.len())?;
    if columns == 0 || out.is_empty() {
        out.fill(0.0);
        return Ok(());
    }
    if vectors >= MANY {
        match matrix.bits {
            4 => many::multiply(matrix.shape, vectors, &Packed::<4, 8>(matrix), x, out),
            _ => many::multiply(matrix.shape, vectors, &Packed::<8, 4>(matrix), x, out),
        }
        return Ok(());
    }
    for (x, out) in x.chunks_exact(columns).zip(out.chunks_exact_mut(rows)) {
        multiply_one(matrix, &Prepared::new(matrix, x), out);
    }
    Ok(())
}

/// The product with one vector.
fn multiply_one(matrix: Quantized, prepared: &Prepared, out: &mut [f32]) {
    let MatrixShape { rows, columns } = matrix.shape;
    let words = columns * matrix.bits / 32;
    let groups = columns / matrix.group_size;
    let run = (64 * 1024 / (columns * matrix.bits / 8)).max(4);
    let pieces = matrix.weights.chunks(run * words).zip(
        matrix
            .scales
            .chunks(run * groups)
            .zip(matrix.biases.chunks(run * groups)),
    );
    pool::each(
        pieces.zip(out.chunks_mut(run)),
        0.08 * (rows * columns) as f64,
        || vec![0.0; words.next_multiple_of(WORDS)],
        |spread, ((weights, (scales, biases)), out)| {
            let inputs = scales.chunks_exact(groups).zip(biases.chunks_exact(groups));
            for ((weights, (scales, biases)), out) in
                weights.chunks_exact(words).zip(inputs).zip(out)
            {
                let row = Row {
                    weights,
                    scales,
                    biases,
                    spread,
                    prepared,
                };
                *out = match matrix.bits {
                    4 => simd::dispatch(Bits::<4, 8>(row)),
                    _ => simd::dispatch(Bits::<8, 4>(row)),
                };
            }
        },
    );
}

/// A matrix whose words hold `PLACES` numbers of `BITS` bits.
struct Packed<'a, const BITS: u32, const PLACES: usize>(Quantized<'a>);

impl<const BITS: u32, const PLACES: usize> Unpack for Packed<'_, BITS, PLACES> {
    #[inline(always)]
    fn unpack(&self, row: usize, start: usize, out: &mut [f32]) {
        let first = row * self.0.shape.columns + start;
        let words = &self.0.weights[first / PLACES..][..out.len() / PLACES];
        let group_words = self.0.group_size / PLACES;
        let at = first / self.0.group_size;
        let groups = words
            .chunks_exact(group_words)
            .zip(out.chunks_exact_mut(self.0.group_size));
        for (i, (words, out)) in groups.enumerate() {
            let (scale, bias) = (self.0.scales[at + i], self.0.biases[at + i]);
            for (word, out) in words.iter().zip(out.as_chunks_mut::<PLACES>().0) {
                for (place, out) in out.iter_mut().enumerate() {
                    let number = word >> (place as u32 * BITS) & ((1 << BITS) - 1);
                    *out = number as i32 as f32 * scale + bias;
                }
            }
        }
    }
}

/// A vector in the order in which numbers are unpacked.
struct Prepared {
    /// For each block of [`WORDS`] words: for each place in a word, the elements at that place of each word.
    x: Vec<f32>,
    /// The sum of each group, for its bias.
    sums: Vec<f32>,
}

impl Prepared {
    fn new(matrix: Quantized, x: &[f32]) -> Self {
        let places = 32 / matrix.bits;
        let block = WORDS * places;
        let mut ordered = vec![0.0; x.len().next_multiple_of(block)];
        for (ordered, x) in ordered.chunks_exact_mut(block).zip(x.chunks(block)) {
            for (word, x) in x.chunks_exact(places).enumerate() {
                for (place, x) in x.iter().enumerate() {
                    ordered[place * WORDS + word] = *x;
                }
            }
        }
        let sums = x
            .chunks_exact(matrix.group_size)
            .map(|x| x.iter().sum())
            .collect();
        Self { x: ordered, sums }
    }
}

/// One row of the matrix and a vector.
struct Row<'a> {
    weights: &'a [u32],
    scales: &'a [f32],
    biases: &'a [f32],
    /// Room for a scale for each word.
    spread: &'a mut [f32],
    prepared: &'a Prepared,
}

/// A row whose words hold `PLACES` numbers of `BITS` bits.
struct Bits<'a, const BITS: u32, const PLACES: usize>(Row<'a>);

impl<const BITS: u32, const PLACES: usize> WithSimd for Bits<'_, BITS, PLACES> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let row = self.0;
        let words = row.weights.len() / row.scales.len();
        for (spread, scale) in row.spread.chunks_exact_mut(words).zip(row.scales) {
            spread.fill(*scale);
        }
        let sum = numbers::<S, BITS, PLACES>(simd, row.weights, row.spread, &row.prepared.x);
        sum + biases(row.biases, &row.prepared.sums)
    }
}

/// `sum over words of scale * sum(number * x)`.
#[inline(always)]
fn numbers<S: Simd, const BITS: u32, const PLACES: usize>(
    simd: S,
    weights: &[u32],
    scales: &[f32],
    x: &[f32],
) -> f32 {
    let mut total = Lanes::splat(simd, 0.0);
    let (blocks, rest) = weights.as_chunks::<WORDS>();
    let x_blocks = x.chunks_exact(WORDS * PLACES);
    for ((weights, scales), x) in blocks
        .iter()
        .zip(scales.as_chunks::<WORDS>().0)
        .zip(x_blocks)
    {
        total = block_sum::<S, BITS, PLACES>(simd, weights, scales, x, total);
    }
    if !rest.is_empty() {
        // Words past the row are zeros, and so are the elements that meet them.
        let (mut weights, mut last) = ([0; WORDS], [0.0; WORDS]);
        weights[..rest.len()].copy_from_slice(rest);
        let at = blocks.len() * WORDS;
        last[..rest.len()].copy_from_slice(&scales[at..at + rest.len()]);
        let x = &x[at * PLACES..][..WORDS * PLACES];
        total = block_sum::<S, BITS, PLACES>(simd, &weights, &last, x, total);
    }
    total.sum()
}

/// One block of words: each register of words gives a register of numbers for each place.
#[inline(always)]
fn block_sum<S: Simd, const BITS: u32, const PLACES: usize>(
    simd: S,
    weights: &[u32; WORDS],
    scales: &[f32; WORDS],
    x: &[f32],
    mut total: Lanes<S>,
) -> Lanes<S> {
    let low = simd.splat_u32s((1 << BITS) - 1);
    let exponent = simd.splat_u32s(EXPONENT);
    let offset = Lanes::from_bits(simd, exponent);
    let words = S::as_simd_u32s(weights).0;
    let scales = S::as_simd_f32s(scales).0;
    let x = S::as_simd_f32s(x).0;
    for (i, (word, scale)) in words.iter().zip(scales).enumerate() {
        let mut sums = [Lanes::splat(simd, 0.0); 2];
        for place in 0..PLACES {
            let shifted = simd.wrapping_dyn_shr_u32s(*word, simd.splat_u32s(place as u32 * BITS));
            let number = simd.or_u32s(simd.and_u32s(shifted, low), exponent);
            let number = Lanes::from_bits(simd, number) - offset;
            let x = Lanes::new(simd, x[place * words.len() + i]);
            sums[place % 2] = number.mul_add(x, sums[place % 2]);
        }
        total = (sums[0] + sums[1]).mul_add(Lanes::new(simd, *scale), total);
    }
    total
}

/// `sum over groups of bias * sum(x)`, in eight sums.
#[inline(always)]
fn biases(biases: &[f32], sums: &[f32]) -> f32 {
    let (bias_body, bias_tail) = biases.as_chunks::<8>();
    let (sum_body, sum_tail) = sums.as_chunks::<8>();
    let mut totals = [0.0_f32; 8];
    for (biases, sums) in bias_body.iter().zip(sum_body) {
        for lane in 0..8 {
            totals[lane] += biases[lane] * sums[lane];
        }
    }
    let rest: f32 = bias_tail
        .iter()
        .zip(sum_tail)
        .map(|(bias, sum)| bias * sum)
        .sum();
    totals.iter().sum::<f32>() + rest
}
