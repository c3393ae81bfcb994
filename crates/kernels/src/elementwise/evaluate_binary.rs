//! A function of two elements over one block.

use pulp::{Simd, WithSimd};

use super::BinaryOp;
use super::block::{BinaryLanesFn, BlockOperand, zip, zip_half};
use super::strided_blocks::Block;
use crate::element::Element;
use crate::simd;
use crate::simd::half_lanes::HalfLanes;
use crate::simd::lanes::Lanes;
use crate::simd::wide_math;

/// Writes `function(a, b)`, with streaming stores if `stream`.
pub(super) fn evaluate_binary(
    function: BinaryOp,
    a: BlockOperand<'_>,
    b: BlockOperand<'_>,
    out: &mut [f32],
    stream: bool,
) {
    if stream {
        simd::dispatch(Blocks::<true> {
            function,
            a,
            b,
            out,
        });
    } else {
        simd::dispatch(Blocks::<false> {
            function,
            a,
            b,
            out,
        });
    }
}

/// The same of half precision, computed in `f32` and rounded. Functions that have no register form are computed block by
/// block.
pub(super) fn evaluate_binary_half<T: HalfLanes + Element>(
    function: BinaryOp,
    a: Block<'_, T>,
    b: Block<'_, T>,
    out: &mut [T],
) {
    if simd::dispatch(HalfBlocks {
        function,
        a,
        b,
        out,
    }) {
        return;
    }
    let mut scratch = [[0.0; BLOCK]; 3];
    let [a_f32, b_f32, result] = &mut scratch;
    for (number, out) in out.chunks_mut(BLOCK).enumerate() {
        let a = operand(a, number * BLOCK, out.len(), a_f32);
        let b = operand(b, number * BLOCK, out.len(), b_f32);
        T::write(out, result, |out| {
            evaluate_binary(function, a, b, out, false)
        });
    }
}

/// Elements of half precision that are converted at once.
const BLOCK: usize = 2048;

fn operand<'a, T: Element>(
    x: Block<'_, T>,
    from: usize,
    count: usize,
    scratch: &'a mut [f32],
) -> BlockOperand<'a> {
    match x {
        Block::Slice(x) => {
            T::read(&x[from..][..count], scratch);
            BlockOperand::Slice(&scratch[..count])
        }
        Block::Scalar(x) => {
            T::read(&[x], scratch);
            BlockOperand::Scalar(scratch[0])
        }
    }
}

struct Blocks<'a, const STREAM: bool> {
    function: BinaryOp,
    a: BlockOperand<'a>,
    b: BlockOperand<'a>,
    out: &'a mut [f32],
}

impl<const STREAM: bool> WithSimd for Blocks<'_, STREAM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self {
            function,
            a,
            b,
            out,
        } = self;
        match function {
            BinaryOp::Power => power::<S>(a, b, out),
            BinaryOp::Arctan2 => zip_scalars::<S, Arctan2>(a, b, out),
            BinaryOp::Remainder => zip_scalars::<S, Remainder>(a, b, out),
            _ => {
                let with = ZipF32::<S, STREAM> { s, a, b, out };
                of_lanes::<S, _>(function, with);
            }
        }
    }
}

/// What is done with a function of two registers.
trait WithLanesFn<S: Simd>: Sized {
    fn call<F: BinaryLanesFn<S>>(self, function: F);
    /// Calls it with the operands exchanged.
    fn exchanged(self) -> Self;
}

struct ZipF32<'a, S, const STREAM: bool> {
    s: S,
    a: BlockOperand<'a>,
    b: BlockOperand<'a>,
    out: &'a mut [f32],
}

impl<S: Simd, const STREAM: bool> WithLanesFn<S> for ZipF32<'_, S, STREAM> {
    #[inline(always)]
    fn call<F: BinaryLanesFn<S>>(self, function: F) {
        zip::<S, F, STREAM>(self.s, function, self.a, self.b, self.out);
    }

    #[inline(always)]
    fn exchanged(self) -> Self {
        Self {
            a: self.b,
            b: self.a,
            ..self
        }
    }
}

struct HalfBlocks<'a, T> {
    function: BinaryOp,
    a: Block<'a, T>,
    b: Block<'a, T>,
    out: &'a mut [T],
}

/// Returns whether there is a register form.
impl<T: HalfLanes> WithSimd for HalfBlocks<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) -> bool {
        let Self {
            function,
            a,
            b,
            out,
        } = self;
        of_lanes::<S, _>(function, ZipHalf { s, a, b, out })
    }
}

struct ZipHalf<'a, S, T> {
    s: S,
    a: Block<'a, T>,
    b: Block<'a, T>,
    out: &'a mut [T],
}

impl<S: Simd, T: HalfLanes> WithLanesFn<S> for ZipHalf<'_, S, T> {
    #[inline(always)]
    fn call<F: BinaryLanesFn<S>>(self, function: F) {
        zip_half::<S, F, T>(self.s, function, self.a, self.b, self.out);
    }

    #[inline(always)]
    fn exchanged(self) -> Self {
        Self {
            a: self.b,
            b: self.a,
            ..self
        }
    }
}

/// Calls `with` with the register form of a function; returns whether there is one.
#[inline(always)]
fn of_lanes<S: Simd, W: WithLanesFn<S>>(function: BinaryOp, with: W) -> bool {
    match function {
        BinaryOp::Add => with.call(Add),
        BinaryOp::Subtract => with.call(Subtract),
        BinaryOp::Multiply => with.call(Multiply),
        BinaryOp::Divide => with.call(Divide),
        BinaryOp::Maximum => with.call(Maximum),
        BinaryOp::Minimum => with.call(Minimum),
        BinaryOp::Equal => with.call(Equal),
        BinaryOp::NotEqual => with.call(NotEqual),
        BinaryOp::Less => with.call(Less),
        BinaryOp::LessEqual => with.call(LessEqual),
        BinaryOp::Greater => with.exchanged().call(Less),
        BinaryOp::GreaterEqual => with.exchanged().call(LessEqual),
        BinaryOp::And => with.call(And),
        BinaryOp::Or => with.call(Or),
        BinaryOp::Logaddexp => with.call(Logaddexp),
        BinaryOp::Swiglu => with.call(Swiglu),
        _ => return false,
    }
    true
}

