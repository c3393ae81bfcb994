//! Function transforms: gradients by central differences, independent of any rule of differentiation.

use mlx::transforms::Transform;
use mlx_compiler::{Error, Result};

use crate::evaluator::{Interpreter, PreparedGraph};
use crate::number::{Number, Rounding};
use crate::shape::select;
use crate::tensor::{Tensor, axis};

/// Applies a transform of the functions inside a node.
///
/// Gradients are central differences in `f64`, independent of the rounding asked for. They are good to about 1e-9 where
/// the function is smooth. A function that stops gradients or has its own is refused: differences do not reflect that.
pub(crate) fn run(
    interpreter: &Interpreter,
    transform: &Transform,
    functions: &[PreparedGraph<'_>],
    n_captures: usize,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>> {
    let function = functions
        .first()
        .ok_or_else(|| crate::unknown(transform.name()))?;
    let (own, captures) = inputs.split_at(inputs.len().saturating_sub(n_captures));
    let exact = Interpreter {
        rounding: Rounding::Exact,
        ..interpreter.clone()
    };
    let call = Differences {
        interpreter,
        exact,
        function,
        captures,
    };
    match transform {
        Transform::Checkpoint | Transform::CustomFunction { .. } => call.plain(own),
        Transform::ValueAndGrad { argnums } => {
            call.check_smooth(transform)?;
            let mut results = call.plain(own)?;
            let loss = |outputs: &[Tensor]| outputs.first().map_or(f64::NAN, |x| x.at(0).to_f64());
            for &argnum in argnums {
                results.push(call.gradient(own, argnum, &loss)?);
            }
            Ok(results)
        }
        Transform::Vjp { n_primals } => {
            call.check_smooth(transform)?;
            let (primals, cotangents) = own.split_at(own.len().min(*n_primals));
            let mut results = call.plain(primals)?;
            let loss = |outputs: &[Tensor]| {
                let pairs = outputs.iter().zip(cotangents);
                pairs.map(|(output, by)| dot(output, by)).sum()
            };
            for argnum in 0..primals.len() {
                results.push(call.gradient(primals, argnum, &loss)?);
            }
            Ok(results)
        }
        Transform::Jvp => {
            call.check_smooth(transform)?;
            let (primals, tangents) = own.split_at(own.len() / 2);
            let mut results = call.plain(primals)?;
            results.extend(call.along(primals, tangents)?);
            Ok(results)
        }
        Transform::Vmap { in_axes, out_axes } => call.vmap(own, in_axes, out_axes),
        _ => Err(crate::unknown(transform.name())),
    }
}

/// A function and what it is run with.
struct Differences<'a> {
    interpreter: &'a Interpreter,
    exact: Interpreter,
    function: &'a PreparedGraph<'a>,
    captures: &'a [&'a Tensor],
}

