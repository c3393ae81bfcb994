//! How numbers are packed in the words of a row, and how a register of words becomes registers of numbers or bytes.
//!
//! A unit is the shortest run of whole words that holds whole numbers: one word for 2, 4 and 8 bits, three for 3 and 6.
//! A block is 16 units, one in each lane, so the numbers at one position of all units of a block fill registers.

use pulp::Simd;

/// Units of a block: a multiple of the lanes of every register.
pub(super) const UNITS: usize = 16;

/// Calls `$run::<BITS, WORDS, NUMBERS, PIECES>` for the bits of a matrix, with the words, numbers and pieces of a unit.
macro_rules! for_bits {
    ($bits:expr, $run:ident $arguments:tt) => {
        match $bits {
            2 => $run::<2, 1, 16, 1> $arguments,
            3 => $run::<3, 3, 32, 4> $arguments,
            4 => $run::<4, 1, 8, 1> $arguments,
            6 => $run::<6, 3, 16, 4> $arguments,
            _ => $run::<8, 1, 4, 1> $arguments,
        }
    };
}
pub(super) use for_bits;

/// How many numbers a unit holds.
pub(super) const fn numbers_per_unit(bits: usize) -> usize {
    if bits.is_multiple_of(3) {
        96 / bits
    } else {
        32 / bits
    }
}

/// The words of the units of a block.
pub(super) type Block<const WORDS: usize> = [[u32; WORDS]; UNITS];

/// The whole blocks of a row, and the rest, padded with zeros.
///
/// Kernels call the same function for both and no closure: one that is not inlined is compiled without the
/// instruction set.
#[inline(always)]
pub(super) fn split_blocks<const WORDS: usize>(
    weights: &[u32],
) -> (&[Block<WORDS>], Option<Block<WORDS>>) {
    let (whole, rest) = weights.as_chunks::<WORDS>().0.as_chunks::<UNITS>();
    if rest.is_empty() {
        return (whole, None);
    }
    let mut last = [[0; WORDS]; UNITS];
    last[..rest.len()].copy_from_slice(rest);
    (whole, Some(last))
}

/// The words of a block, deinterleaved: the first word of each unit, then the second.
#[inline(always)]
pub(super) fn words_of_units<const WORDS: usize>(block: &Block<WORDS>) -> [[u32; UNITS]; WORDS] {
    let mut by_word = [[0; UNITS]; WORDS];
    for (unit, words) in block.iter().enumerate() {
        for (by_word, word) in by_word.iter_mut().zip(words) {
            by_word[unit] = *word;
        }
    }
    by_word
}

/// The words of each unit, or its three words as four pieces of 24 bits (with other bits above them).
#[inline(always)]
pub(super) fn unit_pieces<S: Simd, const WORDS: usize, const PIECES: usize>(
    simd: S,
    words: &[[u32; UNITS]; WORDS],
    register: usize,
) -> [S::u32s; PIECES] {
    let first = S::as_simd_u32s(&words[0]).0[register];
    let mut pieces = [first; PIECES];
    if PIECES == 4 {
        let second = S::as_simd_u32s(&words[1]).0[register];
        let third = S::as_simd_u32s(&words[2]).0[register];
        let [by_8, by_16, by_24] = [simd.splat_u32s(8), simd.splat_u32s(16), simd.splat_u32s(24)];
        let (low, high) = (
            simd.wrapping_dyn_shr_u32s(first, by_24),
            simd.wrapping_dyn_shl_u32s(second, by_8),
        );
        pieces[1] = simd.or_u32s(low, high);
        let (low, high) = (
            simd.wrapping_dyn_shr_u32s(second, by_16),
            simd.wrapping_dyn_shl_u32s(third, by_16),
        );
        pieces[2] = simd.or_u32s(low, high);
        pieces[3] = simd.wrapping_dyn_shr_u32s(third, by_8);
    }
    pieces
}

/// The number of `BITS` bits at `position` of each piece.
#[inline(always)]
pub(super) fn extract_number<S: Simd, const BITS: usize>(
    simd: S,
    piece: S::u32s,
    position: usize,
) -> S::u32s {
    let shift = simd.splat_u32s((position * BITS) as u32);
    let low = simd.splat_u32s((1 << BITS) - 1);
    simd.and_u32s(simd.wrapping_dyn_shr_u32s(piece, shift), low)
}

/// The position in its unit of the number in `byte` of register `register` of [`extract_bytes`].
pub(super) const fn position_of_byte(bits: usize, register: usize, byte: usize) -> usize {
    match bits {
        3 | 6 => 4 * register + byte,
        _ => byte * (8 / bits) + register,
    }
}

/// Four numbers of each piece, each in a byte; with 8 bits, the piece.
#[inline(always)]
pub(super) fn extract_bytes<S: Simd, const BITS: usize>(
    simd: S,
    piece: S::u32s,
    register: usize,
) -> S::u32s {
    let mask = (1_u32 << BITS) - 1;
    if matches!(BITS, 3 | 6) {
        let shift = simd.splat_u32s((register * 4 * BITS) as u32);
        let numbers = simd.wrapping_dyn_shr_u32s(piece, shift);
        let mut bytes = simd.and_u32s(numbers, simd.splat_u32s(mask));
        for byte in 1..4 {
            let number = simd.and_u32s(numbers, simd.splat_u32s(mask << (byte * BITS)));
            let shift = simd.splat_u32s((byte * (8 - BITS)) as u32);
            bytes = simd.or_u32s(bytes, simd.wrapping_dyn_shl_u32s(number, shift));
        }
        return bytes;
    }
    if BITS == 8 {
        return piece;
    }
    let shift = simd.splat_u32s((register * BITS) as u32);
    let low = simd.splat_u32s(mask * 0x0101_0101);
    simd.and_u32s(simd.wrapping_dyn_shr_u32s(piece, shift), low)
}
