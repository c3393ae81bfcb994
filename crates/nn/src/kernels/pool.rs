//! Pooling as one kernel, and its gradient as another.

use mlx::cpu::deferred;
use mlx::fast::{HostInput, HostKernel, HostOutput, host_kernel};
use mlx::{Array, ArrayType, Dtype, Result, custom_vjp, vjp};
use mlx_kernels::{Pool, PoolAxis};

use super::{input, is_on_cpu, is_stored, is_traced, output, sizes};

/// The windows of pooling, one number for each axis of space.
#[derive(Clone, Debug)]
pub(crate) struct PoolWindows {
    pub(crate) kernel: Vec<i32>,
    pub(crate) stride: Vec<i32>,
    pub(crate) padding: Vec<i32>,
}

/// How a window becomes one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    Max,
    Mean,
}

impl Pooling {
    fn name(self) -> &'static str {
        match self {
            Pooling::Max => "max_pool",
            Pooling::Mean => "mean_pool",
        }
    }
}

/// Pooling of windows in MLX's operations.
pub(crate) type Composed = fn(&PoolWindows, &Array) -> Result<Array>;

/// Returns the pooled windows of `[batch, space.., channels]`, which fit, by a kernel; `None` where there is none.
#[track_caller]
pub(crate) fn pool(
    windows: &PoolWindows,
    pooling: Pooling,
    x: &Array,
    composed: Composed,
) -> Option<Array> {
    if !is_on_cpu() || !x.dtype().is_ok_and(is_stored) {
        return None;
    }
    let layer = Layer {
        windows: windows.clone(),
        pooling,
        composed,
    };
    if !is_traced(&[x]) {
        return Some(layer.forward().ok()?.apply_one(&[x]));
    }
    let pooled = deferred(pooling.name(), &[x], move |inputs| {
        let layer = layer.clone();
        match pool(&layer.windows, layer.pooling, &inputs[0], layer.composed) {
            Some(pooled) => Ok(vec![pooled]),
            None => Ok(vec![(layer.composed)(&layer.windows, &inputs[0])?]),
        }
    });
    pooled.ok()?.pop()
}

#[derive(Clone)]
struct Layer {
    windows: PoolWindows,
    pooling: Pooling,
    composed: Composed,
}

impl Layer {
    fn forward(self) -> Result<HostKernel> {
        let (types, of) = (self.windows.clone(), self.clone());
        let kernel = host_kernel(
            self.pooling.name(),
            move |inputs| Ok(vec![types.output_type(inputs)?]),
            move |inputs, outputs| {
                let (x, out) = (input(inputs, 0)?, output(outputs)?);
                match x.dtype() {
                    Dtype::Float32 => of.run::<f32>(x, out),
                    Dtype::Float16 => of.run::<mlx::f16>(x, out),
                    _ => of.run::<mlx::bf16>(x, out),
                }
            },
        )?;
        Ok(kernel.composed(move |inputs| vec![self.with_gradient(&inputs[0])]))
    }

    /// Returns the composed form, whose gradient is a kernel.
    #[track_caller]
    fn with_gradient(&self, x: &Array) -> Array {
        let (of, rule) = (self.clone(), self.clone());
        let function = custom_vjp(
            move |x: &Array| (of.composed)(&of.windows, x),
            move |x: &Array, cotangent: &Array, _: &Array| {
                let kernel = rule.clone().gradient(x.array_type()?)?;
                // The gradient of a mean is the same whatever the input is.
                Result::Ok(match rule.pooling {
                    Pooling::Max => kernel.apply_one(&[cotangent, x]),
                    Pooling::Mean => kernel.apply_one(&[cotangent]),
                })
            },
        );
        Array::from_result(function.call(x))
    }

