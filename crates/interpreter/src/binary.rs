//! Elementwise operations of two or three tensors.

use mlx::{Dtype, DtypeKind, Op};
use mlx_compiler::Result;

use crate::call::Call;
use crate::complex;
use crate::number::{Number, inexact, promote};
use crate::special::logaddexp;
use crate::tensor::{Tensor, broadcast_shape};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    let combine: fn(Number, Number) -> Number = match op {
        Op::Add => Number::add,
        Op::Subtract => Number::subtract,
        Op::Multiply => Number::multiply,
        Op::Maximum => Number::maximum,
        Op::Minimum => Number::minimum,
        Op::Equal => |a, b| Number::Bool(a == b),
        Op::NotEqual => |a, b| Number::Bool(a != b),
        Op::Less => |a, b| Number::Bool(a.is_less(b)),
        Op::LessEqual => |a, b| Number::Bool(a.is_less(b) || a == b),
        Op::Greater => |a, b| Number::Bool(b.is_less(a)),
        Op::GreaterEqual => |a, b| Number::Bool(b.is_less(a) || a == b),
        Op::LogicalAnd => |a, b| Number::Bool(a.is_true() && b.is_true()),
        Op::LogicalOr => |a, b| Number::Bool(a.is_true() || b.is_true()),
        Op::LogicalXor => |a, b| Number::Bool(a.is_true() != b.is_true()),
        Op::BitwiseAnd => |a, b| bitwise(a, b, |a, b| a & b),
        Op::BitwiseOr => |a, b| bitwise(a, b, |a, b| a | b),
        Op::BitwiseXor => |a, b| bitwise(a, b, |a, b| a ^ b),
        Op::Power => power,
        Op::FloorDivide => floor_divide,
        Op::Remainder => remainder,
        _ => return inexact_or_more(op, call),
    };
    Some(pairs(call, |dtype| dtype).and_then(|(a, b)| call.one(each(&a, &b, combine))))
}

/// Operations whose inputs become floating, and those with other numbers of inputs.
fn inexact_or_more(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Divide => {
            pairs(call, inexact).and_then(|(a, b)| call.one(each(&a, &b, Number::divide)))
        }
        Op::Arctan2 => pairs(call, inexact).and_then(|(a, b)| {
            call.one(each(&a, &b, |a, b| {
                Number::Float(a.to_f64().atan2(b.to_f64()))
            }))
        }),
        Op::Logaddexp => pairs(call, inexact).and_then(|(a, b)| {
            call.one(each(&a, &b, |a, b| match (a, b) {
                (Number::Complex(..), _) | (_, Number::Complex(..)) => {
                    let (a, b) = (complex::exp(a.to_complex()), complex::exp(b.to_complex()));
                    let (re, im) = complex::ln((a.0 + b.0, a.1 + b.1));
                    Number::Complex(re, im)
                }
                _ => Number::Float(logaddexp(a.to_f64(), b.to_f64())),
            }))
        }),
        Op::LeftShift | Op::RightShift => pairs(call, |dtype| dtype).and_then(|(a, b)| {
            let bits = u32::try_from(a.dtype().size() * 8).unwrap_or(64);
            let is_left = matches!(op, Op::LeftShift);
            call.one(each(&a, &b, |a, b| shift(a, b, is_left, bits)))
        }),
        Op::Divmod => pairs(call, |dtype| dtype).and_then(|(a, b)| {
            let quotients = call.result(0, each(&a, &b, floor_divide))?;
            Ok(vec![quotients, call.result(1, each(&a, &b, remainder))?])
        }),
        Op::Where => choose(call),
        Op::Clip { min, max } => clip(call, *min, *max),
        Op::Isclose {
            rtol,
            atol,
            equal_nan,
        } => pairs(call, |dtype| dtype).and_then(|(a, b)| {
            call.one(each(&a, &b, |a, b| {
                Number::Bool(is_close(a, b, *rtol, *atol, *equal_nan))
            }))
        }),
        Op::Allclose {
            rtol,
            atol,
            equal_nan,
        } => pairs(call, |dtype| dtype).and_then(|(a, b)| {
            let mut both = a.numbers().iter().zip(b.numbers());
            let all = both.all(|(&a, &b)| is_close(a, b, *rtol, *atol, *equal_nan));
            call.one(vec![Number::Bool(all)])
        }),
        Op::ArrayEqual { equal_nan } => array_equal(call, *equal_nan),
        _ => return None,
    })
}

