//! Random numbers that MLX makes of too few bits.
//!
//! Integers come from a `float32` between the bounds, so that ranges above 2^24 have no odd numbers; numbers rounded up
//! to an excluded bound; normal numbers of a tail from an error function that is 1 there.

use super::calculate::{Calculator, known};
use crate::Dtype;
use crate::dtype::DtypeKind;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError};
use crate::op::Op;

/// Ranges up to this are MLX's own, of which each number has at least sixteen of the `float32` below 1.
const NARROW: f64 = (1 << 20) as f64;
/// Integers up to this are numbers of `float32`.
const SINGLE: f64 = (1 << 24) as f64;
/// Bounds of the normal distribution within which `float32` has enough digits of the error function.
const MIDDLE: f64 = 3.0;

/// Draws what MLX gets wrong; nothing when `op` is not of these.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let calculate = Calculator::on(stream);
    let plain = || -> Result<Handle, NativeError> { calculate.apply(op, inputs) };
    let drawn = match op {
        Op::RandomUniform { dtype, .. } if !is_zero(inputs[0]) => {
            below_high(&plain()?, inputs, *dtype, calculate)?
        }
        Op::RandomRandint { shape, dtype } if is_integer(*dtype, inputs) => {
            match is_narrow(inputs) {
                Some(true) => return Ok(None),
                found => {
                    let plain = plain()?;
                    let wide = integers(shape, *dtype, inputs, calculate)?;
                    match found {
                        Some(_) => wide,
                        None => narrow_or(&plain, &wide, inputs, calculate)?,
                    }
                }
            }
        }
        // What MLX draws in half precision is off by several of its steps.
        Op::RandomTruncatedNormal { shape, dtype }
            if *dtype != Dtype::Float32 || !is_middle(inputs) =>
        {
            let _refused = plain()?;
            truncated_normal(shape, *dtype, inputs, calculate)?
        }
        _ => return Ok(None),
    };
    Ok(Some(Outputs::One(drawn)))
}

fn is_zero(x: &Handle) -> bool {
    known(x).is_some_and(|all| all.iter().all(|&x| x == 0.0))
}

/// What would be the excluded bound is the other one: rounding gave each half of its neighbours.
fn below_high(
    drawn: &Handle,
    inputs: &[&Handle],
    dtype: Dtype,
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let low = calculate.astype(inputs[0], dtype)?;
    let high = calculate.astype(inputs[1], dtype)?;
    let is_high = calculate.binary(Op::GreaterEqual, drawn, &high)?;
    let is_range = calculate.binary(Op::Less, &low, &high)?;
    let is_high = calculate.binary(Op::LogicalAnd, &is_high, &is_range)?;
    calculate.choose(&is_high, &low, drawn)
}

fn is_integer(dtype: Dtype, inputs: &[&Handle]) -> bool {
    let is_integer = |dtype: Dtype| matches!(dtype.kind(), DtypeKind::Signed | DtypeKind::Unsigned);
    is_integer(dtype) && inputs[..2].iter().all(|bound| is_integer(bound.dtype()))
}

/// Whether all bounds are those of narrow ranges, if they are known.
fn is_narrow(inputs: &[&Handle]) -> Option<bool> {
    let (low, high) = (known(inputs[0])?, known(inputs[1])?);
    let least = low.iter().copied().fold(f64::INFINITY, f64::min);
    let most = high.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let is_narrow = least.abs() <= SINGLE && most.abs() <= SINGLE && most - least <= NARROW;
    // Of several ranges each is looked at by itself, as it is when nothing is known.
    let is_one = low.len() == 1 && high.len() == 1;
    (is_narrow || is_one).then_some(is_narrow)
}

/// MLX's own numbers for narrow ranges, `wide` for others.
fn narrow_or(
    plain: &Handle,
    wide: &Handle,
    inputs: &[&Handle],
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let single = |x: &Handle| calculate.astype(x, Dtype::Float32);
    let (low, high) = (single(inputs[0])?, single(inputs[1])?);
    let at_most = |x: &Handle, most: f64| {
        let most = calculate.number(most, Dtype::Float32)?;
        calculate.binary(Op::LessEqual, x, &most)
    };
    let small = |x: &Handle| at_most(&calculate.unary(Op::Abs, x)?, SINGLE);
    let range = at_most(&calculate.subtract(&high, &low)?, NARROW)?;
    let bounds = calculate.binary(Op::LogicalAnd, &small(&low)?, &small(&high)?)?;
    let is_narrow = calculate.binary(Op::LogicalAnd, &range, &bounds)?;
    calculate.choose(&is_narrow, plain, wide)
}

