//! Many vectors: rows are unpacked to `f32` once for all of them, in the order in which registers give their numbers.

use pulp::Simd;

use super::Quantized;
use super::layout::{UNITS, for_bits, number, pieces, split};
use super::rows::spread;
use crate::element::Element;
use crate::gemm::MatrixShape;
use crate::gemm::packed::{self, Unpack};
use crate::simd::lanes::Lanes;

/// Lengths are checked, nothing is empty.
pub(super) fn multiply<S: Element>(
    matrix: Quantized<S>,
    vectors: usize,
    x: &[f32],
    out: &mut [f32],
) {
    fn run<const BITS: usize, const WORDS: usize, const PLACES: usize, const PIECES: usize>(
        matrix: Quantized<impl Element>,
        vectors: usize,
        x: &[f32],
        out: &mut [f32],
    ) {
        let packed = Packed::<_, BITS, WORDS, PLACES, PIECES>(matrix);
        packed::multiply(matrix.shape, vectors, &packed, x, out);
    }
    for_bits!(matrix.bits, run(matrix, vectors, x, out));
}

/// A matrix whose units of `WORDS` words hold `PLACES` numbers of `BITS` bits.
struct Packed<
    'a,
    S,
    const BITS: usize,
    const WORDS: usize,
    const PLACES: usize,
    const PIECES: usize,
>(Quantized<'a, S>);

impl<S: Element, const BITS: usize, const WORDS: usize, const PLACES: usize, const PIECES: usize>
    Unpack for Packed<'_, S, BITS, WORDS, PLACES, PIECES>
{
    fn length(&self, columns: usize) -> usize {
        columns.next_multiple_of(UNITS * PLACES)
    }

    /// In a block, the numbers at one place of all units lie side by side.
    fn place(&self, column: usize) -> usize {
        let (block, at) = (column / (UNITS * PLACES), column % (UNITS * PLACES));
        block * UNITS * PLACES + at % PLACES * UNITS + at / PLACES
    }

    #[inline(always)]
    fn unpack<R: Simd>(&self, simd: R, row: usize, start: usize, out: &mut [f32]) {
        let Quantized {
            shape: MatrixShape { columns, .. },
            group_size,
            ..
        } = self.0;
        // A power of two: with 8 bits and groups of 128 it is two blocks.
        let (groups, per_group) = (columns / group_size, group_size / PLACES);
        let row_words = columns / 32 * BITS;
        let weights = &self.0.weights[row * row_words..][..row_words];
        let scales = &self.0.scales[row * groups..][..groups];
        let biases = &self.0.biases[row * groups..][..groups];
        // A small number set into the low bits of `2^23` reads as `2^23 + number`.
        let exponent = simd.splat_u32s(8_388_608_f32.to_bits());
        let offset = Lanes::from_bits(simd, exponent);
        for (i, out) in out.chunks_exact_mut(UNITS * PLACES).enumerate() {
            let first = start / PLACES + i * UNITS;
            let weights = weights.as_chunks::<WORDS>().0.get(first..).unwrap_or(&[]);
            // Missing units, their scales and biases are zeros.
            let mut block = [[0; WORDS]; UNITS];
            match weights.first_chunk::<UNITS>() {
                Some(weights) => block = *weights,
                None => block[..weights.len()].copy_from_slice(weights),
            }
            let (mut scale, mut bias) = ([0.0; UNITS], [0.0; UNITS]);
            let at = first >> per_group.trailing_zeros();
            let here = at..groups.min(at + UNITS.div_ceil(per_group));
            let (times, mut wide) = (per_group.min(UNITS), [0.0; UNITS]);
            let numbers = S::read_inline(&scales[here.clone()], &mut wide);
            spread(simd, numbers, times, &mut scale);
            let numbers = S::read_inline(&biases[here], &mut wide);
            spread(simd, numbers, times, &mut bias);
            let words = split(&block);
            let out = R::as_mut_simd_f32s(out).0;
            let registers = UNITS / R::F32_LANES;
            let (scale, bias) = (R::as_simd_f32s(&scale).0, R::as_simd_f32s(&bias).0);
            for i in 0..registers {
                let pieces = pieces::<R, WORDS, PIECES>(simd, &words, i);
                for (p, piece) in pieces.into_iter().enumerate() {
                    for place in 0..PLACES / PIECES {
                        let number = simd.or_u32s(number::<R, BITS>(simd, piece, place), exponent);
                        let number = Lanes::from_bits(simd, number) - offset;
                        let at = (p * (PLACES / PIECES) + place) * registers + i;
                        let scale = Lanes::new(simd, scale[i]);
                        out[at] = number.mul_add(scale, Lanes::new(simd, bias[i])).value;
                    }
                }
            }
        }
    }
}
