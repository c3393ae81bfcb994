//! A function of one element over one block.

use pulp::{Simd, WithSimd};

use super::UnaryOp;
use super::block::{LanesFn, map, map_half};
use crate::element::Element;
use crate::simd;
use crate::simd::f32_to_f16::{round_to_bf16, round_to_f16};
use crate::simd::half_lanes::HalfLanes;
use crate::simd::lanes::{Lanes, TRIGONOMETRIC_LIMIT};
use crate::simd::{streaming_store, wide_math};

/// Writes `function(x)`, with streaming stores if `stream`.
pub(super) fn evaluate_unary(function: UnaryOp, x: &[f32], out: &mut [f32], stream: bool) {
    if stream {
        simd::dispatch(Block::<true> { function, x, out });
    } else {
        simd::dispatch(Block::<false> { function, x, out });
    }
    let (limit, exact): (f32, fn(f32) -> f32) = match function {
        UnaryOp::Sin => (TRIGONOMETRIC_LIMIT, f32::sin),
        UnaryOp::Cos => (TRIGONOMETRIC_LIMIT, f32::cos),
        UnaryOp::Tan => (wide_math::TAN_LIMIT, f32::tan),
        _ => return,
    };
    if !simd::dispatch(IsReducible(x, limit)) {
        // Arguments of more than 5,000 turns: the standard library reduces them with as many bits as it takes. Only
        // these, so that a result never depends on its neighbours.
        let is_large = |x: f32| x.is_nan() || x.abs() > limit;
        for (out, x) in out.iter_mut().zip(x).filter(|(_, x)| is_large(**x)) {
            *out = exact(*x);
        }
    }
}

/// The same of half precision, computed in `f32` and rounded. Functions that have no register form, and those of large
/// arguments, are computed block by block.
pub(super) fn evaluate_unary_half<T: HalfLanes + Element>(
    function: UnaryOp,
    x: &[T],
    out: &mut [T],
) {
    let is_split = matches!(function, UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Rsqrt);
    if !is_split && simd::dispatch(HalfBlock { function, x, out }) {
        return;
    }
    let (x_f32, result) = (&mut [0.0; BLOCK], &mut [0.0; BLOCK]);
    for (x, out) in x.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let x = T::read(x, &mut *x_f32);
        if function != UnaryOp::Rsqrt {
            T::write(out, &mut *result, |out| {
                evaluate_unary(function, x, out, false)
            });
            continue;
        }
        // Rounded twice, as MLX does.
        T::write(out, &mut *result, |out| {
            evaluate_unary(UnaryOp::Sqrt, x, out, false)
        });
        T::read(out, &mut *x_f32);
        let root = &x_f32[..out.len()];
        T::write(out, &mut *result, |out| {
            evaluate_unary(UnaryOp::Reciprocal, root, out, false)
        });
    }
}

/// Elements of half precision that are converted at once.
const BLOCK: usize = 2048;

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
        if of_lanes::<S, _>(
            function,
            MapF32::<S, STREAM> {
                s,
                x,
                out: &mut *out,
            },
        ) {
            return;
        }
        match function {
            UnaryOp::Floor => map_scalars::<S, Floor>(x, out),
            UnaryOp::Ceil => map_scalars::<S, Ceil>(x, out),
            UnaryOp::Round => map_scalars::<S, Round>(x, out),
            UnaryOp::Truncate => map_scalars::<S, Truncate>(x, out),
            UnaryOp::RoundToBf16 => map_scalars::<S, RoundToBf16>(x, out),
            UnaryOp::RoundToF16 => map_scalars::<S, RoundToF16>(x, out),
            UnaryOp::Tan => map_scalars::<S, Tan>(x, out),
            UnaryOp::Sinh => map_scalars::<S, Sinh>(x, out),
            UnaryOp::Cosh => map_scalars::<S, Cosh>(x, out),
            UnaryOp::Arccos => map_scalars::<S, Arccos>(x, out),
            UnaryOp::Arccosh => map_scalars::<S, Arccosh>(x, out),
            UnaryOp::Arcsin => map_scalars::<S, Arcsin>(x, out),
            UnaryOp::Arcsinh => map_scalars::<S, Arcsinh>(x, out),
            UnaryOp::Arctan => map_scalars::<S, Arctan>(x, out),
            UnaryOp::Arctanh => map_scalars::<S, Arctanh>(x, out),
            UnaryOp::Erfinv => map_scalars::<S, Erfinv>(x, out),
            _ => {}
        }
    }
}

/// What is done with a function of registers.
trait WithLanesFn<S: Simd> {
    fn call<F: LanesFn<S>>(self, function: F);
}

struct MapF32<'a, S, const STREAM: bool> {
    s: S,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<S: Simd, const STREAM: bool> WithLanesFn<S> for MapF32<'_, S, STREAM> {
    #[inline(always)]
    fn call<F: LanesFn<S>>(self, function: F) {
        map::<S, F, STREAM>(self.s, function, self.x, self.out);
    }
}

struct HalfBlock<'a, T> {
    function: UnaryOp,
    x: &'a [T],
    out: &'a mut [T],
}

struct MapHalf<'a, S, T> {
    s: S,
    x: &'a [T],
    out: &'a mut [T],
}

