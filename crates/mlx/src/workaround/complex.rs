//! Complex numbers on CUDA: powers of zero go through a logarithm there and are NaN, where CPUs give 1 and 0, the logarithm
//! of a sum of exponentials forgets the angle between numbers of the same real part, and hyperbolic functions have no
//! inverse.

use super::calculate::Calculator;
use crate::Dtype;
use crate::dtype::Complex64;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, stream};
use crate::op::Op;

pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let is_complex = |x: &&Handle| x.dtype() == Dtype::Complex64;
    if !inputs.iter().any(is_complex) || !stream::is_cuda(stream) {
        return Ok(None);
    }
    let calculate = Calculator::on(stream);
    let result = match op {
        Op::Power => power(inputs, calculate)?,
        Op::Logaddexp => logaddexp(inputs, calculate)?,
        Op::Arcsinh | Op::Arccosh | Op::Arctanh => inverse_hyperbolic(op, inputs[0], calculate)?,
        _ => return Ok(None),
    };
    Ok(Some(Outputs::One(result)))
}

/// `log(z + sqrt(z^2 + 1))`, `log(z + sqrt(z + 1) sqrt(z - 1))` and `(log(1 + z) - log(1 - z)) / 2`.
fn inverse_hyperbolic(op: &Op, z: &Handle, calculate: Calculator) -> Result<Handle, NativeError> {
    let number = |value| calculate.number(Complex64::new(value, 0.0), Dtype::Complex64);
    let one = number(1.0)?;
    let root = |x: &Handle| calculate.unary(Op::Sqrt, x);
    let log = |x: &Handle| calculate.unary(Op::Log, x);
    let (up, down) = (calculate.add(z, &one)?, calculate.subtract(z, &one)?);
    if matches!(op, Op::Arctanh) {
        let difference =
            calculate.subtract(&log(&up)?, &log(&calculate.unary(Op::Negative, &down)?)?)?;
        return calculate.multiply(&difference, &number(0.5)?);
    }
    let other = match op {
        Op::Arccosh => calculate.multiply(&root(&up)?, &root(&down)?)?,
        _ => root(&calculate.add(&calculate.multiply(z, z)?, &one)?)?,
    };
    log(&calculate.add(z, &other)?)
}

/// `log(exp(a) + exp(b))` as `m + log(1 + exp(n - m))`, where `m` is the one with the larger real part.
fn logaddexp(inputs: &[&Handle], calculate: Calculator) -> Result<Handle, NativeError> {
    let [a, b] = [inputs[0], inputs[1]].map(|x| calculate.astype(x, Dtype::Complex64));
    let (a, b) = (a?, b?);
    let real = |x: &Handle| calculate.unary(Op::Real, x);
    let is_larger = calculate.binary(Op::Greater, &real(&a)?, &real(&b)?)?;
    let larger = calculate.choose(&is_larger, &a, &b)?;
    let other = calculate.choose(&is_larger, &b, &a)?;
    let ratio = calculate.unary(Op::Exp, &calculate.subtract(&other, &larger)?)?;
    let one = calculate.number(Complex64::new(1.0, 0.0), Dtype::Complex64)?;
    let sum = calculate.unary(Op::Log, &calculate.add(&one, &ratio)?)?;
    calculate.add(&larger, &sum)
}

fn power(inputs: &[&Handle], calculate: Calculator) -> Result<Handle, NativeError> {
    let power = calculate.apply(&Op::Power, inputs)?;
    let [base, exponent] = [inputs[0], inputs[1]].map(|x| calculate.astype(x, Dtype::Complex64));
    let (base, exponent) = (base?, exponent?);
    let number = |value| calculate.number(Complex64::new(value, 0.0), Dtype::Complex64);
    let (zero, one) = (number(0.0)?, number(1.0)?);
    let of_zero = calculate.binary(Op::Equal, &base, &zero)?;
    let is_one = calculate.binary(Op::Equal, &exponent, &zero)?;
    let real = calculate.unary(Op::Real, &exponent)?;
    let is_zero = calculate.binary(
        Op::Greater,
        &real,
        &calculate.number(0.0_f32, Dtype::Float32)?,
    )?;
    let both = |a: &Handle, b: &Handle| calculate.binary(Op::LogicalAnd, a, b);
    let power = calculate.choose(&both(&of_zero, &is_zero)?, &zero, &power)?;
    calculate.choose(&both(&of_zero, &is_one)?, &one, &power)
}
