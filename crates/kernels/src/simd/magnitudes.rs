//! The least exponent of the `bf16` of a factor, found while they are copied: whether matrix tiles, which take denormal numbers
//! for zero, compute a product as `f32` arithmetic does.

use half::bf16;
use pulp::Simd;

use super::amx::STEP;

/// The smallest numbers of a factor, from which follows whether tiles compute its products as `f32` arithmetic does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Magnitudes {
    /// The bits of the smallest number that is not zero, without its sign, less one; all ones if there is none.
    least: u16,
}

impl Magnitudes {
    /// Of no numbers, or zeros only.
    pub(crate) const NONE: Self = Self { least: u16::MAX };

    /// Of both.
    #[inline(always)]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
        }
    }

    /// The bits, for an atomic minimum.
    pub(crate) fn to_bits(self) -> u16 {
        self.least
    }

    pub(crate) fn from_bits(least: u16) -> Self {
        Self { least }
    }

    /// Whether no number but zero is below `2^exponent`, which is that of a normal number.
    pub(crate) fn are_at_least(self, exponent: i32) -> bool {
        self == Self::NONE || i32::from((self.least + 1) >> 7) >= exponent + 127
    }

    /// Whether tiles multiply these numbers with those and add the products without a denormal number on the way.
    ///
    /// Numbers of exponent `e` and above are multiples of `2^(e - 7)`, their products of `2^(e + f - 14)`, and so are
    /// rounded sums of products: what is not zero is at least as large, and normal from `2^-126` on.
    pub(crate) fn is_exact_with(self, other: Self) -> bool {
        if self == Self::NONE || other == Self::NONE {
            return true;
        }
        let [e, f] = [self, other].map(|one| u32::from((one.least + 1) >> 7));
        e > 0 && f > 0 && e + f >= 127 + 127 + 14 - 126
    }
}

/// The smallest numbers that were seen in each place of a step: [`Magnitudes`] that are still in a register.
#[derive(Clone, Copy)]
pub(crate) struct Least([u16; STEP]);

impl Least {
    pub(crate) const NONE: Self = Self([u16::MAX; STEP]);

    /// Adds the numbers whose bits in `hidden` are 0, and not those where they are 1.
    #[inline(always)]
    fn add_seen<S: Simd>(&mut self, numbers: &[bf16; STEP], hidden: &[u16; STEP]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(least) = registers::least::<S>(&self.0, numbers, hidden) {
            self.0 = least;
            return;
        }
        for i in 0..STEP {
            self.0[i] = self.0[i].min(below(numbers[i]) | hidden[i]);
        }
    }

    #[inline(always)]
    pub(crate) fn add<S: Simd>(&mut self, numbers: &[bf16; STEP]) {
        self.add_seen::<S>(numbers, &[0; STEP]);
    }

    /// Adds fewer numbers than a step has.
    #[inline(always)]
    pub(crate) fn add_rest<S: Simd>(&mut self, numbers: &[bf16]) {
        let mut step = [bf16::ZERO; STEP];
        step[..numbers.len()].copy_from_slice(numbers);
        self.add::<S>(&step);
    }

    /// Adds numbers where they are.
    #[inline(always)]
    pub(crate) fn add_all<S: Simd>(&mut self, numbers: &[bf16]) {
        let (steps, rest) = numbers.as_chunks::<STEP>();
        for step in steps {
            self.add::<S>(step);
        }
        if !rest.is_empty() {
            self.add_rest::<S>(rest);
        }
    }

    /// Adds numbers that are copied.
    #[inline(always)]
    pub(crate) fn copy<S: Simd>(&mut self, from: &[bf16], to: &mut [bf16]) {
        let (from, from_rest) = from.as_chunks::<STEP>();
        let (to, to_rest) = to.as_chunks_mut::<STEP>();
        for (from, to) in from.iter().zip(to) {
            *to = *from;
            self.add::<S>(from);
        }
        if !from_rest.is_empty() {
            to_rest.copy_from_slice(from_rest);
            self.add_rest::<S>(from_rest);
        }
    }

