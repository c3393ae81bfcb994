//! The register type: operators, comparison, selection, bits.

use std::ops::{Add, Div, Mul, Neg, Sub};

use pulp::Simd;

/// A vector of `f32`, as wide as the instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<S: Simd> {
    pub(crate) simd: S,
    pub(crate) value: S::f32s,
}

macro_rules! operator {
    ($trait:ident, $method:ident, $simd:ident) => {
        impl<S: Simd> $trait for Lanes<S> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self::new(self.simd, self.simd.$simd(self.value, other.value))
            }
        }
    };
}

operator!(Add, add, add_f32s);
operator!(Sub, sub, sub_f32s);
operator!(Mul, mul, mul_f32s);
operator!(Div, div, div_f32s);

impl<S: Simd> Neg for Lanes<S> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        // `neg_f32s` of pulp is a call of a function without vector instructions.
        let minus = self.simd.splat_u32s(0x8000_0000);
        Self::from_bits(self.simd, self.simd.xor_u32s(self.bits(), minus))
    }
}

impl<S: Simd> Lanes<S> {
    #[inline(always)]
    pub(crate) fn new(simd: S, value: S::f32s) -> Self {
        Self { simd, value }
    }

    #[inline(always)]
    pub(crate) fn splat(simd: S, value: f32) -> Self {
        Self::new(simd, simd.splat_f32s(value))
    }

    /// The same constant in each lane.
    #[inline(always)]
    pub(crate) fn constant(self, value: f32) -> Self {
        Self::splat(self.simd, value)
    }

    /// `self * factor + term`, rounded once where the processor can.
    #[inline(always)]
    pub(crate) fn mul_add(self, factor: Self, term: Self) -> Self {
        Self::new(
            self.simd,
            self.simd
                .mul_add_e_f32s(self.value, factor.value, term.value),
        )
    }

    /// `self * factor + term`, rounded once on every processor.
    #[inline(always)]
    pub(crate) fn mul_add_exact(self, factor: Self, term: Self) -> Self {
        Self::new(
            self.simd,
            self.simd.mul_add_f32s(self.value, factor.value, term.value),
        )
    }

    /// The polynomial whose highest coefficient comes first.
    #[inline(always)]
    pub(crate) fn polynomial<const N: usize>(self, coefficients: [f32; N]) -> Self {
        let mut sum = self.constant(coefficients[0]);
        for coefficient in &coefficients[1..] {
            sum = sum.mul_add(self, self.constant(*coefficient));
        }
        sum
    }

    #[inline(always)]
    pub(crate) fn max(self, other: Self) -> Self {
        Self::new(self.simd, self.simd.max_f32s(self.value, other.value))
    }

    #[inline(always)]
    pub(crate) fn min(self, other: Self) -> Self {
        Self::new(self.simd, self.simd.min_f32s(self.value, other.value))
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        // As for the negative.
        let magnitude = self.simd.splat_u32s(0x7fff_ffff);
        Self::from_bits(self.simd, self.simd.and_u32s(self.bits(), magnitude))
    }

    /// The magnitude of `self` with the sign of `sign`.
    #[inline(always)]
    pub(crate) fn copysign(self, sign: Self) -> Self {
        let minus = self.simd.splat_u32s(0x8000_0000);
        let bit = self.simd.and_u32s(sign.bits(), minus);
        Self::from_bits(self.simd, self.simd.or_u32s(self.abs().bits(), bit))
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> S::u32s {
        self.simd.transmute_u32s_f32s(self.value)
    }

    #[inline(always)]
    pub(crate) fn from_bits(simd: S, bits: S::u32s) -> Self {
        Self::new(simd, simd.transmute_f32s_u32s(bits))
    }

    #[inline(always)]
    pub(crate) fn less_than(self, other: Self) -> S::m32s {
        self.simd.less_than_f32s(self.value, other.value)
    }

    #[inline(always)]
    pub(crate) fn equal(self, other: Self) -> S::m32s {
        self.simd.equal_f32s(self.value, other.value)
    }

    #[inline(always)]
    pub(crate) fn less_equal(self, other: Self) -> S::m32s {
        self.simd.less_than_or_equal_f32s(self.value, other.value)
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self::new(self.simd, self.simd.sqrt_f32s(self.value))
    }

    /// `yes` where `mask` is set, `no` elsewhere.
    #[inline(always)]
    pub(crate) fn select(mask: S::m32s, yes: Self, no: Self) -> Self {
        Self::new(yes.simd, yes.simd.select_f32s(mask, yes.value, no.value))
    }

    /// `self`, except that lanes where `input` is NaN are `input`.
    #[inline(always)]
    pub(crate) fn propagate_nan(self, input: Self) -> Self {
        Self::select(input.equal(input), self, input)
    }

    /// The first lane.
    #[inline(always)]
    pub(crate) fn first(self) -> f32 {
        let mut first = [0.0];
        self.simd.partial_store_f32s(&mut first, self.value);
        first[0]
    }

    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        self.simd.reduce_sum_f32s(self.value)
    }
}
