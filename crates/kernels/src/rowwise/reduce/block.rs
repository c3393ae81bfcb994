//! Reducing contiguous elements, at most a few thousand at once.
//!
//! Half precision is converted in registers. Maxima of half precision compare bits: those of the sign and magnitude of two
//! numbers, the magnitude of a negative one inverted, are in the order of the numbers.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::{Reduction, max_or_nan, min_or_nan};
use crate::element::Element;
use crate::rowwise::row_fold::row_sum;
use crate::simd;
use crate::simd::half_lanes::HalfLanes;
use crate::simd::lanes::Lanes;

/// Numbers that are added beside each other: four registers of 16.
const LANES: usize = 64;

/// The reduction of at most `scratch.len()` elements, which are not none.
pub(super) fn reduce_block<T: Element>(reduction: Reduction, x: &[T], scratch: &mut [f32]) -> f32 {
    let is_sum = matches!(reduction, Reduction::Sum | Reduction::Mean);
    if let Some(x) = T::as_f16(x) {
        if !is_sum {
            return half_extreme(reduction, x.reinterpret_cast(), 0x7c00)
                .map_or(f32::NAN, |bits| f16::from_bits(bits).to_f32());
        }
        #[cfg(target_arch = "x86_64")]
        if let pulp::Arch::V4(simd) = simd::arch() {
            return simd.vectorize(avx512::SumF16 { simd, x });
        }
    }
    if let Some(x) = T::as_bf16(x) {
        if !is_sum {
            return half_extreme(reduction, x.reinterpret_cast(), 0x7f80)
                .map_or(f32::NAN, |bits| bf16::from_bits(bits).to_f32());
        }
        return simd::dispatch(SumBf16(x));
    }
    let x = T::read(x, scratch);
    simd::dispatch(Block { reduction, x })
}

struct Block<'a> {
    reduction: Reduction,
    x: &'a [f32],
}

impl WithSimd for Block<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        match self.reduction {
            Reduction::Sum | Reduction::Mean => row_sum(simd, self.x, |x| x),
            Reduction::Max => extreme(simd, self.x, f32::NEG_INFINITY, Lanes::max, max_or_nan),
            Reduction::Min => extreme(simd, self.x, f32::INFINITY, Lanes::min, min_or_nan),
        }
    }
}

/// The maximum or minimum, NaN if one element is: that is found beside, by what is not equal to itself.
#[inline(always)]
fn extreme<S: Simd>(
    simd: S,
    x: &[f32],
    start: f32,
    of: impl Fn(Lanes<S>, Lanes<S>) -> Lanes<S>,
    of_two: impl Fn(f32, f32) -> f32,
) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let mut found = [Lanes::splat(simd, start); 4];
    let mut is_number = [simd.equal_f32s(found[0].value, found[0].value); 4];
    let (quads, singles) = body.as_chunks::<4>();
    for quad in quads {
        for k in 0..4 {
            found[k] = of(Lanes::new(simd, quad[k]), found[k]);
            is_number[k] = simd.and_m32s(is_number[k], simd.equal_f32s(quad[k], quad[k]));
        }
    }
    for x in singles {
        found[0] = of(Lanes::new(simd, *x), found[0]);
        is_number[0] = simd.and_m32s(is_number[0], simd.equal_f32s(*x, *x));
    }
    let [a, b, c, d] = is_number;
    let is_number = simd.and_m32s(simd.and_m32s(a, b), simd.and_m32s(c, d));
    let [a, b, c, d] = found;
    let found = of(of(a, b), of(c, d));
    // NaN where one was seen; the rest is a register.
    let nan = simd.splat_f32s(f32::NAN);
    let found = simd.select_f32s(is_number, found.value, nan);
    let lanes = pulp::bytemuck::cast_slice::<S::f32s, f32>(std::slice::from_ref(&found));
    let found = lanes.iter().fold(start, |a, b| of_two(a, *b));
    tail.iter().fold(found, |a, b| of_two(a, *b))
}

struct SumBf16<'a>(&'a [bf16]);

