//! Elementwise operations of one tensor.

use mlx::{Dtype, DtypeKind, Op};
use mlx_compiler::Result;

use crate::call::Call;
use crate::complex;
use crate::number::{Number, inexact};
use crate::special::{erf, erfinv};
use crate::tensor::Tensor;

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    let keep: fn(Number) -> Number = match op {
        Op::Abs => abs,
        Op::BitwiseInvert => bitwise_invert,
        Op::Ceil => |x| rounded(x, f64::ceil),
        Op::Floor => |x| rounded(x, f64::floor),
        Op::Trunc => |x| rounded(x, f64::trunc),
        Op::Conjugate => |x| match x {
            Number::Complex(re, im) => Number::Complex(re, -im),
            other => other,
        },
        Op::Copy | Op::Positive | Op::StopGradient | Op::Astype { .. } | Op::Contiguous { .. } => {
            |x| x
        }
        Op::Real => |x| Number::Float(x.to_f64()),
        Op::Imag => |x| Number::Float(x.to_complex().1),
        Op::Isfinite => |x| Number::Bool(parts(x).iter().all(|part| part.is_finite())),
        Op::Isinf => |x| Number::Bool(parts(x).iter().any(|part| part.is_infinite())),
        Op::Isnan => |x| Number::Bool(x.is_nan()),
        Op::Isneginf => |x| Number::Bool(x.to_f64() == f64::NEG_INFINITY),
        Op::Isposinf => |x| Number::Bool(x.to_f64() == f64::INFINITY),
        Op::LogicalNot => |x| Number::Bool(!x.is_true()),
        Op::Negative => negative,
        Op::Sign => sign,
        Op::Square => |x| x.multiply(x),
        _ => return special(op, call).or_else(|| mathematical(op, call)),
    };
    Some(
        call.input(0)
            .and_then(|x| call.one(x.numbers().iter().map(|&x| keep(x)).collect())),
    )
}

/// Operations with attributes, or on bits.
fn special(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Round { decimals } => call.input(0).and_then(|x| {
            let scale = 10_f64.powi(*decimals);
            let wide = call.rounding.round(1.0, x.dtype()) * scale;
            let round = |value: f64| {
                if *decimals == 0 {
                    value.round_ties_even()
                } else {
                    call.rounding
                        .round(value * wide, x.dtype())
                        .round_ties_even()
                        / scale
                }
            };
            call.one(
                x.numbers()
                    .iter()
                    .map(|&x| match x {
                        Number::Complex(re, im) => Number::Complex(round(re), round(im)),
                        Number::Float(x) => Number::Float(round(x)),
                        x if *decimals >= 0 => x,
                        x => Number::Float(round(x.to_f64())),
                    })
                    .collect(),
            )
        }),
        Op::NanToNum {
            nan,
            posinf,
            neginf,
        } => call.input(0).and_then(|x| {
            let most = largest(x.dtype());
            let replace = |x: f64| match x {
                x if x.is_nan() => f64::from(*nan),
                f64::INFINITY => posinf.map_or(most, f64::from),
                f64::NEG_INFINITY => neginf.map_or(-most, f64::from),
                x => x,
            };
            call.one(
                x.numbers()
                    .iter()
                    .map(|&x| match x {
                        Number::Float(x) => Number::Float(replace(x)),
                        Number::Complex(re, im) => Number::Complex(replace(re), replace(im)),
                        x => x,
                    })
                    .collect(),
            )
        }),
        Op::View { dtype } => call
            .input(0)
            .and_then(|x| crate::bits::view(x, *dtype, call)),
        Op::ToFp8 => call.input(0).and_then(|x| {
            call.one(
                x.numbers()
                    .iter()
                    .map(|x| Number::Unsigned(crate::bits::to_fp8(x.to_f64())))
                    .collect(),
            )
        }),
        Op::FromFp8 { .. } => call.input(0).and_then(|x| {
            call.one(
                x.numbers()
                    .iter()
                    .map(|x| Number::Float(crate::bits::from_fp8(x.to_i64())))
                    .collect(),
            )
        }),
        _ => return None,
    })
}

