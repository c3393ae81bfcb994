//! Many vectors: rows are unpacked to `f32` once for all of them, in the order in which registers are unpacked.

use pulp::Simd;

use super::Quantized;
use super::layout::{UNITS, extract_number, for_bits, unit_pieces, words_of_units};
use super::rows::broadcast_scales;
use crate::element::Element;
use crate::gemm::MatrixShape;
use crate::gemm::packed::{self, Unpack};
use crate::simd::lanes::Lanes;

/// Lengths are checked, nothing is empty.
pub(super) fn gemm<S: Element>(matrix: Quantized<S>, vectors: usize, x: &[f32], out: &mut [f32]) {
    fn run<const BITS: usize, const WORDS: usize, const NUMBERS: usize, const PIECES: usize>(
        matrix: Quantized<impl Element>,
        vectors: usize,
        x: &[f32],
        out: &mut [f32],
    ) {
        let rows = UnpackedRows::<_, BITS, WORDS, NUMBERS, PIECES>(matrix);
        packed::gemm(matrix.shape, vectors, &rows, x, out);
    }
    for_bits!(matrix.bits, run(matrix, vectors, x, out));
}

/// A matrix whose units of `WORDS` words hold `NUMBERS` numbers of `BITS` bits.
struct UnpackedRows<
    'a,
    S,
    const BITS: usize,
    const WORDS: usize,
    const NUMBERS: usize,
    const PIECES: usize,
>(Quantized<'a, S>);

impl<S: Element, const BITS: usize, const WORDS: usize, const NUMBERS: usize, const PIECES: usize>
    Unpack for UnpackedRows<'_, S, BITS, WORDS, NUMBERS, PIECES>
{
    fn length(&self, columns: usize) -> usize {
        columns.next_multiple_of(UNITS * NUMBERS)
    }

    /// In a block, the numbers at one position of all units are contiguous.
    fn packed_offset(&self, column: usize) -> usize {
        let (block, at) = (column / (UNITS * NUMBERS), column % (UNITS * NUMBERS));
        block * UNITS * NUMBERS + at % NUMBERS * UNITS + at / NUMBERS
    }

    #[inline(always)]
    fn unpack<R: Simd>(&self, simd: R, row: usize, start: usize, out: &mut [f32]) {
        let Quantized {
            shape: MatrixShape { columns, .. },
            group_size,
            ..
        } = self.0;
        // A power of two: with 8 bits and groups of 128 it is two blocks.
        let (groups, per_group) = (columns / group_size, group_size / NUMBERS);
        let row_words = columns / 32 * BITS;
        let weights = &self.0.weights[row * row_words..][..row_words];
        let scales = &self.0.scales[row * groups..][..groups];
        let biases = &self.0.biases[row * groups..][..groups];
        // An integer in the low bits of the float `2^23` makes it `2^23 + integer`.
        let exponent = simd.splat_u32s(8_388_608_f32.to_bits());
        let offset = Lanes::from_bits(simd, exponent);
        for (i, out) in out.chunks_exact_mut(UNITS * NUMBERS).enumerate() {
            let first = start / NUMBERS + i * UNITS;
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
            let (times, mut scratch) = (per_group.min(UNITS), [0.0; UNITS]);
            let group_scales = S::read_inline(&scales[here.clone()], &mut scratch);
            broadcast_scales(simd, group_scales, times, &mut scale);
            let group_biases = S::read_inline(&biases[here], &mut scratch);
            broadcast_scales(simd, group_biases, times, &mut bias);
            let words = words_of_units(&block);
            let out = R::as_mut_simd_f32s(out).0;
            let registers = UNITS / R::F32_LANES;
            let (scale, bias) = (R::as_simd_f32s(&scale).0, R::as_simd_f32s(&bias).0);
            for i in 0..registers {
                let pieces = unit_pieces::<R, WORDS, PIECES>(simd, &words, i);
                for (p, piece) in pieces.into_iter().enumerate() {
                    for position in 0..NUMBERS / PIECES {
                        let number = simd
                            .or_u32s(extract_number::<R, BITS>(simd, piece, position), exponent);
                        let number = Lanes::from_bits(simd, number) - offset;
                        let at = (p * (NUMBERS / PIECES) + position) * registers + i;
                        let scale = Lanes::new(simd, scale[i]);
                        out[at] = number.mul_add(scale, Lanes::new(simd, bias[i])).value;
                    }
                }
            }
        }
    }
}
