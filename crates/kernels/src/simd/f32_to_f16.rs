//! From single to half precision: to the nearest, by integer arithmetic without a branch.
//!
//! The loops become vector instructions of whatever set is in use. A call of the processor's own instruction for eight
//! numbers, as the crate `half` makes it, takes longer than these do.

use std::marker::PhantomData;

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use crate::simd;

/// The bits of an infinite `f32`; above are those that are no numbers.
const INFINITE: u32 = 0x7f80_0000;
/// The bits of the `f32` that is the least normal `f16`, `2^-14`.
const LEAST_NORMAL: u32 = 0x3880_0000;
/// What is added to the exponent of an `f16` to get that of an `f32`, where an `f16` has it.
const REBIAS: u32 = 112 << 10;

/// Writes the nearest `f16` of each value; both slices have one length.
pub(crate) fn narrow_f16(values: &[f32], out: &mut [f16]) {
    simd::dispatch(Narrow {
        values,
        out,
        of: PhantomData::<Half>,
    });
}

/// Writes the nearest `bf16` of each value; both slices have one length.
pub(crate) fn narrow_bf16(values: &[f32], out: &mut [bf16]) {
    simd::dispatch(Narrow {
        values,
        out,
        of: PhantomData::<Brain>,
    });
}

/// The nearest `f16`, as `f32`.
#[inline(always)]
pub(crate) fn nearest_f16(x: f32) -> f32 {
    let bits = x.to_bits();
    let magnitude = bits & !SIGN;
    let normal = to_even(magnitude, 13) & !0x1fff;
    // Neighbours of a half are as far apart as all `f16` below the least normal one: the sum is rounded to those.
    let small = (f32::from_bits(magnitude) + 0.5 - 0.5).to_bits();
    let rounded = if magnitude < LEAST_NORMAL {
        small
    } else {
        normal
    };
    // `2^16` is what would come after the greatest.
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
pub(crate) fn nearest_bf16(x: f32) -> f32 {
    let rounded = to_even(x.to_bits(), 16) & 0xffff_0000;
    if x.is_nan() {
        x
    } else {
        f32::from_bits(rounded)
    }
}

const SIGN: u32 = 0x8000_0000;

/// Adds what carries into the bits above the lowest `places` where these are more than a half, or a half and odd.
#[inline(always)]
fn to_even(bits: u32, places: u32) -> u32 {
    let below_half = (1 << (places - 1)) - 1;
    bits.wrapping_add(below_half + (bits >> places & 1))
}

/// How a number is made narrow. A type and not a closure, which would be compiled without the vector instructions.
trait Narrower {
    type Narrow: Copy;
    fn of(x: f32) -> Self::Narrow;
}

struct Half;

impl Narrower for Half {
    type Narrow = f16;

    #[inline(always)]
    fn of(x: f32) -> f16 {
        let bits = x.to_bits();
        let magnitude = bits & !SIGN;
        let normal = (to_even(magnitude, 13) >> 13).wrapping_sub(REBIAS);
        let small = (f32::from_bits(magnitude) + 0.5)
            .to_bits()
            .wrapping_sub(0.5_f32.to_bits());
        let rounded = if magnitude < LEAST_NORMAL {
            small
        } else {
            normal
        };
        let finite = rounded.min(0x7c00);
        // Quiet, with the first bits of what it carries.
        let not_a_number = 0x7e00 | (magnitude >> 13 & 0x3ff);
        let narrow = if magnitude > INFINITE {
            not_a_number
        } else {
            finite
        };
        f16::from_bits((narrow | bits >> 16 & 0x8000) as u16)
    }
}

struct Brain;

impl Narrower for Brain {
    type Narrow = bf16;

    #[inline(always)]
    fn of(x: f32) -> bf16 {
        let bits = x.to_bits();
        let rounded = to_even(bits, 16) >> 16;
        let not_a_number = bits >> 16 | 0x40;
        let narrow = if x.is_nan() { not_a_number } else { rounded };
        bf16::from_bits(narrow as u16)
    }
}

struct Narrow<'a, N: Narrower> {
    values: &'a [f32],
    out: &'a mut [N::Narrow],
    of: PhantomData<N>,
}

impl<N: Narrower> WithSimd for Narrow<'_, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { values, out, of: _ } = self;
        for (out, value) in out.iter_mut().zip(values) {
            *out = N::of(*value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `f16` and `bf16`, what lies half way to the next one, and the `f32` on both sides of each.
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
        narrow_f16(&values, &mut halves);
        narrow_bf16(&values, &mut brains);
        for ((x, half), brain) in values.into_iter().zip(halves).zip(brains) {
            if x.is_nan() {
                assert!(half.is_nan() && brain.is_nan());
                assert!(nearest_f16(x).is_nan() && nearest_bf16(x).is_nan());
                continue;
            }
            let (right_half, right_brain) = (f16::from_f32(x), bf16::from_f32(x));
            assert_eq!(half.to_bits(), right_half.to_bits(), "{x:e}");
            assert_eq!(brain.to_bits(), right_brain.to_bits(), "{x:e}");
            assert_eq!(
                nearest_f16(x).to_bits(),
                right_half.to_f32().to_bits(),
                "{x:e}"
            );
            assert_eq!(
                nearest_bf16(x).to_bits(),
                right_brain.to_f32().to_bits(),
                "{x:e}"
            );
        }
    }
}
