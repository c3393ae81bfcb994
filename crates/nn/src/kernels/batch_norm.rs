//! Batch normalization as one kernel, and its gradient as another.

use mlx::compiler_api::type_of;
use mlx::cpu::deferred;
use mlx::fast::{HostInput, HostKernel, HostOutput, host_kernel};
use mlx::{Array, ArrayType, Dtype, Result, custom_vjp, stack, vjp};
use mlx_kernels::{Affine, BatchNormGradient, BatchStatistics};

use super::{input, is_on_cpu, is_stored, is_traced, is_transformed};
use crate::batch_norm::scaled;

type Outcome<T> = std::result::Result<T, String>;

/// Rows of what is known of the channels of a batch, `[4, channels]`: mean, what it lost, variance, `rsqrt(variance + eps)`.
const KNOWN: usize = 4;

/// A batch that is normalized by itself.
pub(crate) struct Normalized {
    pub(crate) y: Array,
    /// Mean and variance of the channels, in `float32`.
    pub(crate) mean: Array,
    pub(crate) variance: Array,
}

/// Returns `x`, `[rows.., channels]`, with each channel normalized over all rows, by a kernel; `None` where there is none, or
/// something does not fit.
#[track_caller]
pub(crate) fn batch_norm(
    x: &Array,
    weight: Option<&Array>,
    bias: Option<&Array>,
    eps: f32,
) -> Option<Normalized> {
    let layer = Layer {
        eps,
        given: [weight.is_some(), bias.is_some()],
    };
    let mut inputs = vec![x];
    inputs.extend(weight.into_iter().chain(bias));
    if !layer.may_run(&inputs) {
        return None;
    }
    let outputs = if is_traced(&inputs) {
        deferred("batch_norm", &inputs, move |inputs| {
            let inputs: Vec<&Array> = inputs.iter().collect();
            match layer.may_run(&inputs) {
                true => layer.by_kernel(&inputs),
                false => layer.composed(&inputs),
            }
        })
    } else {
        layer.by_kernel(&inputs)
    };
    let [y, known] = <[Array; 2]>::try_from(outputs.ok()?).ok()?;
    Some(Normalized {
        y,
        mean: known.i(0),
        variance: known.i(2),
    })
}

/// A layer: what is added to variances, and whether weight and bias are given.
#[derive(Clone, Copy)]
struct Layer {
    eps: f32,
    given: [bool; 2],
}

impl Layer {
    /// Whether kernels may run, and take inputs of these types and sizes.
    fn may_run(self, inputs: &[&Array]) -> bool {
        let types: Option<Vec<ArrayType>> =
            inputs.iter().map(|input| type_of(input).ok()).collect();
        types.is_some_and(|types| is_on_cpu() && fits(&types))
    }

    /// Weight and bias among inputs.
    fn affine<T>(self, inputs: &[T]) -> [Option<&T>; 2] {
        let mut rest = inputs.iter().skip(1);
        self.given
            .map(|is_given| is_given.then(|| rest.next()).flatten())
    }

    /// Returns the normalized batch and what is known of its channels.
    #[track_caller]
    fn by_kernel(self, inputs: &[&Array]) -> Result<Vec<Array>> {
        if !is_transformed(inputs) {
            return self.forward()?.apply(inputs);
        }
        let inputs: Vec<Array> = inputs.iter().copied().cloned().collect();
        let function = custom_vjp(
            move |inputs: &Vec<Array>| self.forward()?.apply(&inputs.iter().collect::<Vec<_>>()),
            move |inputs: &Vec<Array>, cotangents: &Vec<Array>, outputs: &Vec<Array>| {
                // What is known of the channels is for statistics that have no gradient.
                let others = [&outputs[1], &cotangents[0]];
                let all: Vec<&Array> = inputs.iter().chain(others).collect();
                self.gradient(inputs.len())?.apply(&all)
            },
        );
        function.call(&inputs)
    }

    fn forward(self) -> Result<HostKernel> {
        let kernel = host_kernel(
            "batch_norm",
            move |inputs| match fits(inputs) {
                true => Ok(vec![inputs[0].clone(), known_type(&inputs[0])]),
                false => Err(format!("sizes do not fit: {inputs:?}")),
            },
            move |inputs, outputs| match input(inputs, 0)?.dtype() {
                Dtype::Float32 => self.run::<f32>(inputs, outputs),
                Dtype::Float16 => self.run::<mlx::f16>(inputs, outputs),
                _ => self.run::<mlx::bf16>(inputs, outputs),
            },
        )?;
        Ok(kernel.composed(move |inputs| {
            let inputs: Vec<&Array> = inputs.iter().collect();
            match self.composed(&inputs) {
                Ok(outputs) => outputs,
                Err(error) => vec![Array::failed(error); 2],
            }
        }))
    }

