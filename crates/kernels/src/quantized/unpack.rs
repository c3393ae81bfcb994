//! Many vectors: rows are unpacked to `f32` once for all of them.

use super::Quantized;
use super::layout::for_bits;
use crate::element::Element;
use crate::many::{self, Unpack};

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
        many::multiply(matrix.shape, vectors, &packed, x, out);
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
    #[inline(always)]
    fn unpack(&self, row: usize, start: usize, out: &mut [f32]) {
        let first = row * self.0.shape.columns + start;
        let words = &self.0.weights[first / 32 * BITS..][..out.len() / 32 * BITS];
        let at = first / self.0.group_size;
        let groups = words
            .chunks_exact(self.0.group_size / 32 * BITS)
            .zip(out.chunks_exact_mut(self.0.group_size));
        for (i, (words, out)) in groups.enumerate() {
            let scale = S::read_inline(&self.0.scales[at + i..=at + i], &mut [0.0])[0];
            let bias = S::read_inline(&self.0.biases[at + i..=at + i], &mut [0.0])[0];
            let units = words.as_chunks::<WORDS>().0;
            for (words, out) in units.iter().zip(out.as_chunks_mut::<PLACES>().0) {
                // All numbers of a unit stand in one array, which becomes one register or two.
                let pieces = pieces::<WORDS, PIECES>(*words);
                let mut numbers = [0; PLACES];
                for (i, number) in numbers.iter_mut().enumerate() {
                    let (piece, place) = (i / (PLACES / PIECES), i % (PLACES / PIECES));
                    *number = pieces[piece] >> (place * BITS) & ((1 << BITS) - 1);
                }
                for (out, number) in out.iter_mut().zip(numbers) {
                    *out = number as i32 as f32 * scale + bias;
                }
            }
        }
    }
}

/// The word of a unit, or its three words as four pieces of 24 bits (and what lies above them).
#[inline(always)]
fn pieces<const WORDS: usize, const PIECES: usize>(words: [u32; WORDS]) -> [u32; PIECES] {
    let mut pieces = [words[0]; PIECES];
    if PIECES == 4 {
        pieces[1] = words[0] >> 24 | words[1] << 8;
        pieces[2] = words[1] >> 16 | words[2] << 16;
        pieces[3] = words[2] >> 8;
    }
    pieces
}
