//! Whether an operation can be applied to inputs: errors that say what was wanted and what came, before the C call.
//!
//! MLX leaves some inputs undefined on the CPU (indices out of range, views beyond the buffer, allocations that fail).
//! None of them may crash or read foreign memory from safe Rust. What depends on values that are not computed yet is
//! checked when they are, and is an error of the evaluation.

mod attributes;
mod distributed;
mod indices;
mod linalg;
mod memory;
mod shapes;

use crate::ffi::table::Outputs;
use crate::ffi::{Handle, NativeError};
use crate::op::Op;

pub(crate) use attributes::countable;
pub(crate) use linalg::{all, factor};

/// Refuses attributes, shapes and dtypes that an operation does not take.
pub(crate) fn check(op: &Op, inputs: &[&Handle]) -> Result<(), NativeError> {
    let (min, max) = op.arity();
    if inputs.len() < min || inputs.len() > max {
        return Err(NativeError(format!(
            "takes {} inputs, got {}",
            arity_text(min, max),
            inputs.len()
        )));
    }
    if matches!(op, Op::Custom(_)) {
        return Ok(());
    }
    distributed::check(op, inputs)?;
    attributes::check(op, inputs)?;
    shapes::check(op, inputs)?;
    memory::check_inputs(op, inputs)
}

/// Returns the inputs of which values must be checked when they are computed, or nothing when none has to be.
pub(crate) fn check_values(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Vec<Handle>>, NativeError> {
    match linalg::check(op, inputs, stream)? {
        None => indices::check(op, inputs, stream),
        checked => Ok(checked),
    }
}

/// Refuses results that cannot be in memory.
pub(crate) fn check_results(op: &Op, outputs: &Outputs) -> Result<(), NativeError> {
    let mut outputs = outputs.as_slice().iter();
    outputs.try_for_each(|output| memory::check_size(op, output))
}

fn arity_text(min: usize, max: usize) -> String {
    match max {
        usize::MAX => format!("at least {min}"),
        max if max == min => min.to_string(),
        max => format!("{min} to {max}"),
    }
}