    /// The same in MLX's operations.
    #[track_caller]
    fn composed(self, inputs: &[&Array]) -> Result<Vec<Array>> {
        let x = inputs[0];
        let axes: Vec<i32> = (0..).take(x.ndim()?.saturating_sub(1)).collect();
        let (mean, variance) = (x.mean(axes.as_slice()), x.var(axes.as_slice()));
        let scale = (&variance + self.eps).rsqrt();
        let [weight, bias] = self.affine(inputs);
        let y = scaled((x - &mean) * &scale, weight.copied(), bias.copied());
        let rest = mlx::zeros_like(&mean);
        let known = [mean, rest, variance, scale].map(|known| known.astype(Dtype::Float32));
        Ok(vec![y, stack(&known, 0)])
    }

    /// Returns the kernel of the gradients by all inputs: it takes them, what is known of the channels, and the cotangent.
    fn gradient(self, n_inputs: usize) -> Result<HostKernel> {
        let kernel = host_kernel(
            "batch_norm gradient",
            move |inputs| Ok(inputs.iter().take(n_inputs).cloned().collect()),
            move |inputs, outputs| match input(inputs, 0)?.dtype() {
                Dtype::Float32 => self.run_gradient::<f32>(inputs, outputs),
                Dtype::Float16 => self.run_gradient::<mlx::f16>(inputs, outputs),
                _ => self.run_gradient::<mlx::bf16>(inputs, outputs),
            },
        )?;
        Ok(kernel.composed(move |arrays| {
            let (inputs, cotangent) = (arrays[..n_inputs].to_vec(), &arrays[n_inputs + 1]);
            let y = move |inputs: &Vec<Array>| {
                let inputs: Vec<&Array> = inputs.iter().collect();
                self.composed(&inputs)
                    .map(|mut outputs| outputs.swap_remove(0))
            };
            match vjp(y, &inputs, cotangent) {
                Ok((_, gradients)) => gradients,
                Err(error) => vec![Array::failed(error); n_inputs],
            }
        }))
    }

    fn run<T: mlx::Element + mlx_kernels::Element>(
        self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Outcome<()> {
        let [y, known] = outputs else {
            return Err("wanted two outputs".to_owned());
        };
        let [weight, bias] = self.affine(inputs);
        let affine = Affine::<T> {
            weight: weight.map(HostInput::as_slice).transpose()?,
            bias: bias.map(HostInput::as_slice).transpose()?,
        };
        let known = known.as_mut_slice::<f32>()?;
        let channels = known.len() / KNOWN;
        let mut rows = known.chunks_exact_mut(channels.max(1));
        let mut next = || rows.next().unwrap_or_default();
        let statistics = BatchStatistics {
            mean: next(),
            rest: next(),
            variance: next(),
            scale: next(),
        };
        let x = input(inputs, 0)?.as_slice()?;
        mlx_kernels::batch_norm(x, affine, self.eps, y.as_mut_slice()?, statistics)
            .map_err(|error| error.to_string())
    }

    fn run_gradient<T: mlx::Element + mlx_kernels::Element>(
        self,
        inputs: &[HostInput<'_>],
        outputs: &mut [HostOutput<'_>],
    ) -> Outcome<()> {
        let n_inputs = outputs.len();
        let [weight, _] = self.affine(inputs);
        let weight = weight.map(HostInput::as_slice::<T>).transpose()?;
        let known = input(inputs, n_inputs)?.as_slice::<f32>()?;
        let mut rows = known.chunks_exact((known.len() / KNOWN).max(1));
        let mut next = || rows.next().unwrap_or_default();
        let statistics = BatchStatistics {
            mean: next(),
            rest: next(),
            variance: next(),
            scale: next(),
        };
        let mut slices = outputs.iter_mut().map(HostOutput::as_mut_slice::<T>);
        let mut next = |is_given: bool| match is_given {
            true => slices.next().unwrap_or_else(|| Ok(Default::default())),
            false => Ok(Default::default()),
        };
        let gradient = BatchNormGradient {
            x: next(true)?,
            weight: next(self.given[0])?,
            bias: next(self.given[1])?,
        };
        let (x, g) = (input(inputs, 0)?.as_slice()?, input(inputs, n_inputs + 1)?);
        mlx_kernels::batch_norm_gradient(x, weight, statistics, g.as_slice()?, gradient)
            .map_err(|error| error.to_string())
    }
}

/// Whether inputs are of one type, and vectors as long as the last axis of the first; nothing is empty.
fn fits(types: &[ArrayType]) -> bool {
    let Some(x) = types.first() else {
        return false;
    };
    let Some(&channels) = x.shape.last() else {
        return false;
    };
    is_stored(x.dtype)
        && x.shape.iter().all(|&size| size > 0)
        && types[1..]
            .iter()
            .all(|vector| vector.dtype == x.dtype && vector.shape == [channels])
}

fn known_type(x: &ArrayType) -> ArrayType {
    ArrayType {
        shape: vec![4, x.shape.last().copied().unwrap_or(0)],
        dtype: Dtype::Float32,
    }
}