macro_rules! lanes_functions {
    ($($type:ident = |$x:ident, $y:ident| $value:expr;)*) => {$(
        #[derive(Clone, Copy)]
        struct $type;

        impl<S: Simd> BinaryLanesFn<S> for $type {
            #[inline(always)]
            fn apply(self, $x: Lanes<S>, $y: Lanes<S>) -> Lanes<S> {
                $value
            }
        }
    )*};
}

lanes_functions! {
    Add = |x, y| x + y;
    Subtract = |x, y| x - y;
    Multiply = |x, y| x * y;
    Divide = |x, y| x / y;
    Maximum = |x, y| Lanes::select(y.less_than(x), x, y).propagate_nan(x);
    Minimum = |x, y| Lanes::select(x.less_than(y), x, y).propagate_nan(x);
    Equal = |x, y| Lanes::select(x.equal(y), x.constant(1.0), x.constant(0.0));
    NotEqual = |x, y| Lanes::select(x.equal(y), x.constant(0.0), x.constant(1.0));
    Less = |x, y| Lanes::select(x.less_than(y), x.constant(1.0), x.constant(0.0));
    LessEqual = |x, y| Lanes::select(x.less_equal(y), x.constant(1.0), x.constant(0.0));
    Logaddexp = |x, y| x.logaddexp(y);
    Swiglu = |x, y| x.silu() * y;
    And = |x, y| {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        Lanes::select(x.equal(zero), zero, Lanes::select(y.equal(zero), zero, one))
    };
    Or = |x, y| {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        Lanes::select(x.equal(zero), Lanes::select(y.equal(zero), zero, one), one)
    };
}

/// A function of two numbers that has no register form.
trait ScalarFn {
    fn of<const FMA: bool>(a: f32, b: f32) -> f32;
}

struct Arctan2;

impl ScalarFn for Arctan2 {
    #[inline(always)]
    fn of<const FMA: bool>(a: f32, b: f32) -> f32 {
        wide_math::arctan2::<FMA>(a, b)
    }
}

struct Remainder;

impl ScalarFn for Remainder {
    #[inline(always)]
    fn of<const FMA: bool>(a: f32, b: f32) -> f32 {
        let rest = a % b;
        if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
            rest + b
        } else {
            rest
        }
    }
}

struct Power;

impl ScalarFn for Power {
    #[inline(always)]
    fn of<const FMA: bool>(a: f32, b: f32) -> f32 {
        wide_math::power::<FMA>(a, b)
    }
}

/// Plain loops, which the compiler makes vector instructions of.
#[inline(always)]
fn zip_scalars<S: Simd, F: ScalarFn>(a: BlockOperand<'_>, b: BlockOperand<'_>, out: &mut [f32]) {
    // Without vector instructions, a fused product would be a call.
    if S::IS_SCALAR {
        zip_scalars_with::<F, false>(a, b, out);
    } else {
        zip_scalars_with::<F, true>(a, b, out);
    }
}

#[inline(always)]
fn zip_scalars_with<F: ScalarFn, const FMA: bool>(
    a: BlockOperand<'_>,
    b: BlockOperand<'_>,
    out: &mut [f32],
) {
    match (a, b) {
        (BlockOperand::Slice(a), BlockOperand::Slice(b)) => {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = F::of::<FMA>(*a, *b);
            }
        }
        (BlockOperand::Slice(a), BlockOperand::Scalar(b)) => {
            for (out, a) in out.iter_mut().zip(a) {
                *out = F::of::<FMA>(*a, b);
            }
        }
        (BlockOperand::Scalar(a), BlockOperand::Slice(b)) => {
            for (out, b) in out.iter_mut().zip(b) {
                *out = F::of::<FMA>(a, *b);
            }
        }
        (BlockOperand::Scalar(a), BlockOperand::Scalar(b)) => out.fill(F::of::<FMA>(a, b)),
    }
}

/// Powers; to one small whole exponent they are products, rounded once.
#[inline(always)]
fn power<S: Simd>(a: BlockOperand<'_>, b: BlockOperand<'_>, out: &mut [f32]) {
    let (BlockOperand::Slice(x), BlockOperand::Scalar(exponent)) = (a, b) else {
        return zip_scalars::<S, Power>(a, b, out);
    };
    match exponent {
        1.0 => out.copy_from_slice(x),
        2.0 => map_scalars::<Square>(x, out),
        3.0 => map_scalars::<Cube>(x, out),
        4.0 => map_scalars::<FourthPower>(x, out),
        _ => zip_scalars::<S, Power>(a, b, out),
    }
}

/// A product of a number with itself.
trait Product {
    fn of(x: f64) -> f64;
}

#[inline(always)]
fn map_scalars<F: Product>(x: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = F::of(f64::from(*x)) as f32;
    }
}

macro_rules! products {
    ($($type:ident = |$x:ident| $value:expr;)*) => {$(
        struct $type;

        impl Product for $type {
            #[inline(always)]
            fn of($x: f64) -> f64 {
                $value
            }
        }
    )*};
}

products! {
    Square = |x| x * x;
    Cube = |x| x * x * x;
    FourthPower = |x| (x * x) * (x * x);
}
