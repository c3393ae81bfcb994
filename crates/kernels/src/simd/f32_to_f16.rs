//! Conversion of `f32` to `f16` and `bf16`: to the nearest, ties to even, by the instructions of AVX-512 or by integer
//! arithmetic without a branch, which the compiler vectorizes for the instruction set in use.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::half_lanes::HalfLanes;
use super::lanes::Lanes;
use crate::simd;

/// The bits of an infinite `f32`; those of NaN are above.
const INFINITE: u32 = 0x7f80_0000;
/// The bits of the `f32` that is the smallest normal `f16`, `2^-14`.
const MIN_NORMAL: u32 = 0x3880_0000;
/// The difference of the exponent biases of `f32` and `f16`, at the place of an `f16`'s exponent.
const REBIAS: u32 = 112 << 10;

/// Writes the nearest `f16` of each value; both slices have the same length.
pub(crate) fn f32_to_f16(values: &[f32], out: &mut [f16]) {
    simd::dispatch(Convert { values, out });
}

/// Writes the nearest `bf16` of each value; both slices have the same length.
pub(crate) fn f32_to_bf16(values: &[f32], out: &mut [bf16]) {
    simd::dispatch(Convert { values, out });
}

/// The nearest `f16`.
#[inline(always)]
pub(crate) fn nearest_f16(x: f32) -> f16 {
    F16::from_f32(x)
}

/// The nearest `bf16`.
#[inline(always)]
pub(crate) fn nearest_bf16(x: f32) -> bf16 {
    Bf16::from_f32(x)
}

/// The nearest `f16`, as `f32`.
#[inline(always)]
pub(crate) fn round_to_f16(x: f32) -> f32 {
    let bits = x.to_bits();
    let magnitude = bits & !SIGN;
    let normal = round_half_even(magnitude, 13) & !0x1fff;
    // Numbers around 0.5 are as far apart as denormal `f16`: the sum is rounded to those.
    let small = (f32::from_bits(magnitude) + 0.5 - 0.5).to_bits();
    let rounded = if magnitude < MIN_NORMAL {
        small
    } else {
        normal
    };
    // `2^16` would be the number after the largest finite one.
    let finite = if rounded >= 0x4780_0000 {
        INFINITE
    } else {
        rounded
    };
    let kept = if magnitude > INFINITE {
        magnitude
    } else {
        finite
    };
    f32::from_bits(kept | bits & SIGN)
}

/// The nearest `bf16`, as `f32`.
#[inline(always)]
pub(crate) fn round_to_bf16(x: f32) -> f32 {
    let rounded = round_half_even(x.to_bits(), 16) & 0xffff_0000;
    if x.is_nan() {
        x
    } else {
        f32::from_bits(rounded)
    }
}

const SIGN: u32 = 0x8000_0000;

/// Adds what carries into the bits above the lowest `n_bits` where these round up: more than a half, or a half and odd.
#[inline(always)]
fn round_half_even(bits: u32, n_bits: u32) -> u32 {
    let below_half = (1 << (n_bits - 1)) - 1;
    bits.wrapping_add(below_half + (bits >> n_bits & 1))
}

/// A half-precision format. A type and not a closure, which would be compiled without the vector instructions.
pub(super) trait Format {
    type Half: Copy;
    fn from_f32(x: f32) -> Self::Half;
}

pub(super) struct F16;

impl Format for F16 {
    type Half = f16;

    #[inline(always)]
    fn from_f32(x: f32) -> f16 {
        let bits = x.to_bits();
        let magnitude = bits & !SIGN;
        let normal = (round_half_even(magnitude, 13) >> 13).wrapping_sub(REBIAS);
        let small = (f32::from_bits(magnitude) + 0.5)
            .to_bits()
            .wrapping_sub(0.5_f32.to_bits());
        let rounded = if magnitude < MIN_NORMAL {
            small
        } else {
            normal
        };
        let finite = rounded.min(0x7c00);
        // Quiet, with the high bits of the payload.
        let nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
        let half = if magnitude > INFINITE { nan } else { finite };
        f16::from_bits((half | bits >> 16 & 0x8000) as u16)
    }
}

pub(super) struct Bf16;

impl Format for Bf16 {
    type Half = bf16;

    #[inline(always)]
    fn from_f32(x: f32) -> bf16 {
        let bits = x.to_bits();
        let rounded = round_half_even(bits, 16) >> 16;
        let nan = bits >> 16 | 0x40;
        let half = if x.is_nan() { nan } else { rounded };
        bf16::from_bits(half as u16)
    }
}

struct Convert<'a, T> {
    values: &'a [f32],
    out: &'a mut [T],
}

impl<T: HalfLanes> WithSimd for Convert<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (values, tail) = S::as_simd_f32s(self.values);
        let (out, out_tail) = self.out.split_at_mut(values.len() * S::F32_LANES);
        for (out, value) in out.chunks_exact_mut(S::F32_LANES).zip(values) {
            T::store(Lanes::new(simd, *value), out);
        }
        if !out_tail.is_empty() {
            T::store_part(Lanes::new(simd, simd.partial_load_f32s(tail)), out_tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `f16` and `bf16`, the midpoints between neighbours, and the `f32` on both sides of each.
    fn values() -> Vec<f32> {
        let halves = (0..=u16::MAX).flat_map(|bits| {
            let (x, next) = (f16::from_bits(bits), f16::from_bits(bits.wrapping_add(1)));
            [x.to_f32(), (x.to_f32() + next.to_f32()) / 2.0]
        });
        let brains = (0..=u16::MAX).flat_map(|bits| {
            let bits = u32::from(bits) << 16;
            [f32::from_bits(bits), f32::from_bits(bits | 0x8000)]
        });
        let near = |x: f32| {
            let bits = x.to_bits();
            [bits.wrapping_sub(1), bits, bits.wrapping_add(1)].map(f32::from_bits)
        };
        halves.chain(brains).flat_map(near).collect()
    }

    #[test]
    fn rounds_as_the_crate_half_does() {
        let values = values();
        let (mut halves, mut brains) = (
            vec![f16::ZERO; values.len()],
            vec![bf16::ZERO; values.len()],
        );
        f32_to_f16(&values, &mut halves);
        f32_to_bf16(&values, &mut brains);
        for ((x, half), brain) in values.into_iter().zip(halves).zip(brains) {
            if x.is_nan() {
                assert!(half.is_nan() && brain.is_nan());
                assert!(round_to_f16(x).is_nan() && round_to_bf16(x).is_nan());
                continue;
            }
            let (right_half, right_brain) = (f16::from_f32(x), bf16::from_f32(x));
            assert_eq!(half.to_bits(), right_half.to_bits(), "{x:e}");
            assert_eq!(brain.to_bits(), right_brain.to_bits(), "{x:e}");
            assert_eq!(
                round_to_f16(x).to_bits(),
                right_half.to_f32().to_bits(),
                "{x:e}"
            );
            assert_eq!(
                round_to_bf16(x).to_bits(),
                right_brain.to_f32().to_bits(),
                "{x:e}"
            );
        }
    }
}