/// The two inputs in one shape and dtype.
fn pairs(call: &Call<'_>, dtype: fn(Dtype) -> Dtype) -> Result<(Tensor, Tensor)> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let common = dtype(promote(a.dtype(), b.dtype()));
    let shape = broadcast_shape([a.shape(), b.shape()].into_iter())?;
    let make = |x: &Tensor| x.astype(common, call.rounding).broadcast_to(&shape);
    Ok((make(a)?, make(b)?))
}

fn each(a: &Tensor, b: &Tensor, combine: impl Fn(Number, Number) -> Number) -> Vec<Number> {
    a.numbers()
        .iter()
        .zip(b.numbers())
        .map(|(&a, &b)| combine(a, b))
        .collect()
}

fn bitwise(a: Number, b: Number, combine: fn(u64, u64) -> u64) -> Number {
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_wrap)]
    match (a, b) {
        (Number::Bool(a), Number::Bool(b)) => Number::Bool(combine(a.into(), b.into()) != 0),
        (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(combine(a, b)),
        (a, b) => Number::Int(combine(a.to_i64() as u64, b.to_i64() as u64) as i64),
    }
}

/// Shifts by at least the width count modulo 32, or 64 for integers of 64 bits, as processors do.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn shift(a: Number, b: Number, is_left: bool, bits: u32) -> Number {
    let by = b.to_i64() as u32 & if bits == 64 { 63 } else { 31 };
    match (a, is_left) {
        (Number::Unsigned(a), true) => Number::Unsigned(a << by),
        (Number::Unsigned(a), false) => Number::Unsigned(a >> by),
        (a, true) => Number::Int(a.to_i64() << by),
        (a, false) => Number::Int(a.to_i64() >> by),
    }
}

/// Integers are raised by repeated products that wrap; to a negative power they give 0, as MLX's loop does.
fn power(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Bool(a), Number::Bool(b)) => Number::Bool(a || !b),
        (Number::Int(a), Number::Int(b)) => Number::Int(wrapping_power(a, b)),
        (Number::Unsigned(a), Number::Unsigned(b)) => {
            let (mut result, mut base, mut left) = (1_u64, a, b);
            while left > 0 {
                if left & 1 == 1 {
                    result = result.wrapping_mul(base);
                }
                base = base.wrapping_mul(base);
                left >>= 1;
            }
            Number::Unsigned(result)
        }
        (Number::Float(a), Number::Float(b)) => Number::Float(a.powf(b)),
        (a, b) => {
            let (re, im) = complex::pow(a.to_complex(), b.to_complex());
            Number::Complex(re, im)
        }
    }
}

fn wrapping_power(base: i64, exponent: i64) -> i64 {
    if exponent < 0 {
        return 0;
    }
    let (mut result, mut base, mut left) = (1_i64, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = result.wrapping_mul(base);
        }
        base = base.wrapping_mul(base);
        left >>= 1;
    }
    result
}

/// Division rounds down; of integers by zero it gives 0, and complex numbers are divided without rounding.
fn floor_divide(a: Number, b: Number) -> Number {
    match (a, b) {
        (_, Number::Int(0) | Number::Unsigned(0) | Number::Bool(false)) => Number::Int(0),
        (Number::Bool(a), Number::Bool(_)) => Number::Bool(a),
        (Number::Int(a), Number::Int(b)) => {
            let is_below = a.wrapping_rem(b) != 0 && (a < 0) != (b < 0);
            Number::Int(a.wrapping_div(b) - i64::from(is_below))
        }
        (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(a / b),
        (Number::Complex(..), _) | (_, Number::Complex(..)) => a.divide(b),
        (a, b) => Number::Float(float_floor_divide(a.to_f64(), b.to_f64())),
    }
}

/// The floor of the quotient as NumPy takes it, from the exact remainder.
fn float_floor_divide(a: f64, b: f64) -> f64 {
    let ratio = a / b;
    if b == 0.0 || ratio.is_nan() {
        return ratio;
    }
    if b.is_infinite() && a.is_finite() {
        return if a != 0.0 && (a < 0.0) != (b < 0.0) {
            -1.0
        } else {
            ratio * 0.0
        };
    }
    let rest = a % b;
    let rest = if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    };
    let whole = ((a - rest) / b).round();
    if whole == 0.0 { ratio * 0.0 } else { whole }
}

