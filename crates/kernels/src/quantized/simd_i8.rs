//! 8-bit integer instructions that the `Simd` trait lacks: products of bytes, and conversion to `f32`.

use pulp::{Arch, Scalar, Simd};

use crate::simd::arch;

/// Registers of `u32` with four bytes in each lane.
pub(super) trait SimdI8: Simd {
    /// Sums of products of adjacent bytes, in 16 bits or more.
    type Pairs: Copy;

    fn zero_pairs(self) -> Self::Pairs;

    /// Adds products of unsigned `numbers` and signed `x` to `sums`. No sum may overflow 16 bits.
    fn dot_pairs(self, sums: Self::Pairs, numbers: Self::u32s, x: Self::u32s) -> Self::Pairs;

    /// The sum of each lane's pairs times `weight`, as `i32`.
    fn sum_pairs(self, pairs: Self::Pairs, weight: i16) -> Self::u32s;

    /// Each lane, an `i32`, as `f32`.
    fn to_f32(self, numbers: Self::u32s) -> Self::f32s;
}

/// A function that is compiled for each instruction set.
pub(super) trait SimdI8Kernel {
    fn run<S: SimdI8>(self, simd: S);
}

/// Runs a kernel with the instruction set in use.
pub(super) fn dispatch_i8(kernel: impl SimdI8Kernel) {
    match arch() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => simd.vectorize(x86::Vectorized(simd, kernel)),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => simd.vectorize(x86::Vectorized(simd, kernel)),
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(simd) => kernel.run(simd),
        _ => kernel.run(Scalar::new()),
    }
}

macro_rules! portable {
    ($simd:ty, $lanes:literal) => {
        impl SimdI8 for $simd {
            type Pairs = Self::u32s;

            #[inline(always)]
            fn zero_pairs(self) -> Self::Pairs {
                self.splat_u32s(0)
            }

            #[inline(always)]
            fn dot_pairs(
                self,
                sums: Self::Pairs,
                numbers: Self::u32s,
                x: Self::u32s,
            ) -> Self::Pairs {
                let (numbers, x): ([[u8; 4]; $lanes], [[i8; 4]; $lanes]) =
                    (pulp::bytemuck::cast(numbers), pulp::bytemuck::cast(x));
                let mut sums: [i32; $lanes] = pulp::bytemuck::cast(sums);
                for lane in 0..$lanes {
                    for byte in 0..4 {
                        sums[lane] += i32::from(numbers[lane][byte]) * i32::from(x[lane][byte]);
                    }
                }
                pulp::bytemuck::cast(sums)
            }

            #[inline(always)]
            fn sum_pairs(self, pairs: Self::Pairs, weight: i16) -> Self::u32s {
                let sums: [i32; $lanes] = pulp::bytemuck::cast(pairs);
                pulp::bytemuck::cast(sums.map(|sum| sum * i32::from(weight)))
            }

            #[inline(always)]
            fn to_f32(self, numbers: Self::u32s) -> Self::f32s {
                let numbers: [i32; $lanes] = pulp::bytemuck::cast(numbers);
                pulp::bytemuck::cast(numbers.map(|number| number as f32))
            }
        }
    };
}

portable!(Scalar, 1);
#[cfg(target_arch = "aarch64")]
portable!(pulp::aarch64::Neon, 4);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256i, __m512i};

    use pulp::NullaryFnOnce;
    use pulp::bytemuck::cast;
    use pulp::x86::{V3, V4};

    use super::{SimdI8, SimdI8Kernel};

    /// A kernel and the proof that its instructions exist.
    pub(super) struct Vectorized<S, K>(pub(super) S, pub(super) K);

    impl<S: SimdI8, K: SimdI8Kernel> NullaryFnOnce for Vectorized<S, K> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.1.run(self.0);
        }
    }

    impl SimdI8 for V4 {
        type Pairs = __m512i;

        #[inline(always)]
        fn zero_pairs(self) -> __m512i {
            self.avx512f._mm512_setzero_si512()
        }

        #[inline(always)]
        fn dot_pairs(self, sums: __m512i, numbers: Self::u32s, x: Self::u32s) -> __m512i {
            let pairs = self.avx512bw._mm512_maddubs_epi16(cast(numbers), cast(x));
            self.avx512bw._mm512_add_epi16(sums, pairs)
        }

        #[inline(always)]
        fn sum_pairs(self, pairs: __m512i, weight: i16) -> Self::u32s {
            let weight = self.avx512f._mm512_set1_epi16(weight);
            cast(self.avx512bw._mm512_madd_epi16(pairs, weight))
        }

        #[inline(always)]
        fn to_f32(self, numbers: Self::u32s) -> Self::f32s {
            cast(self.avx512f._mm512_cvtepi32_ps(cast(numbers)))
        }
    }

    impl SimdI8 for V3 {
        type Pairs = __m256i;

        #[inline(always)]
        fn zero_pairs(self) -> __m256i {
            self.avx._mm256_setzero_si256()
        }

        #[inline(always)]
        fn dot_pairs(self, sums: __m256i, numbers: Self::u32s, x: Self::u32s) -> __m256i {
            let pairs = self.avx2._mm256_maddubs_epi16(cast(numbers), cast(x));
            self.avx2._mm256_add_epi16(sums, pairs)
        }

        #[inline(always)]
        fn sum_pairs(self, pairs: __m256i, weight: i16) -> Self::u32s {
            let weight = self.avx._mm256_set1_epi16(weight);
            cast(self.avx2._mm256_madd_epi16(pairs, weight))
        }

        #[inline(always)]
        fn to_f32(self, numbers: Self::u32s) -> Self::f32s {
            cast(self.avx._mm256_cvtepi32_ps(cast(numbers)))
        }
    }
}
