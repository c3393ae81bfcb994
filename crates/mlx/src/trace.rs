//! The hook for tracing: an array can stand for a value of a function that is being recorded.
//!
//! A traced array has a node in somebody's graph and a *shadow*: a lazy MLX array that is never evaluated,
//! from which shape, dtype and errors come. So there is no second set of inference rules.

use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use crate::ffi::Handle;
use crate::{Array, ArrayType, Op, Result};

/// Receives the operations on traced arrays; the compiler's graph builder is one.
pub trait Recorder {
    /// Records one operation and returns a number for each of its outputs.
    ///
    /// # Errors
    /// When the operation cannot be recorded; the outputs then carry this error.
    fn record(&self, call: &Call<'_>) -> Result<Vec<usize>>;

    /// Returns whether the function is still being traced; an array used after that has escaped.
    fn is_open(&self) -> bool;
}

/// One operation on arrays of which at least one is traced.
pub struct Call<'a> {
    /// The operation.
    pub op: &'a Op,
    /// The inputs: traced by this recorder, or arrays with values, which are constants of the function.
    pub inputs: &'a [&'a Array],
    /// Types of the outputs, as MLX infers them.
    pub outputs: &'a [ArrayType],
    /// The line that applied the operation.
    pub at: &'static Location<'static>,
}

/// A value of a function being traced.
#[derive(Clone)]
pub(crate) struct Traced {
    pub(crate) recorder: Rc<dyn Recorder>,
    pub(crate) node: usize,
    pub(crate) shadow: Rc<Handle>,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traced(%{})", self.node)
    }
}
