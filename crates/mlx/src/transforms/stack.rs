//! Stack for MLX's recursion over graphs: its transforms visit the inputs of an operation by calling themselves.
//!
//! A graph of 25000 operations in a row, such as a long recurrence, ends a process on a thread with 2 MiB. So the size
//! of the graph is compared with the stack before MLX goes through it, and a call that needs more is made again on a
//! larger stack. From then on the thread's calls start there.

use std::cell::Cell;

use crate::error::WithOp;
use crate::ffi::{Handle, NativeError, inspect};
use crate::{Error, Result};

/// Bytes that MLX needs for an operation; measured: between 40 and 170.
const FRAME: usize = 256;
/// Bytes for everything else.
const RESERVE: usize = 512 * 1024;
/// The largest stack that is made: for four million operations.
const LARGEST: usize = 1 << 30;

thread_local! {
    /// What the last graph needed that did not fit.
    static MISSING: Cell<usize> = const { Cell::new(0) };
    /// What calls on this thread have needed so far, when it was more than the thread has.
    static USUAL: Cell<usize> = const { Cell::new(0) };
}

/// Refuses a graph that MLX cannot go through on this stack.
///
/// # Errors
/// When it is too large; [`with_enough`] then tries again.
pub(super) fn check(name: &'static str, outputs: &[&Handle]) -> Result<()> {
    let size = inspect::graph_size(outputs).with_op(name)?;
    let needed = size.saturating_mul(FRAME).saturating_add(RESERVE);
    if needed <= remaining() {
        return Ok(());
    }
    MISSING.set(needed);
    Err(Error::op(
        name,
        format!(
            "wanted a graph of at most {} operations, got {size}; eval on the way makes it smaller",
            LARGEST / FRAME
        ),
    ))
}

/// Makes a call, on a larger stack if it turns out to need one.
pub(super) fn with_enough<T>(
    call: impl Fn() -> std::result::Result<T, NativeError>,
) -> std::result::Result<T, NativeError> {
    MISSING.set(0);
    let usual = USUAL.get();
    let result = if usual > remaining() {
        stacker::grow(usual, &call)
    } else {
        call()
    };
    // Twice as much: what is around the graph, and the next one that is a little larger.
    let wanted = MISSING.take().saturating_mul(2);
    if result.is_ok() || wanted == 0 || wanted > LARGEST || wanted <= usual {
        return result;
    }
    USUAL.set(wanted);
    stacker::grow(wanted, call)
}

fn remaining() -> usize {
    // Where it cannot be told, what the smallest of the usual stacks has.
    stacker::remaining_stack().unwrap_or(RESERVE * 2)
}
