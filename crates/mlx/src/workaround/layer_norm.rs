//! Gradients of layer_norm on CUDA: MLX's kernel reads past its registers where an axis ends within one of its 16-byte reads.
//!
//! Kernels of our own (`native/cuda_norm.cpp`) have it right; this is for axes beyond theirs, and for where they are off.

use super::calculate::Calculator;
use crate::Dtype;
use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError, gpu_kernel, inspect, stream};
use crate::op::Op;

/// Bytes that a thread of the kernel reads at once.
const READ: usize = 16;

/// The longest axis that kernels of our own take, whatever its alignment.
const LONGEST: i32 = 16_384;

/// The composed form where gradients may be taken and the kernel has them wrong; nothing elsewhere.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, NativeError> {
    let Op::LayerNorm { weight, bias, eps } = op else {
        return Ok(None);
    };
    if !stream::is_cuda(stream) || !has_wrong_gradient(inputs[0]) {
        return Ok(None);
    }
    let dim = inputs[0].shape().last().copied().unwrap_or(0);
    if dim <= LONGEST && gpu_kernel::has_cuda_kernels() {
        return Ok(None);
    }
    let mut is_traced = false;
    for input in inputs {
        is_traced |= inspect::is_tracer(input)?;
    }
    if !is_traced {
        return Ok(None);
    }
    let calculate = Calculator::on(stream);
    // MLX checks shapes here, and tells the dtype of the result.
    let dtype = calculate.apply(op, inputs)?.dtype();
    let wide = |x: &Handle| calculate.astype(x, Dtype::Float32);
    let mean = |x: &Handle| {
        let mean = Op::Mean {
            axes: vec![-1],
            keepdims: true,
        };
        calculate.unary(mean, x)
    };
    let x = wide(inputs[0])?;
    let centered = calculate.subtract(&x, &mean(&x)?)?;
    let variance = mean(&calculate.unary(Op::Square, &centered)?)?;
    let variance = calculate.add(&variance, &calculate.number(*eps, Dtype::Float32)?)?;
    let mut y = calculate.multiply(&centered, &calculate.unary(Op::Rsqrt, &variance)?)?;
    let mut rest = inputs[1..].iter();
    if let Some(weight) = rest.next().filter(|_| *weight) {
        y = calculate.multiply(&y, &wide(weight)?)?;
    }
    if let Some(bias) = inputs.last().filter(|_| *bias) {
        y = calculate.add(&y, &wide(bias)?)?;
    }
    calculate.astype(&y, dtype).map(|y| Some(Outputs::One(y)))
}

fn has_wrong_gradient(x: &Handle) -> bool {
    let dim = x
        .shape()
        .last()
        .map_or(0, |&dim| usize::try_from(dim).unwrap_or(0));
    let at_once = READ / x.dtype().size().max(1);
    dim > at_once && !dim.is_multiple_of(at_once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::data;

    #[test]
    fn only_axes_that_end_within_a_read_are_composed() {
        let is_wrong = |dim: i32| {
            let x = data::from_slice(&vec![0.0_f32; usize::try_from(dim).unwrap()], &[dim]);
            has_wrong_gradient(&x.unwrap())
        };
        assert!(![1, 3, 4, 8, 1024].into_iter().any(is_wrong));
        assert!([5, 6, 7, 9, 1023].into_iter().all(is_wrong));
    }
}
