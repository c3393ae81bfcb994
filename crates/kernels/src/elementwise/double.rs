//! Functions of `f64`, computed in `f64`: what is no instruction of the processor is the standard library's.

use super::loops::{self, One, Two};
use super::strided_blocks::Block;
use super::{BinaryOp, UnaryOp};

pub(super) use super::compare::ordered as compare;

macro_rules! functions {
    ($($type:ident = |$a:ident, $b:ident| $value:expr;)*) => {$(
        struct $type;

        impl Two<f64, f64, f64> for $type {
            #[inline(always)]
            fn of($a: f64, $b: f64) -> f64 {
                $value
            }
        }
    )*};
}

functions! {
    Add = |a, b| a + b;
    Subtract = |a, b| a - b;
    Multiply = |a, b| a * b;
    Divide = |a, b| a / b;
    // The second of two zeros, and NaN if either is.
    Maximum = |a, b| if a > b || a.is_nan() { a } else { b };
    Minimum = |a, b| if a < b || a.is_nan() { a } else { b };
    Power = |a, b| a.powf(b);
    Arctan2 = |a, b| a.atan2(b);
    Logaddexp = |a, b| logaddexp(a, b);
    Remainder = |a, b| remainder(a, b);
}

/// With the sign of the divisor.
#[inline(always)]
fn remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    }
}

#[inline(always)]
fn logaddexp(a: f64, b: f64) -> f64 {
    let (most, least) = if a > b || a.is_nan() { (a, b) } else { (b, a) };
    if least == f64::NEG_INFINITY || most == f64::INFINITY {
        return most;
    }
    most + (least - most).exp().ln_1p()
}

pub(super) fn zip(op: BinaryOp, a: Block<'_, f64>, b: Block<'_, f64>, out: &mut [f64]) -> bool {
    match op {
        BinaryOp::Add => loops::zip::<Add, _, _, _>(a, b, out),
        BinaryOp::Subtract => loops::zip::<Subtract, _, _, _>(a, b, out),
        BinaryOp::Multiply => loops::zip::<Multiply, _, _, _>(a, b, out),
        BinaryOp::Divide => loops::zip::<Divide, _, _, _>(a, b, out),
        BinaryOp::Maximum => loops::zip::<Maximum, _, _, _>(a, b, out),
        BinaryOp::Minimum => loops::zip::<Minimum, _, _, _>(a, b, out),
        BinaryOp::Power => loops::zip::<Power, _, _, _>(a, b, out),
        BinaryOp::Arctan2 => loops::zip::<Arctan2, _, _, _>(a, b, out),
        BinaryOp::Logaddexp => loops::zip::<Logaddexp, _, _, _>(a, b, out),
        BinaryOp::Remainder => loops::zip::<Remainder, _, _, _>(a, b, out),
        _ => return false,
    }
    true
}

macro_rules! functions_of_one {
    ($($type:ident = |$x:ident| $value:expr;)*) => {
        $(
            struct $type;

            impl One<f64, f64> for $type {
                #[inline(always)]
                fn of($x: f64) -> f64 {
                    $value
                }
            }
        )*

        pub(super) fn map(op: UnaryOp, x: Block<'_, f64>, out: &mut [f64]) -> bool {
            match op {
                $(UnaryOp::$type => loops::map::<$type, _, _>(x, out),)*
                _ => return false,
            }
            true
        }
    };
}

functions_of_one! {
    Abs = |x| x.abs();
    Negate = |x| -x;
    Square = |x| x * x;
    Sqrt = |x| x.sqrt();
    Rsqrt = |x| 1.0 / x.sqrt();
    Reciprocal = |x| 1.0 / x;
    Floor = |x| x.floor();
    Ceil = |x| x.ceil();
    Round = |x| x.round_ties_even();
    Truncate = |x| x.trunc();
    Exp = |x| x.exp();
    Log = |x| x.ln();
    Sin = |x| x.sin();
    Cos = |x| x.cos();
    Tanh = |x| x.tanh();
    Expm1 = |x| x.exp_m1();
    Log1p = |x| x.ln_1p();
    Log2 = |x| x.log2();
    Log10 = |x| x.log10();
    Tan = |x| x.tan();
    Sinh = |x| x.sinh();
    Cosh = |x| x.cosh();
    Arccos = |x| x.acos();
    Arcsin = |x| x.asin();
    Arctan = |x| x.atan();
}
