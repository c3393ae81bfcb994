//! Maximum pooling as one kernel, and its gradient as another.

use mlx::fast::{HostInput, HostKernel, HostOutput, host_kernel};
use mlx::{Array, ArrayType, Dtype, Result, custom_vjp, vjp};
use mlx_kernels::{Pool, PoolAxis};

use super::{input, may_run, output, sizes};

/// The windows of pooling, one number for each axis of space.
#[derive(Clone, Debug)]
pub(crate) struct PoolWindows {
    pub(crate) kernel: Vec<i32>,
    pub(crate) stride: Vec<i32>,
    pub(crate) padding: Vec<i32>,
}

/// The maximum of windows in MLX's operations.
pub(crate) type Composed = fn(&PoolWindows, &Array) -> Result<Array>;

/// Returns the maximum of windows of `[batch, space.., channels]`, which fit, by a kernel; `None` where there is none.
#[track_caller]
pub(crate) fn max_pool(windows: &PoolWindows, x: &Array, composed: Composed) -> Option<Array> {
    let is_stored = |dtype| matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    if !may_run(x) || !x.dtype().is_ok_and(is_stored) {
        return None;
    }
    let kernel = forward(windows.clone(), composed).ok()?;
    Some(kernel.apply_one(&[x]))
}

fn forward(windows: PoolWindows, composed: Composed) -> Result<HostKernel> {
    let (types, of) = (windows.clone(), windows.clone());
    let kernel = host_kernel(
        "max_pool",
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
    Ok(kernel.composed(move |inputs| vec![with_gradient(&windows, &inputs[0], composed)]))
}

/// Returns the composed form, whose gradient is a kernel.
#[track_caller]
fn with_gradient(windows: &PoolWindows, x: &Array, composed: Composed) -> Array {
    let (of, rule) = (windows.clone(), windows.clone());
    let function = custom_vjp(
        move |x: &Array| composed(&of, x),
        move |x: &Array, cotangent: &Array, _: &Array| {
            let kernel = gradient(rule.clone(), composed)?;
            Result::Ok(kernel.apply_one(&[x, cotangent]))
        },
    );
    Array::from_result(function.call(x))
}

fn gradient(windows: PoolWindows, composed: Composed) -> Result<HostKernel> {
    let of = windows.clone();
    let kernel = host_kernel(
        "max_pool gradient",
        |inputs| Ok(inputs[..1].to_vec()),
        move |inputs, outputs| {
            let inputs = (input(inputs, 0)?, input(inputs, 1)?);
            let out = output(outputs)?;
            match inputs.0.dtype() {
                Dtype::Float32 => of.run_gradient::<f32>(inputs, out),
                Dtype::Float16 => of.run_gradient::<mlx::f16>(inputs, out),
                _ => of.run_gradient::<mlx::bf16>(inputs, out),
            }
        },
    )?;
    Ok(kernel.composed(move |inputs| {
        let products = vjp(|x: &Array| composed(&windows, x), &inputs[0], &inputs[1]);
        vec![Array::from_result(products.map(|(_, gradient)| gradient))]
    }))
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

    fn run<T: mlx::Element + mlx_kernels::Element>(
        &self,
        x: &HostInput<'_>,
        out: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let (axes, shape) = (self.axes(x.shape()), sizes(x.shape()));
        let pool = Pool {
            batch: shape[0],
            axes: &axes,
            channels: shape[shape.len() - 1],
        };
        mlx_kernels::max_pool::<T>(pool, x.as_slice()?, out.as_mut_slice()?)
            .map_err(|error| error.to_string())
    }

    fn run_gradient<T: mlx::Element + mlx_kernels::Element>(
        &self,
        (x, cotangent): (&HostInput<'_>, &HostInput<'_>),
        out: &mut HostOutput<'_>,
    ) -> std::result::Result<(), String> {
        let (axes, shape) = (self.axes(x.shape()), sizes(x.shape()));
        let pool = Pool {
            batch: shape[0],
            axes: &axes,
            channels: shape[shape.len() - 1],
        };
        let (x, cotangent) = (x.as_slice()?, cotangent.as_slice()?);
        mlx_kernels::max_pool_gradient::<T>(pool, x, cotangent, out.as_mut_slice()?)
            .map_err(|error| error.to_string())
    }
}
