//! Powers of complex zero on CUDA, which go through a logarithm there: NaN, where CPUs give 1 and 0.

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
    if !matches!(op, Op::Power) || !inputs.iter().any(is_complex) || !stream::is_cuda(stream) {
        return Ok(None);
    }
    let calculate = Calculator::on(stream);
    let power = calculate.apply(op, inputs)?;
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
    let power = calculate.choose(&both(&of_zero, &is_one)?, &one, &power)?;
    Ok(Some(Outputs::One(power)))
}