/// The remainder has the sign of the divisor; by zero it is 0 for integers.
fn remainder(a: Number, b: Number) -> Number {
    match (a, b) {
        (_, Number::Int(0) | Number::Unsigned(0) | Number::Bool(false)) => Number::Int(0),
        (Number::Bool(_), Number::Bool(_)) => Number::Bool(false),
        (Number::Int(a), Number::Int(b)) => {
            let rest = a.wrapping_rem(b);
            Number::Int(if rest != 0 && (rest < 0) != (b < 0) {
                rest + b
            } else {
                rest
            })
        }
        (Number::Unsigned(a), Number::Unsigned(b)) => Number::Unsigned(a % b),
        (Number::Complex(..), _) | (_, Number::Complex(..)) => {
            let ((a, b), (c, d)) = (a.to_complex(), b.to_complex());
            let (re, im) = complex::divide((a, b), (c, d));
            let (re, im) = complex::multiply((re.floor(), im.floor()), (c, d));
            Number::Complex(a - re, b - im)
        }
        (a, b) => {
            let (a, b) = (a.to_f64(), b.to_f64());
            let rest = a % b;
            Number::Float(if rest != 0.0 && (rest < 0.0) != (b < 0.0) {
                rest + b
            } else {
                rest
            })
        }
    }
}

fn choose(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let shape = call.shape()?;
    let condition = call.input(0)?.broadcast_to(&shape)?;
    let (_, values) = call.common(&[call.input(1)?, call.input(2)?])?;
    let [a, b] = values.as_slice() else {
        return Err(call.error("wanted two values"));
    };
    let (a, b) = (a.broadcast_to(&shape)?, b.broadcast_to(&shape)?);
    let pick = |(k, condition): (usize, &Number)| {
        if condition.is_true() {
            a.at(k)
        } else {
            b.at(k)
        }
    };
    call.one(condition.numbers().iter().enumerate().map(pick).collect())
}

fn clip(call: &Call<'_>, min: bool, max: bool) -> Result<Vec<Tensor>> {
    let (_, inputs) = call.common(call.inputs)?;
    let mut numbers = inputs.first().map_or(Vec::new(), |x| x.numbers().to_vec());
    let bounds = inputs.iter().skip(1);
    let is_min = [(min, true), (max, false)]
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, is_min)| is_min);
    for (bound, is_min) in bounds.zip(is_min) {
        for (number, &bound) in numbers.iter_mut().zip(bound.numbers()) {
            *number = if is_min {
                number.maximum(bound)
            } else {
                number.minimum(bound)
            };
        }
    }
    call.one(numbers)
}

fn is_close(a: Number, b: Number, rtol: f64, atol: f64, equal_nan: bool) -> bool {
    if a.is_nan() || b.is_nan() {
        return equal_nan && a.is_nan() && b.is_nan();
    }
    let ((a, b), (c, d)) = (a.to_complex(), b.to_complex());
    if a.is_infinite() || c.is_infinite() || b.is_infinite() || d.is_infinite() {
        return a == c && b == d;
    }
    (a - c).hypot(b - d) <= atol + rtol * c.hypot(d)
}

fn array_equal(call: &Call<'_>, equal_nan: bool) -> Result<Vec<Tensor>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if a.shape() != b.shape() {
        return call.one(vec![Number::Bool(false)]);
    }
    let (a, b) = pairs(call, |dtype| dtype)?;
    let same = |(a, b): (&Number, &Number)| a == b || (equal_nan && a.is_nan() && b.is_nan());
    let is_inexact = matches!(a.dtype().kind(), DtypeKind::Floating | DtypeKind::Complex);
    let same = a
        .numbers()
        .iter()
        .zip(b.numbers())
        .all(|pair| same(pair) && (is_inexact || pair.0 == pair.1));
    call.one(vec![Number::Bool(same)])
}
