//! Gradients by central differences: independent of any rule of differentiation.

use mlx::transforms::Transform;

use super::machine::{Interpreter, Prepared};
use super::number::{Number, Rounding};
use super::tensor::Tensor;
use crate::{Error, Result};

/// Applies a transform of the functions inside a node.
///
/// Gradients are central differences in `f64`, whatever the rounding asked for. They are good to about 1e-9 where the
/// function is smooth.
pub(super) fn run(
    interpreter: &Interpreter,
    transform: &Transform,
    functions: &[Prepared<'_>],
    n_captures: usize,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>> {
    match (transform, functions) {
        (Transform::ValueAndGrad { argnums }, [function]) => {
            value_and_grad(interpreter, argnums, function, n_captures, inputs)
        }
        _ => Err(super::unknown(transform.name())),
    }
}

fn value_and_grad(
    interpreter: &Interpreter,
    argnums: &[usize],
    function: &Prepared<'_>,
    n_captures: usize,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>> {
    let mut results = interpreter.run_prepared(function, inputs)?;
    let exact = Interpreter {
        rounding: Rounding::Exact,
        ..interpreter.clone()
    };
    let n_own = inputs.len().saturating_sub(n_captures);
    for &argnum in argnums {
        let input = inputs
            .get(argnum)
            .filter(|_| argnum < n_own)
            .ok_or_else(|| {
                Error::Unsupported(format!(
                    "value_and_grad: wanted one of {n_own} inputs, got {argnum}"
                ))
            })?;
        let value = |place: usize, by: f64| -> Result<f64> {
            let mut numbers = input.numbers().to_vec();
            if let Some(slot) = numbers.get_mut(place) {
                *slot = Number::Float(slot.to_f64() + by);
            }
            let moved = Tensor::rounded(input.shape(), input.dtype(), numbers, Rounding::Exact)?;
            let mut all = inputs.to_vec();
            all[argnum] = &moved;
            let outputs = exact.run_prepared(function, &all)?;
            Ok(outputs
                .first()
                .map_or(f64::NAN, |output| output.at(0).to_f64()))
        };
        let slope = |place: usize| -> Result<Number> {
            let step = 1e-5 * input.at(place).to_f64().abs().max(1.0);
            let near = (value(place, step)? - value(place, -step)?) / (2.0 * step);
            let far = (value(place, 2.0 * step)? - value(place, -2.0 * step)?) / (4.0 * step);
            // Richardson's extrapolation takes away the error of second order.
            Ok(Number::Float((4.0 * near - far) / 3.0))
        };
        let numbers = (0..input.size()).map(slope).collect::<Result<Vec<_>>>()?;
        results.push(Tensor::rounded(
            input.shape(),
            input.dtype(),
            numbers,
            interpreter.rounding,
        )?);
    }
    Ok(results)
}
