//! Uniform and normal numbers drawn by a kernel in one pass on the CPU, where MLX has up to ten.

use std::sync::{Arc, LazyLock};

use half::{bf16, f16};
use mlx_kernels::{random_normal, random_uniform};
use mlx_provision::environment;

use super::calculate::known;
use crate::Dtype;
use crate::dtype::Element;
use crate::ffi::host::{self, HostCall, HostInput, HostOutput, Kernel};
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, inspect, stream};
use crate::op::Op;

/// Fewer numbers are MLX's own.
const MIN_ELEMENTS: i64 = 1024;

/// A distribution whose parameters are known.
#[derive(Clone, Copy)]
enum Distribution {
    Uniform { low: f32, high: f32 },
    Normal { loc: f32, scale: f32 },
}

/// Draws the same numbers as MLX, normal ones within the rounding of a function; nothing when `op` is not one that a kernel
/// draws.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    on: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let (shape, dtype) = match op {
        Op::RandomUniform { shape, dtype } | Op::RandomNormal { shape, dtype, .. } => {
            (shape, *dtype)
        }
        _ => return Ok(None),
    };
    let Some(key) = inputs.last().filter(|key| is_key(key)) else {
        return Ok(None);
    };
    let size: i64 = shape.iter().map(|&size| i64::from(size)).product();
    let has_kernel = matches!(dtype, Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
    if !has_kernel || size < MIN_ELEMENTS || stream::is_gpu(on) || !are_kernels_enabled() {
        return Ok(None);
    }
    let Some(distribution) = distribution_of(op, inputs) else {
        return Ok(None);
    };
    // A transform sees what MLX composes.
    for input in inputs {
        if inspect::is_tracer(input)? {
            return Ok(None);
        }
    }
    let kernel: Arc<Kernel> = Arc::new(move |inputs, outputs| draw(distribution, inputs, outputs));
    let call = HostCall {
        name: c"random",
        outputs: &[(shape.clone(), dtype)],
        kernel,
        defines_outputs: false,
        composed: None,
        takes_strides: false,
        origins: &[],
        captured: &[],
        identity: 0,
    };
    let drawn = host::apply(call, &[key.raw()], on)?.pop();
    let drawn = drawn.ok_or_else(|| NativeError::from("the kernel gave nothing"))?;
    Ok(Some(Outputs::One(drawn)))
}

fn is_key(key: &Handle) -> bool {
    key.dtype() == Dtype::Uint32 && key.shape() == [2]
}

/// Whether this process uses kernels in the place of MLX's own operations.
pub(super) fn are_kernels_enabled() -> bool {
    static ENABLED: LazyLock<bool> =
        LazyLock::new(|| environment::flag(environment::HOST_KERNELS) != Some(false));
    *ENABLED && !crate::ffi::exporting::is_exporting()
}

/// The distribution, if its bounds are one known number each.
fn distribution_of(op: &Op, inputs: &[&Handle]) -> Option<Distribution> {
    #[allow(clippy::cast_possible_truncation)]
    let bound = |x: &Handle| {
        let is_bound =
            x.ndim() == 0 && matches!(x.dtype(), Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16);
        // All of these are numbers of `float32`.
        is_bound
            .then(|| known(x))
            .flatten()
            .map(|all| all[0] as f32)
    };
    match *op {
        Op::RandomUniform { .. } => Some(Distribution::Uniform {
            low: bound(inputs[0])?,
            high: bound(inputs[1])?,
        }),
        Op::RandomNormal { loc, scale, .. } => Some(Distribution::Normal { loc, scale }),
        _ => None,
    }
}

fn draw(
    distribution: Distribution,
    inputs: &[HostInput<'_>],
    outputs: &mut [HostOutput<'_>],
) -> Result<(), String> {
    fn typed<T: Element + mlx_kernels::Element>(
        distribution: Distribution,
        key: [u32; 2],
        output: &mut HostOutput<'_>,
    ) -> Result<(), String> {
        let out = output.as_mut_slice::<T>()?;
        match distribution {
            Distribution::Uniform { low, high } => random_uniform(key, low, high, out),
            Distribution::Normal { loc, scale } => random_normal(key, loc, scale, out),
        }
        Ok(())
    }
    let ([key], [output]) = (inputs, outputs) else {
        return Err("random: wanted one key and one output".to_owned());
    };
    let &[first, second] = key.as_slice::<u32>()? else {
        return Err("random: wanted a key of two words".to_owned());
    };
    let key = [first, second];
    match output.dtype() {
        Dtype::Float16 => typed::<f16>(distribution, key, output),
        Dtype::Bfloat16 => typed::<bf16>(distribution, key, output),
        _ => typed::<f32>(distribution, key, output),
    }
}