impl Differences<'_> {
    fn all<'t>(&'t self, inputs: &[&'t Tensor]) -> Vec<&'t Tensor> {
        inputs.iter().chain(self.captures).copied().collect()
    }

    fn plain(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.interpreter
            .run_prepared(self.function, &self.all(inputs))
    }

    fn check_smooth(&self, transform: &Transform) -> Result<()> {
        let ops = self.function.graph.op_frequencies();
        let own = ["stop_gradient", "custom_vjp", "custom_function"]
            .into_iter()
            .find(|name| ops.contains_key(*name));
        match own {
            None => Ok(()),
            Some(name) => Err(Error::Unsupported(format!(
                "interpret: wanted a function whose gradient can be measured for {}, got one with {name}",
                transform.name()
            ))),
        }
    }

    /// Returns the slopes of a number made of the outputs, for each element of an input.
    fn gradient(
        &self,
        inputs: &[&Tensor],
        argnum: usize,
        loss: &dyn Fn(&[Tensor]) -> f64,
    ) -> Result<Tensor> {
        let input = inputs.get(argnum).ok_or_else(|| {
            let n = inputs.len();
            Error::Unsupported(format!(
                "value_and_grad: wanted one of {n} inputs, got {argnum}"
            ))
        })?;
        let value = |flat_index: usize, by: f64| -> Result<f64> {
            let mut numbers = input.numbers().to_vec();
            if let Some(slot) = numbers.get_mut(flat_index) {
                *slot = Number::Float(slot.to_f64() + by);
            }
            let moved = Tensor::rounded(input.shape(), input.dtype(), numbers, Rounding::Exact)?;
            let mut all = self.all(inputs);
            all[argnum] = &moved;
            Ok(loss(&self.exact.run_prepared(self.function, &all)?))
        };
        let slope = |flat_index: usize| -> Result<Number> {
            let step = 1e-4 * input.at(flat_index).to_f64().abs().max(1.0);
            let near = (value(flat_index, step)? - value(flat_index, -step)?) / (2.0 * step);
            let far =
                (value(flat_index, 2.0 * step)? - value(flat_index, -2.0 * step)?) / (4.0 * step);
            // Richardson's extrapolation takes away the error of second order.
            Ok(Number::Float((4.0 * near - far) / 3.0))
        };
        let numbers = (0..input.size()).map(slope).collect::<Result<Vec<_>>>()?;
        let rounding = self.interpreter.rounding;
        Tensor::rounded(input.shape(), input.dtype(), numbers, rounding)
    }

    /// Returns the slopes of all outputs in one direction.
    fn along(&self, primals: &[&Tensor], tangents: &[&Tensor]) -> Result<Vec<Tensor>> {
        let step = 1e-4;
        let value = |by: f64| -> Result<Vec<Tensor>> {
            let moved = primals
                .iter()
                .zip(tangents)
                .map(|(primal, tangent)| {
                    let pairs = primal.numbers().iter().zip(tangent.numbers());
                    let numbers = pairs.map(|(x, t)| Number::Float(x.to_f64() + by * t.to_f64()));
                    let exact = Rounding::Exact;
                    Tensor::rounded(primal.shape(), primal.dtype(), numbers.collect(), exact)
                })
                .collect::<Result<Vec<_>>>()?;
            let moved: Vec<&Tensor> = moved.iter().collect();
            self.exact.run_prepared(self.function, &self.all(&moved))
        };
        let values = [
            value(step)?,
            value(-step)?,
            value(2.0 * step)?,
            value(-2.0 * step)?,
        ];
        let [ahead, behind, far_ahead, far_behind] = &values;
        let one = |(k, output): (usize, &Tensor)| {
            let at = |list: &[Tensor], flat_index: usize| {
                list.get(k).map_or(f64::NAN, |x| x.at(flat_index).to_f64())
            };
            let slope = |flat_index: usize| {
                let near = (at(ahead, flat_index) - at(behind, flat_index)) / (2.0 * step);
                let far = (at(far_ahead, flat_index) - at(far_behind, flat_index)) / (4.0 * step);
                Number::Float((4.0 * near - far) / 3.0)
            };
            let numbers = (0..output.size()).map(slope).collect();
            let rounding = self.interpreter.rounding;
            Tensor::rounded(output.shape(), output.dtype(), numbers, rounding)
        };
        ahead.iter().enumerate().map(one).collect()
    }

    /// Runs the function for each element along an axis and stacks the results.
    fn vmap(
        &self,
        inputs: &[&Tensor],
        in_axes: &[Option<i32>],
        out_axes: &[i32],
    ) -> Result<Vec<Tensor>> {
        let axes = inputs
            .iter()
            .zip(in_axes)
            .map(|(x, along)| along.map(|along| axis(along, x.ndim())).transpose())
            .collect::<Result<Vec<_>>>()?;
        let pairs = || inputs.iter().zip(&axes);
        let size = pairs()
            .find_map(|(x, along)| along.map(|along| x.shape()[along]))
            .ok_or_else(|| crate::unknown("vmap without an axis"))?;
        let mut steps: Vec<Vec<Tensor>> = Vec::new();
        for k in 0..size {
            let elements = pairs()
                .map(|(x, along)| match along {
                    None => Ok((*x).clone()),
                    Some(along) => {
                        let mut shape = x.shape().to_vec();
                        shape.remove(*along);
                        select(x, *along, &[k])?.reshaped(&shape)
                    }
                })
                .collect::<Result<Vec<_>>>()?;
            steps.push(self.plain(&elements.iter().collect::<Vec<_>>())?);
        }
        let n_outputs = steps.first().map_or(0, Vec::len);
        let stacked = (0..n_outputs).map(|k| {
            let parts: Vec<&Tensor> = steps.iter().filter_map(|step| step.get(k)).collect();
            let stacked = crate::evaluator::stacked(&parts)?;
            let to = out_axes.get(if out_axes.len() == 1 { 0 } else { k });
            let to = axis(to.copied().unwrap_or(0), stacked.ndim())?;
            let mut order: Vec<usize> = (1..stacked.ndim()).collect();
            order.insert(to, 0);
            stacked.transposed(&order)
        });
        stacked.collect()
    }
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    let pairs = a.numbers().iter().zip(b.numbers());
    pairs.map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}
