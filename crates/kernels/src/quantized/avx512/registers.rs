//! What the AVX-512 kernels of 4 and 8 bits share: partial loads, scales for lanes, prefetch distances, blocks of rows.
//!
//! A register holds 16 words, 128 numbers of 4 bits or 64 of 8. The scales of 16 groups fill one register, and each
//! register of words takes those of its groups from it with one permutation: no scale is broadcast in memory.

#![expect(unsafe_code, reason = "a masked load takes a pointer")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{__m512, __m512i, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps};

use pulp::bytemuck::cast;

use crate::quantized::rows::RowChunk;

/// Scales of a register.
pub(super) const GROUPS: usize = 16;
/// Words of a register.
pub(super) const WORDS: usize = 16;

/// Whether AVX-512 is in use and the processor has VNNI.
pub(super) fn has_avx512_vnni() -> bool {
    crate::simd::instruction_set() == "avx512" && is_x86_feature_detected!("avx512vnni")
}

/// Up to 16 words, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_words(words: &[u32]) -> __m512i {
    // SAFETY: the mask has a bit for each word of the slice, at most 16, and others are not read.
    unsafe { _mm512_maskz_loadu_epi32(mask(words.len()), words.as_ptr().cast()) }
}

/// Up to 16 numbers, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load_f32s(numbers: &[f32]) -> __m512 {
    // SAFETY: the mask has a bit for each number of the slice, at most 16, and others are not read.
    unsafe { _mm512_maskz_loadu_ps(mask(numbers.len()), numbers.as_ptr()) }
}

#[inline(always)]
fn mask(count: usize) -> u16 {
    if count >= 16 {
        u16::MAX
    } else {
        (1 << count) - 1
    }
}

/// For each of the registers of words that hold 16 groups, which of their scales each lane takes.
pub(super) const fn group_indices<const BLOCKS: usize>() -> [[u32; WORDS]; BLOCKS] {
    let mut indices = [[0; WORDS]; BLOCKS];
    let mut word = 0;
    while word < BLOCKS * WORDS {
        indices[word / WORDS][word % WORDS] = (word / BLOCKS) as u32;
        word += 1;
    }
    indices
}

/// Words between what is read and what is prefetched, at least.
const MIN_PREFETCH_DISTANCE: usize = 1024;

/// How many words ahead to prefetch: a multiple of the words of a step, so that no line is left out.
#[inline(always)]
pub(super) fn prefetch_distance(step: usize) -> usize {
    step * MIN_PREFETCH_DISTANCE.div_ceil(step)
}

/// `N` consecutive rows.
pub(super) struct RowBlock<'a, const N: usize> {
    pub(super) weights: [&'a [u32]; N],
    pub(super) scales: [&'a [f32]; N],
    pub(super) biases: [&'a [f32]; N],
}

impl<const N: usize> RowBlock<'_, N> {
    /// The words, scales and biases of groups `16 * at..16 * at + 16` of row `i`, which exist.
    #[inline(always)]
    pub(super) fn groups_at<const BLOCKS: usize>(
        &self,
        i: usize,
        at: usize,
    ) -> (&[[u32; WORDS]; BLOCKS], &[f32; GROUPS], &[f32; GROUPS]) {
        let words = self.weights[i].as_chunks::<WORDS>().0;
        let scales = self.scales[i].as_chunks::<GROUPS>().0;
        let biases = self.biases[i].as_chunks::<GROUPS>().0;
        (&words.as_chunks::<BLOCKS>().0[at], &scales[at], &biases[at])
    }
}

impl<'a> RowChunk<'a> {
    /// Rows `first..first + N`, which exist.
    #[inline(always)]
    pub(super) fn row_block<const N: usize>(&self, first: usize) -> RowBlock<'a, N> {
        let (words, groups) = (
            self.columns / 32 * self.bits,
            self.columns / self.group_size,
        );
        let mut block = RowBlock {
            weights: [&[]; N],
            scales: [&[]; N],
            biases: [&[]; N],
        };
        for i in 0..N {
            let row = first + i;
            block.weights[i] = &self.weights[row * words..][..words];
            block.scales[i] = &self.scales[row * groups..][..groups];
            block.biases[i] = &self.biases[row * groups..][..groups];
        }
        block
    }
}

/// Words as a register.
#[inline(always)]
pub(super) fn as_register(words: &[u32; WORDS]) -> __m512i {
    cast(*words)
}