impl<S: Simd, T: HalfLanes> WithLanesFn<S> for MapHalf<'_, S, T> {
    #[inline(always)]
    fn call<F: LanesFn<S>>(self, function: F) {
        map_half::<S, F, T>(self.s, function, self.x, self.out);
    }
}

/// Returns whether there is a register form.
impl<T: HalfLanes> WithSimd for HalfBlock<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> bool {
        let Self { function, x, out } = self;
        of_lanes::<S, _>(function, MapHalf { s, x, out })
    }
}

/// Calls `with` with the register form of a function; returns whether there is one.
#[inline(always)]
fn of_lanes<S: Simd, W: WithLanesFn<S>>(function: UnaryOp, with: W) -> bool {
    match function {
        UnaryOp::Exp => with.call(Exp),
        UnaryOp::Log => with.call(Log),
        UnaryOp::Sin => with.call(Sin),
        UnaryOp::Cos => with.call(Cos),
        UnaryOp::Tanh => with.call(Tanh),
        UnaryOp::Sigmoid => with.call(Sigmoid),
        UnaryOp::Erf => with.call(Erf),
        UnaryOp::Gelu => with.call(Gelu),
        UnaryOp::GeluTanh => with.call(GeluTanh),
        UnaryOp::Silu => with.call(Silu),
        UnaryOp::Abs => with.call(Abs),
        UnaryOp::Negate => with.call(Negate),
        UnaryOp::Square => with.call(Square),
        UnaryOp::Sqrt => with.call(Sqrt),
        UnaryOp::Rsqrt => with.call(Rsqrt),
        UnaryOp::Reciprocal => with.call(Reciprocal),
        UnaryOp::Sign => with.call(Sign),
        UnaryOp::Not => with.call(Not),
        UnaryOp::IsTrue => with.call(IsTrue),
        UnaryOp::IsNan => with.call(IsNan),
        UnaryOp::IsInfinite => with.call(IsInfinite),
        UnaryOp::IsFinite => with.call(IsFinite),
        UnaryOp::Expm1 => with.call(Expm1),
        UnaryOp::Log1p => with.call(Log1p),
        UnaryOp::Log2 => with.call(Log2),
        UnaryOp::Log10 => with.call(Log10),
        _ => return false,
    }
    true
}

macro_rules! lanes_functions {
    ($fetches_ahead:literal: $($type:ident = |$x:ident| $value:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $type;

        impl<S: Simd> LanesFn<S> for $type {
            const FETCHES_AHEAD: bool = $fetches_ahead;

            #[inline(always)]
            fn apply(self, $x: Lanes<S>) -> Lanes<S> {
                $value
            }
        }
    )*};
}

lanes_functions! {
    true:
    Exp = |x| x.exp();
    Log = |x| x.log();
    Sin = |x| x.sin();
    Cos = |x| x.cos();
    Tanh = |x| x.tanh();
    Sigmoid = |x| x.sigmoid();
    Erf = |x| x.erf();
    Expm1 = |x| x.expm1();
    Log1p = |x| x.log1p();
    Log2 = |x| x.log2();
    Log10 = |x| x.log10();
    Gelu = |x| x.gelu();
    GeluTanh = |x| x.gelu_tanh();
    Silu = |x| x.silu();
}

// So few instructions that the processor looks ahead far enough by itself.
lanes_functions! {
    false:
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
    fn of<const FMA: bool>(x: f32) -> f32;
}

/// A plain loop, which the compiler makes vector instructions of.
#[inline(always)]
fn map_scalars<S: Simd, F: ScalarFn>(x: &[f32], out: &mut [f32]) {
    // Registers that cross cache lines of the output cost a tenth more.
    let head = streaming_store::alignment_prefix::<S>(out).min(x.len());
    let ((x_head, x), (out_head, out)) = (x.split_at(head), out.split_at_mut(head));
    for (x, out) in [(x_head, out_head), (x, out)] {
        // Without vector instructions, a fused product would be a call.
        if S::IS_SCALAR {
            for (out, x) in out.iter_mut().zip(x) {
                *out = F::of::<false>(*x);
            }
        } else {
            for (out, x) in out.iter_mut().zip(x) {
                *out = F::of::<true>(*x);
            }
        }
    }
}

macro_rules! scalar_functions {
    ($($type:ident = $function:path;)*) => {$(
        struct $type;

        impl ScalarFn for $type {
            #[inline(always)]
            fn of<const FMA: bool>(x: f32) -> f32 {
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
}

macro_rules! wide_functions {
    ($($type:ident = $function:ident;)*) => {$(
        struct $type;

        impl ScalarFn for $type {
            #[inline(always)]
            fn of<const FMA: bool>(x: f32) -> f32 {
                wide_math::$function::<FMA>(x)
            }
        }
    )*};
}

wide_functions! {
    Tan = tan;
    Sinh = sinh;
    Cosh = cosh;
    Arccos = arccos;
    Arccosh = arccosh;
    Arcsin = arcsin;
    Arcsinh = arcsinh;
    Arctan = arctan;
    Arctanh = arctanh;
    Erfinv = erfinv;
}

/// Whether every argument is within a limit; NaN is not.
struct IsReducible<'a>(&'a [f32], f32);

impl WithSimd for IsReducible<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let outside = self
            .0
            .iter()
            .map(|x| u32::from(x.abs() > self.1 || x.is_nan()))
            .sum::<u32>();
        outside == 0
    }
}
