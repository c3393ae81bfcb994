//! Sizes that cannot be: refused when the graph is built, because a failed allocation cannot be caught later.

use crate::ffi::{Handle, NativeError, memory};
use crate::op::{Op, OpFlags};
use crate::shape::element_count;

/// Results smaller than this are not checked.
const LARGE: usize = 1 << 28;

/// Refuses a result with more elements than can be counted, or more bytes than this machine may hold.
pub(super) fn check_size(op: &Op, output: &Handle) -> Result<(), NativeError> {
    let shape = output.shape();
    let bytes = element_count(shape).and_then(|n| n.checked_mul(output.dtype().size()));
    match bytes {
        Some(bytes) if bytes < LARGE || op.flags().contains(OpFlags::SHARES_MEMORY) => Ok(()),
        Some(bytes) => {
            let limit = memory::get(memory::Get::Limit)?;
            if bytes <= limit {
                return Ok(());
            }
            Err(NativeError(format!(
                "the result {shape:?} needs {bytes} bytes, the memory limit is {limit}"
            )))
        }
        None => Err(NativeError(format!(
            "the result {shape:?} has more elements than can be counted"
        ))),
    }
}

/// Refuses inputs that would not fit in memory: an operation may copy them, also a broadcast of one number.
pub(super) fn check_inputs(op: &Op, inputs: &[&Handle]) -> Result<(), NativeError> {
    if op.flags().contains(OpFlags::SHARES_MEMORY) {
        return Ok(());
    }
    for input in inputs {
        let bytes = input.size().saturating_mul(input.dtype().size());
        if bytes < LARGE {
            continue;
        }
        let limit = memory::get(memory::Get::Limit)?;
        if bytes > limit {
            let shape = input.shape();
            return Err(NativeError(format!(
                "the input {shape:?} would need {bytes} bytes, the memory limit is {limit}"
            )));
        }
    }
    Ok(())
}
