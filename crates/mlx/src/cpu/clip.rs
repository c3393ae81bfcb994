//! `clip` in one pass over memory, where MLX takes a maximum and then a minimum.

use std::sync::LazyLock;

use mlx_kernels::{BinaryOp, ElementwiseProgram, Instruction};

use super::custom::{HostKernel, host_kernel};
use super::{are_kernels_enabled, elementwise_program, supports};
use crate::array::{State, trace};
use crate::{Array, Device, Op, bind};

/// Smaller arrays stay in the cache between the two passes.
const MIN_ELEMENTS: usize = 64 * 1024;

/// Limits the elements of an array to two numbers, if it is large, of a dtype that kernels store and on the CPU. `None`
/// otherwise, and while a function is traced, which records the operation as it is.
#[track_caller]
pub(crate) fn clip(x: &Array, min: &Array, max: &Array) -> Option<Array> {
    static KERNEL: LazyLock<Option<HostKernel>> = LazyLock::new(kernel);
    let is_plain = |x: &Array| matches!(x.state, State::Ready(_));
    let is_eager = is_plain(x) && is_plain(min) && is_plain(max) && trace::current().is_none();
    if !is_eager || !are_kernels_enabled() || Device::current().ok()? != Device::Cpu {
        return None;
    }
    let dtype = x.dtype().ok()?;
    let is_number = |limit: &Array| {
        limit.ndim().is_ok_and(|ndim| ndim == 0) && limit.dtype().is_ok_and(|of| of == dtype)
    };
    let is_taken = supports::is_stored(dtype)
        && x.size().is_ok_and(|size| size >= MIN_ELEMENTS)
        && is_number(min)
        && is_number(max);
    let kernel = KERNEL.as_ref().filter(|_| is_taken)?;
    Some(kernel.apply_one(&[x, min, max]))
}

fn kernel() -> Option<HostKernel> {
    let code = [
        Instruction::Input(0),
        Instruction::Input(1),
        Instruction::Input(2),
        Instruction::Binary(BinaryOp::Maximum, 0, 1),
        Instruction::Binary(BinaryOp::Minimum, 3, 2),
    ];
    let program = ElementwiseProgram::new(3, &code, &[4]).ok()?;
    let kernel = host_kernel(
        "clip",
        |inputs| Ok(inputs[..1].to_vec()),
        move |inputs, outputs| elementwise_program::run(&program, inputs, outputs),
    );
    let composed = |inputs: &[Array]| {
        let low = bind(Op::Maximum, &[&inputs[0], &inputs[1]]);
        vec![bind(Op::Minimum, &[&low, &inputs[2]])]
    };
    Some(kernel.ok()?.taking_strides().composed(composed))
}