impl WithSimd for SumBf16<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        // Eight sums hide the latency of the addition behind that of the conversion.
        let n = S::F32_LANES;
        let mut sums = [Lanes::splat(simd, 0.0); 8];
        let (body, rest) = self.0.split_at(self.0.len() / (8 * n) * (8 * n));
        for x in body.chunks_exact(8 * n) {
            for (sum, x) in sums.iter_mut().zip(x.chunks_exact(n)) {
                *sum = *sum + bf16::load(simd, x);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest.chunks(n)) {
            *sum = *sum + bf16::load_part(simd, x);
        }
        let [a, b, c, d, e, f, g, h] = sums;
        (((a + b) + (c + d)) + ((e + f) + (g + h))).sum()
    }
}

/// The sum, pairwise.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn sum_of_lanes(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The bits of the maximum or minimum, or nothing if one element is NaN.
fn half_extreme(reduction: Reduction, bits: &[u16], infinite: u16) -> Option<u16> {
    let is_max = matches!(reduction, Reduction::Max);
    let (key, magnitude) = simd::dispatch(HalfExtreme { is_max, bits });
    (magnitude <= infinite).then(|| from_key(key))
}

/// Bits whose order as integers is that of the numbers.
#[inline(always)]
fn to_key(bits: u16) -> i16 {
    (bits ^ ((bits as i16 >> 15) as u16 & 0x7fff)) as i16
}

/// The bits of a number again.
fn from_key(key: i16) -> u16 {
    to_key(key as u16) as u16
}

/// The key of the extreme, and the greatest magnitude.
struct HalfExtreme<'a> {
    is_max: bool,
    bits: &'a [u16],
}

impl WithSimd for HalfExtreme<'_> {
    type Output = (i16, u16);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (i16, u16) {
        const WIDE: usize = 2 * LANES;
        // Inverted keys are in the opposite order.
        let flip: i16 = if self.is_max { 0 } else { -1 };
        let (body, tail) = self.bits.as_chunks::<WIDE>();
        let (mut keys, mut magnitudes) = ([i16::MIN; WIDE], [0_u16; WIDE]);
        for bits in body {
            for lane in 0..WIDE {
                keys[lane] = keys[lane].max(to_key(bits[lane]) ^ flip);
                magnitudes[lane] = magnitudes[lane].max(bits[lane] & 0x7fff);
            }
        }
        for (lane, bits) in tail.iter().enumerate() {
            keys[lane] = keys[lane].max(to_key(*bits) ^ flip);
            magnitudes[lane] = magnitudes[lane].max(bits & 0x7fff);
        }
        let key = keys.iter().fold(i16::MIN, |a, b| a.max(*b)) ^ flip;
        let magnitude = magnitudes.iter().fold(0, |a, b| a.max(*b));
        (key, magnitude)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use half::f16;
    use pulp::NullaryFnOnce;
    use pulp::bytemuck::cast;
    use pulp::x86::V4;

    use super::{LANES, sum_of_lanes};

    /// The sum of half-precision numbers, which an instruction converts.
    pub(super) struct SumF16<'a> {
        pub(super) simd: V4,
        pub(super) x: &'a [f16],
    }

    impl NullaryFnOnce for SumF16<'_> {
        type Output = f32;

        #[inline(always)]
        fn call(self) -> f32 {
            let Self { simd, x } = self;
            let wide = |x: &[f16; 16]| simd.avx512f._mm512_cvtph_ps(cast(x.map(f16::to_bits)));
            let (body, tail) = x.as_chunks::<LANES>();
            let mut sums = [simd.avx512f._mm512_setzero_ps(); 4];
            for x in body {
                let (x, _) = x.as_chunks::<16>();
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = simd.avx512f._mm512_add_ps(*sum, wide(x));
                }
            }
            let (body, tail) = tail.as_chunks::<16>();
            for (sum, x) in sums.iter_mut().zip(body) {
                *sum = simd.avx512f._mm512_add_ps(*sum, wide(x));
            }
            let mut last = [f16::ZERO; 16];
            last[..tail.len()].copy_from_slice(tail);
            sums[0] = simd.avx512f._mm512_add_ps(sums[0], wide(&last));
            sum_of_lanes(cast(sums))
        }
    }
}