    /// Returns the kernel of the gradient by an input of this type.
    fn gradient(self, of_x: ArrayType) -> Result<HostKernel> {
        let name = match self.pooling {
            Pooling::Max => "max_pool gradient",
            Pooling::Mean => "mean_pool gradient",
        };
        let (types, of) = (of_x.clone(), self.clone());
        let kernel = host_kernel(
            name,
            move |_| Ok(vec![types.clone()]),
            move |inputs, outputs| {
                let out = output(outputs)?;
                match input(inputs, 0)?.dtype() {
                    Dtype::Float32 => of.run_gradient::<f32>(inputs, out),
                    Dtype::Float16 => of.run_gradient::<mlx::f16>(inputs, out),
                    _ => of.run_gradient::<mlx::bf16>(inputs, out),
                }
            },
        )?;
        Ok(kernel.composed(move |inputs| {
            let any = || mlx::zeros(of_x.shape.clone()).astype(of_x.dtype);
            let x = inputs.get(1).cloned().unwrap_or_else(any);
            let products = vjp(
                |x: &Array| (self.composed)(&self.windows, x),
                &x,
                &inputs[0],
            );
            vec![Array::from_result(products.map(|(_, gradient)| gradient))]
        }))
    }

    fn run<T: mlx::Element + mlx_kernels::Element>(
        &self,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let axes = self.windows.axes(x.shape());
        let pool = PoolWindows::pool(&axes, x.shape());
        let (x, out) = (x.as_slice::<T>()?, out.as_mut_slice()?);
        let done = match self.pooling {
            Pooling::Max => mlx_kernels::max_pool(pool, x, out),
            Pooling::Mean => mlx_kernels::mean_pool(pool, x, out),
        };
        done.map_err(|error| error.to_string())
    }

    fn run_gradient<T: mlx::Element + mlx_kernels::Element>(
        &self,
        inputs: &[HostInput<'_>],
        out: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let axes = self.windows.axes(out.shape());
        let pool = PoolWindows::pool(&axes, out.shape());
        let (cotangent, out) = (input(inputs, 0)?.as_slice::<T>()?, out.as_mut_slice()?);
        let done = match self.pooling {
            Pooling::Max => {
                let x = input(inputs, 1)?.as_slice()?;
                mlx_kernels::max_pool_gradient(pool, x, cotangent, out)
            }
            Pooling::Mean => mlx_kernels::mean_pool_gradient(pool, cotangent, out),
        };
        done.map_err(|error| error.to_string())
    }
}

impl PoolWindows {
    fn output_type(&self, inputs: &[ArrayType]) -> std::result::Result<ArrayType, String> {
        let Some(x) = inputs
            .first()
            .filter(|x| x.shape.len() == self.kernel.len() + 2)
        else {
            let wanted = self.kernel.len() + 2;
            return Err(format!("wanted an input of {wanted} axes, got {inputs:?}"));
        };
        let mut output = x.clone();
        for (at, axis) in self.axes(&x.shape).iter().enumerate() {
            let size = i32::try_from(axis.output);
            output.shape[at + 1] = size.map_err(|_| "an axis is too long".to_owned())?;
        }
        Ok(output)
    }

    fn axes(&self, shape: &[i32]) -> Vec<PoolAxis> {
        let (kernel, stride) = (sizes(&self.kernel), sizes(&self.stride));
        let (padding, shape) = (sizes(&self.padding), sizes(shape));
        let axis = |at: usize| {
            let padded = shape[at + 1] + 2 * padding[at];
            PoolAxis {
                input: shape[at + 1],
                kernel: kernel[at],
                output: padded.saturating_sub(kernel[at]) / stride[at].max(1) + 1,
                stride: stride[at],
                padding: padding[at],
            }
        };
        (0..kernel.len()).map(axis).collect()
    }

    /// The sizes of pooling over these axes, of an input of this shape.
    fn pool<'a>(axes: &'a [PoolAxis], shape: &[i32]) -> Pool<'a> {
        let shape = sizes(shape);
        Pool {
            batch: shape[0],
            axes,
            channels: shape[shape.len() - 1],
        }
    }
}