/// `low + floor(word * (high - low) / 2^64)` of words of 64 random bits.
fn integers(
    shape: &[i32],
    dtype: Dtype,
    inputs: &[&Handle],
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let long = Dtype::Uint64;
    let (low, high) = (
        calculate.astype(inputs[0], long)?,
        calculate.astype(inputs[1], long)?,
    );
    let range = calculate.subtract(&high, &low)?;
    let [upper, lower] = words(shape, inputs[2], calculate)?;
    let offset = high_product(&upper, &lower, &range, calculate)?;
    let drawn = calculate.add(&low, &offset)?;
    // Without a range there is only one number.
    let is_range = calculate.binary(Op::Less, inputs[0], inputs[1])?;
    let drawn = calculate.choose(&is_range, &drawn, &low)?;
    calculate.astype(&drawn, dtype)
}

/// Two random words of 32 bits for each element, as 64 bits.
fn words(shape: &[i32], key: &Handle, calculate: Calculator) -> Result<[Handle; 2], NativeError> {
    let mut both = vec![2];
    both.extend_from_slice(shape);
    let bits = Op::RandomBits {
        shape: both.clone(),
        width: 4,
    };
    let bits = calculate.astype(&calculate.apply(&bits, &[key])?, Dtype::Uint64)?;
    let half = |first: i32| -> Result<Handle, NativeError> {
        let mut start = vec![0; both.len()];
        let mut stop = both.clone();
        (start[0], stop[0]) = (first, first + 1);
        let strides = vec![1; both.len()];
        let part = calculate.unary(
            Op::Slice {
                start,
                stop,
                strides,
            },
            &bits,
        )?;
        calculate.unary(Op::Squeeze { axes: vec![0] }, &part)
    };
    Ok([half(0)?, half(1)?])
}

/// The upper 64 bits of the product of `upper * 2^32 + lower` and `range`.
fn high_product(
    upper: &Handle,
    lower: &Handle,
    range: &Handle,
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let half = calculate.number(32_u64, Dtype::Uint64)?;
    let mask = calculate.number(u64::from(u32::MAX), Dtype::Uint64)?;
    let high = |x: &Handle| calculate.binary(Op::RightShift, x, &half);
    let low = |x: &Handle| calculate.binary(Op::BitwiseAnd, x, &mask);
    let (r1, r0) = (high(range)?, low(range)?);
    let carried = high(&calculate.multiply(lower, &r0)?)?;
    let middle = calculate.add(&calculate.multiply(upper, &r0)?, &carried)?;
    let other = calculate.add(&calculate.multiply(lower, &r1)?, &low(&middle)?)?;
    let sum = calculate.add(&calculate.multiply(upper, &r1)?, &high(&middle)?)?;
    calculate.add(&sum, &high(&other)?)
}

/// Whether both bounds are known to be in the middle of the distribution.
fn is_middle(inputs: &[&Handle]) -> bool {
    let is_middle = |x: &Handle| known(x).is_some_and(|all| all.iter().all(|x| x.abs() <= MIDDLE));
    is_middle(inputs[0]) && is_middle(inputs[1])
}

