//! A function of one element over one block.

use pulp::{Simd, WithSimd};

use super::UnaryOp;
use super::block::{LanesFn, map};
use crate::simd;
use crate::simd::f32_to_f16::{round_to_bf16, round_to_f16};
use crate::simd::lanes::{Lanes, TRIGONOMETRIC_LIMIT};

/// Writes `function(x)`, with streaming stores if `stream`.
pub(super) fn evaluate_unary(function: UnaryOp, x: &[f32], out: &mut [f32], stream: bool) {
    if stream {
        simd::dispatch(Block::<true> { function, x, out });
    } else {
        simd::dispatch(Block::<false> { function, x, out });
    }
    if matches!(function, UnaryOp::Sin | UnaryOp::Cos) && !simd::dispatch(IsReducible(x)) {
        // Arguments of more than 5,000 turns: the standard library reduces them with as many bits as it takes. Only
        // these, so that a result never depends on its neighbours.
        let is_large = |x: f32| x.is_nan() || x.abs() > TRIGONOMETRIC_LIMIT;
        for (out, x) in out.iter_mut().zip(x).filter(|(_, x)| is_large(**x)) {
            *out = if function == UnaryOp::Sin {
                x.sin()
            } else {
                x.cos()
            };
        }
    }
}

struct Block<'a, const STREAM: bool> {
    function: UnaryOp,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<const STREAM: bool> WithSimd for Block<'_, STREAM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { function, x, out } = self;
        match function {
            UnaryOp::Exp => map::<S, _, STREAM>(s, Exp, x, out),
            UnaryOp::Log => map::<S, _, STREAM>(s, Log, x, out),
            UnaryOp::Sin => map::<S, _, STREAM>(s, Sin, x, out),
            UnaryOp::Cos => map::<S, _, STREAM>(s, Cos, x, out),
            UnaryOp::Tanh => map::<S, _, STREAM>(s, Tanh, x, out),
            UnaryOp::Sigmoid => map::<S, _, STREAM>(s, Sigmoid, x, out),
            UnaryOp::Erf => map::<S, _, STREAM>(s, Erf, x, out),
            UnaryOp::ErfInv => map::<S, _, STREAM>(s, ErfInv, x, out),
            UnaryOp::Gelu => map::<S, _, STREAM>(s, Gelu, x, out),
            UnaryOp::GeluTanh => map::<S, _, STREAM>(s, GeluTanh, x, out),
            UnaryOp::Silu => map::<S, _, STREAM>(s, Silu, x, out),
            UnaryOp::Abs => map::<S, _, STREAM>(s, Abs, x, out),
            UnaryOp::Negate => map::<S, _, STREAM>(s, Negate, x, out),
            UnaryOp::Square => map::<S, _, STREAM>(s, Square, x, out),
            UnaryOp::Sqrt => map::<S, _, STREAM>(s, Sqrt, x, out),
            UnaryOp::Rsqrt => map::<S, _, STREAM>(s, Rsqrt, x, out),
            UnaryOp::Reciprocal => map::<S, _, STREAM>(s, Reciprocal, x, out),
            UnaryOp::Sign => map::<S, _, STREAM>(s, Sign, x, out),
            UnaryOp::Not => map::<S, _, STREAM>(s, Not, x, out),
            UnaryOp::IsTrue => map::<S, _, STREAM>(s, IsTrue, x, out),
            UnaryOp::IsNan => map::<S, _, STREAM>(s, IsNan, x, out),
            UnaryOp::IsInfinite => map::<S, _, STREAM>(s, IsInfinite, x, out),
            UnaryOp::IsFinite => map::<S, _, STREAM>(s, IsFinite, x, out),
            UnaryOp::Floor => map_scalars::<Floor>(x, out),
            UnaryOp::Ceil => map_scalars::<Ceil>(x, out),
            UnaryOp::Round => map_scalars::<Round>(x, out),
            UnaryOp::Truncate => map_scalars::<Truncate>(x, out),
            UnaryOp::RoundToBf16 => map_scalars::<RoundToBf16>(x, out),
            UnaryOp::RoundToF16 => map_scalars::<RoundToF16>(x, out),
            UnaryOp::Expm1 => map_scalars::<Expm1>(x, out),
            UnaryOp::Log1p => map_scalars::<Log1p>(x, out),
            UnaryOp::Log2 => map_scalars::<Log2>(x, out),
            UnaryOp::Log10 => map_scalars::<Log10>(x, out),
            UnaryOp::Tan => map_scalars::<Tan>(x, out),
            UnaryOp::Sinh => map_scalars::<Sinh>(x, out),
            UnaryOp::Cosh => map_scalars::<Cosh>(x, out),
        }
    }
}

