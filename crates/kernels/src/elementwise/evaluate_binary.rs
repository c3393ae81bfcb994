//! A function of two elements over one block.

use pulp::{Simd, WithSimd};

use super::BinaryOp;
use super::block::{BinaryLanesFn, BlockOperand, zip};
use crate::simd;
use crate::simd::lanes::Lanes;

/// Writes `function(a, b)`, with streaming stores if `stream`.
pub(super) fn evaluate_binary(
    function: BinaryOp,
    a: BlockOperand<'_>,
    b: BlockOperand<'_>,
    out: &mut [f32],
    stream: bool,
) {
    if stream {
        simd::dispatch(Block::<true> {
            function,
            a,
            b,
            out,
        });
    } else {
        simd::dispatch(Block::<false> {
            function,
            a,
            b,
            out,
        });
    }
}

struct Block<'a, const STREAM: bool> {
    function: BinaryOp,
    a: BlockOperand<'a>,
    b: BlockOperand<'a>,
    out: &'a mut [f32],
}

impl<const STREAM: bool> WithSimd for Block<'_, STREAM> {
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
            BinaryOp::Add => zip::<S, _, STREAM>(s, Add, a, b, out),
            BinaryOp::Subtract => zip::<S, _, STREAM>(s, Subtract, a, b, out),
            BinaryOp::Multiply => zip::<S, _, STREAM>(s, Multiply, a, b, out),
            BinaryOp::Divide => zip::<S, _, STREAM>(s, Divide, a, b, out),
            BinaryOp::Maximum => zip::<S, _, STREAM>(s, Maximum, a, b, out),
            BinaryOp::Minimum => zip::<S, _, STREAM>(s, Minimum, a, b, out),
            BinaryOp::Power => power(a, b, out),
            BinaryOp::Equal => zip::<S, _, STREAM>(s, Equal, a, b, out),
            BinaryOp::NotEqual => zip::<S, _, STREAM>(s, NotEqual, a, b, out),
            BinaryOp::Less => zip::<S, _, STREAM>(s, Less, a, b, out),
            BinaryOp::LessEqual => zip::<S, _, STREAM>(s, LessEqual, a, b, out),
            BinaryOp::Greater => zip::<S, _, STREAM>(s, Less, b, a, out),
            BinaryOp::GreaterEqual => zip::<S, _, STREAM>(s, LessEqual, b, a, out),
            BinaryOp::And => zip::<S, _, STREAM>(s, And, a, b, out),
            BinaryOp::Or => zip::<S, _, STREAM>(s, Or, a, b, out),
        }
    }
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
    And = |x, y| {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        Lanes::select(x.equal(zero), zero, Lanes::select(y.equal(zero), zero, one))
    };
    Or = |x, y| {
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        Lanes::select(x.equal(zero), Lanes::select(y.equal(zero), zero, one), one)
    };
}

/// Powers have no register form: plain loops over one element at a time.
#[inline(always)]
fn power(a: BlockOperand<'_>, b: BlockOperand<'_>, out: &mut [f32]) {
    match (a, b) {
        (BlockOperand::Slice(a), BlockOperand::Slice(b)) => {
            for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                *out = a.powf(*b);
            }
        }
        (BlockOperand::Slice(a), BlockOperand::Scalar(b)) => {
            for (out, a) in out.iter_mut().zip(a) {
                *out = a.powf(b);
            }
        }
        (BlockOperand::Scalar(a), BlockOperand::Slice(b)) => {
            for (out, b) in out.iter_mut().zip(b) {
                *out = a.powf(*b);
            }
        }
        (BlockOperand::Scalar(a), BlockOperand::Scalar(b)) => out.fill(a.powf(b)),
    }
}