/// Draws from the normal distribution between bounds anywhere, seen from the side of the upper tail.
fn truncated_normal(
    shape: &[i32],
    dtype: Dtype,
    inputs: &[&Handle],
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let wide = calculate.widest();
    let number = |x: f64| calculate.wide(x);
    let (low, high) = (
        calculate.astype(inputs[0], wide)?,
        calculate.astype(inputs[1], wide)?,
    );
    let unit = Op::RandomUniform {
        shape: shape.to_vec(),
        dtype: Dtype::Float32,
    };
    let single = |x: f32| calculate.number(x, Dtype::Float32);
    let unit = calculate.apply(&unit, &[&single(0.0)?, &single(1.0)?, inputs[2]])?;
    let unit = calculate.astype(&unit, wide)?;
    // A probability of 0 would be an infinite number.
    let unit = calculate.binary(Op::Maximum, &unit, &number(2_f64.powi(-33))?)?;

    let is_lower = calculate.binary(Op::Less, &calculate.add(&low, &high)?, &number(0.0)?)?;
    let negative = |x: &Handle| calculate.unary(Op::Negative, x);
    let from = calculate.choose(&is_lower, &negative(&high)?, &low)?;
    let to = calculate.choose(&is_lower, &negative(&low)?, &high)?;
    let mirrored = calculate.subtract(&number(1.0)?, &unit)?;
    let unit = calculate.choose(&is_lower, &mirrored, &unit)?;

    let middle = by_error_function(&from, &to, &unit, calculate)?;
    // Beyond this, 1 - erf loses more digits than the approximation of the tail.
    let edge = number(if wide == Dtype::Float64 { 4.0 } else { 2.0 })?;
    let is_tail = calculate.binary(Op::Greater, &from, &edge)?;
    let tail_from = calculate.binary(Op::Maximum, &from, &edge)?;
    let tail_to = calculate.binary(Op::Maximum, &to, &tail_from)?;
    let tail = by_tail(&tail_from, &tail_to, &unit, calculate)?;

    let drawn = calculate.choose(&is_tail, &tail, &middle)?;
    let drawn = calculate.choose(&is_lower, &negative(&drawn)?, &drawn)?;
    let drawn = calculate.astype(&drawn, dtype)?;
    let most = calculate.astype(&high, dtype)?;
    let least = calculate.astype(&low, dtype)?;
    let drawn = calculate.binary(Op::Minimum, &drawn, &most)?;
    calculate.binary(Op::Maximum, &drawn, &least)
}

/// `sqrt(2) * erfinv(e(from) + unit * (e(to) - e(from)))` with `e(x) = erf(x / sqrt(2))`.
fn by_error_function(
    from: &Handle,
    to: &Handle,
    unit: &Handle,
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let root = calculate.wide(std::f64::consts::SQRT_2)?;
    let error = |x: &Handle| calculate.unary(Op::Erf, &calculate.divide(x, &root)?);
    let (a, b) = (error(from)?, error(to)?);
    let between = calculate.multiply(unit, &calculate.subtract(&b, &a)?)?;
    let inverse = calculate.unary(Op::Erfinv, &calculate.add(&a, &between)?)?;
    calculate.multiply(&root, &inverse)
}

/// Solves `Q(x) = Q(from) * w` with `w = 1 - unit * (1 - Q(to) / Q(from))`, where `Q(x) = m(x) * exp(-x^2 / 2)` up to a
/// factor: from the solution for a constant `m`, by Newton's steps on the logarithm.
fn by_tail(
    from: &Handle,
    to: &Handle,
    unit: &Handle,
    calculate: Calculator,
) -> Result<Handle, NativeError> {
    let number = |x: f64| calculate.wide(x);
    // `(from^2 - x^2) / 2`, without the squares.
    let power = |x: &Handle| -> Result<Handle, NativeError> {
        let product =
            calculate.multiply(&calculate.subtract(from, x)?, &calculate.add(from, x)?)?;
        calculate.multiply(&product, &number(0.5)?)
    };
    let first = mills(from, calculate)?;
    let ratio = calculate.divide(&mills(to, calculate)?, &first)?;
    let ratio = calculate.multiply(&ratio, &calculate.unary(Op::Exp, &power(to)?)?)?;
    let taken = calculate.multiply(unit, &calculate.subtract(&ratio, &number(1.0)?)?)?;
    let log = calculate.unary(Op::Log1p, &taken)?;
    let square = calculate.multiply(from, from)?;
    let start = calculate.subtract(&square, &calculate.multiply(&number(2.0)?, &log)?)?;
    let mut x = calculate.unary(Op::Sqrt, &start)?;
    for _ in 0..3 {
        let here = mills(&x, calculate)?;
        let change = calculate.unary(Op::Log, &calculate.divide(&here, &first)?)?;
        let error = calculate.subtract(&calculate.add(&power(&x)?, &change)?, &log)?;
        x = calculate.add(&x, &calculate.multiply(&here, &error)?)?;
    }
    Ok(x)
}

/// Mills' ratio of the normal distribution from its continued fraction, `1 / (x + 1 / (x + 2 / (x + ..)))`.
fn mills(x: &Handle, calculate: Calculator) -> Result<Handle, NativeError> {
    const DEPTH: i32 = 14;
    let mut fraction = x.duplicate()?;
    for k in (1..=DEPTH).rev() {
        let k = calculate.number(k, calculate.widest())?;
        fraction = calculate.add(x, &calculate.divide(&k, &fraction)?)?;
    }
    calculate.unary(Op::Reciprocal, &fraction)
}