macro_rules! lanes_functions {
    ($($type:ident = |$x:ident| $value:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $type;

        impl<S: Simd> LanesFn<S> for $type {
            #[inline(always)]
            fn apply(self, $x: Lanes<S>) -> Lanes<S> {
                $value
            }
        }
    )*};
}

lanes_functions! {
    Exp = |x| x.exp();
    Log = |x| x.log();
    Sin = |x| x.sin();
    Cos = |x| x.cos();
    Tanh = |x| x.tanh();
    Sigmoid = |x| x.sigmoid();
    Erf = |x| x.erf();
    ErfInv = |x| x.erfinv();
    Gelu = |x| x.gelu();
    GeluTanh = |x| x.gelu_tanh();
    Silu = |x| x.silu();
    Abs = |x| x.abs();
    Negate = |x| -x;
    Square = |x| x * x;
    Sqrt = |x| x.sqrt();
    Rsqrt = |x| x.constant(1.0) / x.sqrt();
    Reciprocal = |x| x.constant(1.0) / x;
    Sign = |x| {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        // NaN, which equals nothing, stays.
        let zero_or_nan = Lanes::select(x.equal(zero), zero, x);
        let not_positive = Lanes::select(x.less_than(zero), -one, zero_or_nan);
        Lanes::select(zero.less_than(x), one, not_positive)
    };
    Not = |x| Lanes::select(x.equal(x.constant(0.0)), x.constant(1.0), x.constant(0.0));
    IsTrue = |x| Lanes::select(x.equal(x.constant(0.0)), x.constant(0.0), x.constant(1.0));
    IsNan = |x| Lanes::select(x.equal(x), x.constant(0.0), x.constant(1.0));
    IsInfinite = |x| {
        let is_infinite = x.abs().equal(x.constant(f32::INFINITY));
        Lanes::select(is_infinite, x.constant(1.0), x.constant(0.0))
    };
    IsFinite = |x| {
        let is_finite = x.abs().less_than(x.constant(f32::INFINITY));
        Lanes::select(is_finite, x.constant(1.0), x.constant(0.0))
    };
}

/// A function of one number that has no register form.
trait ScalarFn {
    fn of(x: f32) -> f32;
}

/// A plain loop, which the compiler makes vector instructions of where there are some.
#[inline(always)]
fn map_scalars<F: ScalarFn>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = F::of(*x);
    }
}

macro_rules! scalar_functions {
    ($($type:ident = $function:path;)*) => {$(
        struct $type;

        impl ScalarFn for $type {
            #[inline(always)]
            fn of(x: f32) -> f32 {
                $function(x)
            }
        }
    )*};
}

scalar_functions! {
    Floor = f32::floor;
    Ceil = f32::ceil;
    Round = f32::round_ties_even;
    Truncate = f32::trunc;
    RoundToBf16 = round_to_bf16;
    RoundToF16 = round_to_f16;
    Expm1 = f32::exp_m1;
    Log1p = f32::ln_1p;
    Log2 = f32::log2;
    Log10 = f32::log10;
    Tan = f32::tan;
    Sinh = f32::sinh;
    Cosh = f32::cosh;
}

/// Whether every argument is small enough for the range reduction of `sin` and `cos`; NaN is not.
struct IsReducible<'a>(&'a [f32]);

impl WithSimd for IsReducible<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let outside = self
            .0
            .iter()
            .map(|x| u32::from(x.abs() > TRIGONOMETRIC_LIMIT || x.is_nan()))
            .sum::<u32>();
        outside == 0
    }
}
