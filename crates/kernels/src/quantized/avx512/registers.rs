//! What the kernels of 4 and 8 bits in registers of 512 bits share: partial loads, scales for lanes, prefetching.
//!
//! A register holds 16 words, 128 numbers of 4 bits or 64 of 8. 16 groups share one register of scales, and each register of words takes those
//! of its groups from there with one permutation: nothing is spread in memory.

#![expect(unsafe_code, reason = "a part of a register is read by its pointer")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::{__m512, __m512i, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps};

use pulp::bytemuck::cast;

use crate::quantized::rows::Rows;

/// Groups of a register of scales.
pub(super) const GROUPS: usize = 16;
/// Words of a register.
pub(super) const WORDS: usize = 16;

/// Whether the instruction set in use has these registers, and the processor the sums of products of bytes.
pub(super) fn has_instructions() -> bool {
    crate::simd::instruction_set() == "avx512" && is_x86_feature_detected!("avx512vnni")
}

/// Up to 16 words, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn part_of_words(words: &[u32]) -> __m512i {
    // SAFETY: the mask has a bit for each word of the slice, at most 16, and others are not read.
    unsafe { _mm512_maskz_loadu_epi32(mask(words.len()), words.as_ptr().cast()) }
}

/// Up to 16 numbers, then zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn part_of_numbers(numbers: &[f32]) -> __m512 {
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

/// For each of the registers of words that have 16 groups, which of 16 scales each of its lanes takes.
pub(super) const fn places<const BLOCKS: usize>() -> [[u32; WORDS]; BLOCKS] {
    let mut places = [[0; WORDS]; BLOCKS];
    let mut word = 0;
    while word < BLOCKS * WORDS {
        places[word / WORDS][word % WORDS] = (word / BLOCKS) as u32;
        word += 1;
    }
    places
}

/// Words between what is read and what is prefetched, at least.
const MIN_PREFETCH_DISTANCE: usize = 1024;

/// How many words ahead to prefetch: a multiple of the words of a step, so that no line is left out.
#[inline(always)]
pub(super) fn prefetch_distance(step: usize) -> usize {
    step * MIN_PREFETCH_DISTANCE.div_ceil(step)
}

/// `N` rows that follow each other.
pub(super) struct Run<'a, const N: usize> {
    pub(super) weights: [&'a [u32]; N],
    pub(super) scales: [&'a [f32]; N],
    pub(super) biases: [&'a [f32]; N],
}

impl<const N: usize> Run<'_, N> {
    /// The words, scales and biases of the 16 groups of row `i` from `16 * at` on, which are there.
    #[inline(always)]
    pub(super) fn whole<const BLOCKS: usize>(
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

impl<'a> Rows<'a> {
    /// `N` rows from `first` on, which are there.
    #[inline(always)]
    pub(super) fn run<const N: usize>(&self, first: usize) -> Run<'a, N> {
        let (words, groups) = (
            self.columns / 32 * self.bits,
            self.columns / self.group_size,
        );
        let mut run = Run {
            weights: [&[]; N],
            scales: [&[]; N],
            biases: [&[]; N],
        };
        for i in 0..N {
            let row = first + i;
            run.weights[i] = &self.weights[row * words..][..words];
            run.scales[i] = &self.scales[row * groups..][..groups];
            run.biases[i] = &self.biases[row * groups..][..groups];
        }
        run
    }
}

/// The words of a register.
#[inline(always)]
pub(super) fn register(words: &[u32; WORDS]) -> __m512i {
    cast(*words)
}