    /// Adds runs of numbers that are copied one behind the other to the start of `to`: run `i` is `length` numbers from
    /// `offsets[i]` on. What is behind the last one in `to` is overwritten up to the end of a step.
    #[inline(always)]
    pub(crate) fn copy_runs<S: Simd>(
        &mut self,
        from: &[bf16],
        offsets: &[usize],
        length: usize,
        to: &mut [bf16],
    ) {
        let (whole, rest) = (length / STEP * STEP, length % STEP);
        let mut hidden = [u16::MAX; STEP];
        hidden[..rest].fill(0);
        for (i, offset) in offsets.iter().enumerate() {
            let (from, to) = (&from[*offset..], &mut to[i * length..]);
            let (steps, _) = from[..whole].as_chunks::<STEP>();
            for (step, to) in steps.iter().zip(to.as_chunks_mut::<STEP>().0) {
                *to = *step;
                self.add::<S>(step);
            }
            if rest == 0 {
                continue;
            }
            let (from, to) = (&from[whole..], &mut to[whole..]);
            if let (Some(from), Some(to)) = (from.first_chunk(), to.first_chunk_mut::<STEP>()) {
                *to = *from;
                self.add_seen::<S>(from, &hidden);
            } else {
                to[..rest].copy_from_slice(&from[..rest]);
                self.add_rest::<S>(&from[..rest]);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn magnitudes<S: Simd>(self) -> Magnitudes {
        #[cfg(target_arch = "x86_64")]
        if let Some(least) = registers::smallest::<S>(&self.0) {
            return Magnitudes { least };
        }
        let mut all = u16::MAX;
        for least in self.0 {
            all = all.min(least);
        }
        Magnitudes { least: all }
    }
}

#[cfg(target_arch = "x86_64")]
mod registers {
    #![expect(unsafe_code, reason = "pulp has no minimum of 16 bits")]

    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_min_epu16, _mm_minpos_epu16, _mm256_min_epu16,
        _mm512_add_epi16, _mm512_and_si512, _mm512_min_epu16, _mm512_or_si512,
    };

    use half::bf16;
    use pulp::Simd;
    use pulp::bytemuck::{cast, cast_ref};

    use super::STEP;

    /// As `Least::add_seen`; `None` without such registers.
    #[inline(always)]
    pub(super) fn least<S: Simd>(
        least: &[u16; STEP],
        numbers: &[bf16; STEP],
        hidden: &[u16; STEP],
    ) -> Option<[u16; STEP]> {
        if size_of::<S::f32s>() != 64 {
            return None;
        }
        let (least, numbers): (__m512i, __m512i) = (cast(*least), cast(*numbers));
        let magnitude: __m512i = cast([0x7fff_u16; STEP]);
        let minus_one: __m512i = cast([u16::MAX; STEP]);
        // SAFETY: a register of 64 bytes comes only with a proof of AVX-512 with BW, which has the instructions.
        let least = unsafe {
            let below = _mm512_add_epi16(_mm512_and_si512(numbers, magnitude), minus_one);
            _mm512_min_epu16(least, _mm512_or_si512(below, cast(*hidden)))
        };
        Some(cast(least))
    }

    /// The smallest of all places.
    #[inline(always)]
    pub(super) fn smallest<S: Simd>(least: &[u16; STEP]) -> Option<u16> {
        if size_of::<S::f32s>() != 64 {
            return None;
        }
        let [low, high]: [__m256i; 2] = cast(*least);
        // SAFETY: a register of 64 bytes comes only with a proof of AVX-512, whose processors have the instructions.
        let smallest = unsafe {
            let both = _mm256_min_epu16(low, high);
            let [low, high]: &[__m128i; 2] = cast_ref(&both);
            _mm_minpos_epu16(_mm_min_epu16(*low, *high))
        };
        let smallest: [u16; 8] = cast(smallest);
        Some(smallest[0])
    }
}

/// The bits of a number without its sign, less one: the largest of all for zero.
#[inline(always)]
fn below(number: bf16) -> u16 {
    (number.to_bits() & 0x7fff).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[f32]) -> Magnitudes {
        struct All(Vec<bf16>);

        impl pulp::WithSimd for All {
            type Output = Magnitudes;

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Magnitudes {
                let (mut least, mut copy) = (Least::NONE, vec![bf16::ONE; self.0.len()]);
                least.copy::<S>(&self.0, &mut copy);
                assert_eq!(copy, self.0);
                least.magnitudes::<S>()
            }
        }

        let numbers = numbers.iter().copied().map(bf16::from_f32).collect();
        crate::simd::dispatch(All(numbers))
    }

    #[test]
    fn magnitudes_tell_what_may_become_denormal() {
        let ones = of(&[1.0; 70]);
        let zeros = of(&[0.0, -0.0]);
        let denormal = of(&[1.0, -1e-39]);
        assert_eq!(zeros, Magnitudes::NONE);
        assert!(ones.is_exact_with(ones) && zeros.is_exact_with(denormal));
        assert!(!ones.is_exact_with(denormal) && !denormal.is_exact_with(ones));
        assert!(!of(&[f32::INFINITY]).is_exact_with(denormal));
        // The least sum that is not zero is 2^-126, and then 2^-127.
        let (small, large) = (2_f32.powi(-56), 2_f32.powi(56));
        assert!(of(&[3.0, small]).is_exact_with(of(&[-small])));
        assert!(!of(&[small]).is_exact_with(of(&[small / 2.0, large])));
        assert!(of(&[small]).are_at_least(-56) && !of(&[small]).are_at_least(-55));
        assert!(zeros.are_at_least(0) && !denormal.are_at_least(-126));
        let mut tail = vec![1.0; 40];
        tail[39] = 1e-39;
        assert!(!of(&tail).is_exact_with(ones));
    }
}