/// Functions of real and complex numbers: integers become `float32` first.
fn mathematical(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    type Real = fn(f64) -> f64;
    type Other = fn(complex::Complex) -> complex::Complex;
    let (real, other): (Real, Other) = match op {
        Op::Arccos => (f64::acos, complex::acos),
        Op::Arccosh => (f64::acosh, complex::acosh),
        Op::Arcsin => (f64::asin, complex::asin),
        Op::Arcsinh => (f64::asinh, complex::asinh),
        Op::Arctan => (f64::atan, complex::atan),
        Op::Arctanh => (f64::atanh, complex::atanh),
        Op::Cos => (f64::cos, complex::cos),
        Op::Cosh => (f64::cosh, complex::cosh),
        Op::Degrees => (f64::to_degrees, |z| (z.0.to_degrees(), z.1.to_degrees())),
        Op::Erf => (erf, |z| (erf(z.0), 0.0)),
        Op::Erfinv => (erfinv, |z| (erfinv(z.0), 0.0)),
        Op::Exp => (f64::exp, complex::exp),
        Op::Expm1 => (f64::exp_m1, |z| {
            let (re, im) = complex::exp(z);
            (re - 1.0, im)
        }),
        Op::Log => (f64::ln, complex::ln),
        Op::Log10 => (f64::log10, |z| {
            scaled(complex::ln(z), std::f64::consts::LN_10)
        }),
        Op::Log1p => (f64::ln_1p, |z| complex::ln((z.0 + 1.0, z.1))),
        Op::Log2 => (f64::log2, |z| {
            scaled(complex::ln(z), std::f64::consts::LN_2)
        }),
        Op::Radians => (f64::to_radians, |z| (z.0.to_radians(), z.1.to_radians())),
        Op::Reciprocal => (f64::recip, |z| complex::divide((1.0, 0.0), z)),
        Op::Rsqrt => (
            |x| 1.0 / x.sqrt(),
            |z| complex::divide((1.0, 0.0), complex::sqrt(z)),
        ),
        Op::Sigmoid => (sigmoid, |z| {
            let (re, im) = complex::exp((-z.0, -z.1));
            complex::divide((1.0, 0.0), (1.0 + re, im))
        }),
        Op::Sin => (f64::sin, complex::sin),
        Op::Sinh => (f64::sinh, complex::sinh),
        Op::Sqrt => (f64::sqrt, complex::sqrt),
        Op::Tan => (f64::tan, |z| {
            complex::divide(complex::sin(z), complex::cos(z))
        }),
        Op::Tanh => (f64::tanh, complex::tanh),
        _ => return None,
    };
    Some(call.input(0).and_then(|x| {
        let dtype = inexact(x.dtype());
        call.one(
            x.numbers()
                .iter()
                .map(|x| match x.cast(dtype, call.rounding) {
                    Number::Complex(re, im) => {
                        let (re, im) = other((re, im));
                        Number::Complex(re, im)
                    }
                    x => Number::Float(real(x.to_f64())),
                })
                .collect(),
        )
    }))
}

/// Returns `1 / (1 + exp(-x))` without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x < 0.0 {
        small / (1.0 + small)
    } else {
        1.0 / (1.0 + small)
    }
}

fn scaled((re, im): complex::Complex, by: f64) -> complex::Complex {
    (re / by, im / by)
}

fn parts(x: Number) -> [f64; 2] {
    let (re, im) = x.to_complex();
    [re, im]
}

fn rounded(x: Number, round: fn(f64) -> f64) -> Number {
    match x {
        Number::Float(x) => Number::Float(round(x)),
        Number::Complex(re, im) => Number::Complex(round(re), round(im)),
        x => x,
    }
}

fn abs(x: Number) -> Number {
    match x {
        Number::Int(x) => Number::Int(x.wrapping_abs()),
        Number::Float(x) => Number::Float(x.abs()),
        Number::Complex(re, im) => Number::Float(re.hypot(im)),
        x => x,
    }
}

fn negative(x: Number) -> Number {
    match x {
        Number::Bool(x) => Number::Bool(!x),
        Number::Int(x) => Number::Int(x.wrapping_neg()),
        Number::Unsigned(x) => Number::Unsigned(x.wrapping_neg()),
        Number::Float(x) => Number::Float(-x),
        Number::Complex(re, im) => Number::Complex(-re, -im),
    }
}

fn sign(x: Number) -> Number {
    // That of NaN is NaN, as in NumPy.
    let of = |x: f64| {
        if x.is_nan() {
            x
        } else {
            f64::from(i8::from(x > 0.0) - i8::from(x < 0.0))
        }
    };
    match x {
        Number::Bool(_) => x,
        Number::Int(x) => Number::Int(x.signum()),
        Number::Unsigned(x) => Number::Unsigned(x.min(1)),
        Number::Float(x) => Number::Float(of(x)),
        Number::Complex(0.0, 0.0) => x,
        Number::Complex(re, im) => {
            let size = re.hypot(im);
            Number::Complex(re / size, im / size)
        }
    }
}

fn bitwise_invert(x: Number) -> Number {
    match x {
        Number::Bool(x) => Number::Bool(!x),
        Number::Int(x) => Number::Int(!x),
        Number::Unsigned(x) => Number::Unsigned(!x),
        x => x,
    }
}

/// The maximum finite number of a dtype.
pub(crate) fn largest(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::Float16 => 65504.0,
        Dtype::Bfloat16 => f64::from(half::bf16::MAX),
        Dtype::Float64 => f64::MAX,
        _ if dtype.kind() == DtypeKind::Floating || dtype.kind() == DtypeKind::Complex => {
            f64::from(f32::MAX)
        }
        _ => f64::INFINITY,
    }
}
