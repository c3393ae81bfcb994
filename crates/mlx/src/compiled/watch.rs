//! What a function does with sizes while it is traced for all of them.
//!
//! MLX replays a shapeless function without the checks that building it made: nothing compares sizes again, products
//! read what their shapes say, and a reduction over axes of one element ends the process. So a trace is kept only when
//! sizes go through it unchanged: each axis of each result is an axis of an input or of a constant, or has one element.
//! Whatever keeps equal sizes equal, ones one, and the sizes of constants as they are, then replays what was checked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::ffi::{Fault, Handle, inspect};
use crate::guard::axis_of;
use crate::local::with_local;
use crate::{Array, Dtype, Op};

/// The trace of one function. Arrays that belong to it know it, also in another copy of this crate.
#[derive(Default)]
pub(crate) struct Watch {
    is_over: Cell<bool>,
    is_refused: Cell<bool>,
    found: RefCell<Found>,
}

/// What was seen in a trace.
#[derive(Clone, Default)]
pub(super) struct Found {
    /// The sizes of constants.
    pub(super) constants: BTreeSet<i32>,
    /// The bytes of the largest result.
    pub(super) bytes: usize,
    /// The most axes a result has.
    pub(super) ndim: usize,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Watch>>> = const { RefCell::new(None) };
}

/// Says that the trace is over, also when the function panicked.
struct Over(Rc<Watch>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.set(true);
        with_local(&CURRENT, Option::take);
    }
}

impl Watch {
    /// Runs a function on inputs of its own, and returns what was found; nothing if sizes cannot stay open.
    pub(super) fn trace<E>(
        inputs: &[Array],
        function: impl FnOnce() -> Result<Vec<Array>, E>,
    ) -> (Result<Vec<Array>, E>, Option<Found>) {
        let watch = Rc::new(Watch::default());
        with_local(&CURRENT, |current| *current = Some(Rc::clone(&watch)));
        let over = Over(Rc::clone(&watch));
        for input in inputs {
            match input.typed() {
                Ok(handle) => handle.set_watch(&watch),
                Err(_) => watch.refuse(),
            }
        }
        let outputs = function();
        for output in outputs.iter().flatten() {
            if output
                .typed()
                .is_ok_and(|handle| watch.knows(handle).is_err())
            {
                watch.refuse();
            }
        }
        drop(over);
        let found = (!watch.is_refused.get()).then(|| watch.found.take());
        (outputs, found)
    }

    /// Returns whether a function is traced on this thread for all sizes.
    pub(crate) fn is_running() -> bool {
        with_local(&CURRENT, |current| current.is_some())
    }

    /// Returns the trace that an operation on these arrays belongs to.
    pub(crate) fn of(inputs: &[&Handle]) -> Option<Rc<Watch>> {
        with_local(&CURRENT, |current| current.clone())
            .or_else(|| inputs.iter().find_map(|input| input.watch()).cloned())
            .filter(|watch| !watch.is_over.get())
    }

    /// Gives up: the function is traced for each size.
    pub(crate) fn refuse(&self) {
        self.is_refused.set(true);
    }

    /// Refuses an operation that sizes do not go through unchanged.
    pub(crate) fn check(&self, op: &Op, inputs: &[&Handle]) -> Result<(), Fault> {
        let checked = if inputs.iter().all(|input| input.size() != 0) && keeps_sizes(op, inputs) {
            inputs.iter().try_for_each(|input| self.knows(input))
        } else {
            Err(Fault::from(
                "its sizes cannot stay open in a shapeless function",
            ))
        };
        if checked.is_err() {
            self.refuse();
        }
        checked
    }

    /// Remembers what an operation gave.
    pub(crate) fn keep(self: &Rc<Self>, outputs: &[Handle]) {
        let mut found = self.found.borrow_mut();
        for output in outputs {
            found.bytes = found.bytes.max(output.size() * output.dtype().size());
            found.ndim = found.ndim.max(output.ndim());
            output.set_watch(self);
        }
    }

    /// Refuses an array that was made by something that is not known; one with values is a constant.
    fn knows(&self, handle: &Handle) -> Result<(), Fault> {
        let is_own = |watch: &Rc<Watch>| std::ptr::eq(Rc::as_ptr(watch), self);
        if handle.watch().is_some_and(is_own) {
            return Ok(());
        }
        if inspect::is_tracer(handle)? || !inspect::primitive_name(handle)?.is_empty() {
            return Err(Fault::from(
                "it is not known in a shapeless function what made an input",
            ));
        }
        let sizes = handle.shape().iter().copied();
        let mut found = self.found.borrow_mut();
        found.constants.extend(sizes.filter(|&size| size != 1));
        Ok(())
    }
}

/// Whether each axis of the result is one of an input or has one element, and MLX traces it so.
fn keeps_sizes(op: &Op, inputs: &[&Handle]) -> bool {
    match op {
        Op::All { axes, .. }
        | Op::Any { axes, .. }
        | Op::Max { axes, .. }
        | Op::Mean { axes, .. }
        | Op::Min { axes, .. }
        | Op::Prod { axes, .. }
        | Op::Std { axes, .. }
        | Op::Sum { axes, .. }
        | Op::Var { axes, .. }
        | Op::Softmax { axes, .. } => reduces(axes, inputs),
        Op::Argmax { axis, .. } | Op::Argmin { axis, .. } => reduces(&[*axis], inputs),
        // Of whole numbers MLX makes a constant of the size it sees.
        Op::Isfinite | Op::Isinf | Op::Isnan | Op::Isneginf | Op::Isposinf => inputs
            .iter()
            .all(|input| !input.dtype().is_integer() && input.dtype() != Dtype::Bool),
        // These are made of several of MLX's operations.
        Op::FloorDivide | Op::Remainder | Op::LeftShift | Op::RightShift | Op::Isclose { .. } => {
            false
        }
        Op::Copy | Op::Matmul => true,
        _ => op.is_elementwise() || moves_axes(op),
    }
}

/// Whether there is more than one element to reduce: of one, MLX makes a reduction that it cannot run.
fn reduces(axes: &[i32], inputs: &[&Handle]) -> bool {
    let shape = inputs.first().map_or(&[][..], |input| input.shape());
    let size = |&axis: &i32| axis_of(axis, shape.len()).map_or(1, |axis| shape[axis]);
    axes.iter().any(|axis| size(axis) > 1)
}

fn moves_axes(op: &Op) -> bool {
    matches!(
        op,
        Op::ExpandDims { .. }
            | Op::Squeeze { .. }
            | Op::Transpose { .. }
            | Op::Swapaxes { .. }
            | Op::Moveaxis { .. }
    )
}
