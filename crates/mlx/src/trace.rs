//! The hook for tracing: an array can stand for a value of a function that is being recorded.
//!
//! A traced array has a node in somebody's graph and a *shadow*: a lazy MLX array that is never evaluated,
//! from which shape, dtype and errors come. So there is no second set of inference rules.
//!
//! While a function is traced by [`record_on`], every operation of that thread is recorded, also those on constants
//! alone: a mask that the function makes by `arange` is part of its graph. Values that depend on constants only are
//! *known*: their shadow has real values, so they can be read while tracing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

use crate::array::State;
use crate::ffi::Handle;
use crate::local::with_local;
use crate::transforms::TransformCall;
use crate::{Array, ArrayType, Error, Op, Result};

/// Receives the operations on traced arrays; the compiler's graph builder is one.
pub trait Recorder {
    /// Records one operation and returns a number for each of its outputs.
    ///
    /// An input can be traced by a recorder further out: then it is a capture of the inner function.
    ///
    /// # Errors
    /// When the operation cannot be recorded; the outputs then carry this error.
    fn record(&self, call: &Call<'_>) -> Result<Vec<usize>>;

    /// Returns whether the function is still being traced; an array used after that has escaped.
    fn is_open(&self) -> bool;

    /// Returns the recorder as what it is, for whoever made it to find it again.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Returns the recorders of this thread, the innermost last, as the code that made this one sees them.
    ///
    /// evcxr links this crate into each cell of a notebook, so a function of one cell that is traced from another has a
    /// list of recorders of its own, which is empty; those of its arguments know better. Nobody implements this.
    fn open(&self) -> Vec<Rc<dyn Recorder>> {
        recorders()
    }

    /// Is told that the function asked for the size of a traced array that depends on its inputs.
    fn reads_size(&self, op: &'static str, at: &'static Location<'static>) {
        let _ = (op, at);
    }

    /// Records a function transform, such as a gradient, and returns its outputs.
    ///
    /// # Errors
    /// When it cannot be recorded, which is so unless a recorder says otherwise.
    fn record_transform(&self, call: &TransformCall<'_>) -> Result<Vec<Array>> {
        Err(Error::Traced {
            op: call.transform.name(),
            hint: "; this recorder takes no function transforms",
            at: call.at,
        })
    }
}

/// One operation on arrays of which at least one is traced, or that is applied while a function is traced.
pub struct Call<'a> {
    /// The operation.
    pub op: &'a Op,
    /// The inputs: traced, or arrays with values, which are constants of the function.
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
    /// Whether it depends on constants only, so that the shadow has its values.
    pub(crate) known: bool,
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traced(%{})", self.node)
    }
}

thread_local! {
    static OPEN: RefCell<Vec<Rc<dyn Recorder>>> = const { RefCell::new(Vec::new()) };
    /// Whether recorders are not told of sizes that are read.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `function` with all operations of this thread recorded by `recorder`.
///
/// Calls nest: the innermost recorder gets the operations, and arrays of the outer ones are captures to it.
pub fn record_on<T>(recorder: &Rc<dyn Recorder>, function: impl FnOnce() -> T) -> T {
    with_local(&OPEN, |open| open.push(Rc::clone(recorder)));
    let _restore = Restore(with_local(&OPEN, |open| {
        open[..open.len().saturating_sub(1)].to_vec()
    }));
    function()
}

/// Runs `work` with nothing recorded, as if no function were being traced.
///
/// Operations on traced arrays are still recorded by the recorder of their inputs.
pub fn without_recording<T>(work: impl FnOnce() -> T) -> T {
    let _restore = Restore(with_local(&OPEN, std::mem::take));
    work()
}

/// While it lives, sizes that are read are not told to recorders: checks freeze none into a result.
///
/// A value rather than a function of a closure, because a closure would not pass the caller's line on.
pub(crate) struct QuietSizes(bool);

impl QuietSizes {
    pub(crate) fn new() -> Self {
        Self(QUIET.replace(true))
    }
}

impl Drop for QuietSizes {
    fn drop(&mut self) {
        QUIET.set(self.0);
    }
}

/// Returns shape and dtype of an array for a recorder's own use: sizes are not noted as read by the function.
///
/// # Errors
/// When the array could not be built.
pub fn type_of(array: &Array) -> Result<ArrayType> {
    let _quiet = QuietSizes::new();
    array.array_type()
}

/// Returns the innermost recorder of this thread.
pub(crate) fn current() -> Option<Rc<dyn Recorder>> {
    with_local(&OPEN, |open| open.last().cloned())
}

/// Returns the innermost recorder of this thread, or where none is known here, as one of `inputs` knows it.
pub(crate) fn current_for(inputs: &[&Array]) -> Option<Rc<dyn Recorder>> {
    current().or_else(|| {
        let recorder_of = |input: &&Array| match &input.state {
            State::Traced(traced) => traced.recorder.open().pop(),
            _ => None,
        };
        inputs.iter().find_map(recorder_of)
    })
}

/// Returns the recorders of this thread, the innermost last.
pub fn recorders() -> Vec<Rc<dyn Recorder>> {
    with_local(&OPEN, |open| open.clone())
}

/// Runs `function` with exactly these recorders, the innermost last, as [`recorders`] gave them.
pub fn record_on_all<T>(recorders: &[Rc<dyn Recorder>], function: impl FnOnce() -> T) -> T {
    let _restore = Restore(with_local(&OPEN, |open| {
        std::mem::replace(open, recorders.to_vec())
    }));
    function()
}

/// Returns whether a recorder is one of those that are tracing on this thread now.
pub(crate) fn is_recording(recorder: &Rc<dyn Recorder>) -> bool {
    let is_in = |open: &[Rc<dyn Recorder>]| open.iter().any(|one| Rc::ptr_eq(one, recorder));
    with_local(&OPEN, |open| is_in(open)) || is_in(&recorder.open())
}

/// Puts the recorders back as they were, also when the work panics.
struct Restore(Vec<Rc<dyn Recorder>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let outer = std::mem::take(&mut self.0);
        with_local(&OPEN, |open| *open = outer);
    }
}

impl Array {
    /// Returns a value of a function being traced: the `node`-th of `recorder`, of this type.
    pub fn traced(recorder: &Rc<dyn Recorder>, node: usize, array_type: &ArrayType) -> Self {
        let dtype = array_type.dtype;
        let shape = array_type.shape.clone();
        let shadow = without_recording(|| crate::bind(Op::Zeros { shape, dtype }, &[]));
        Self::traced_like(recorder, node, &shadow, false)
    }

    /// Returns a value of a function being traced that has shape, dtype and, when `known`, the values of `shadow`.
    ///
    /// `shadow` is an array with values or a traced one, whose own shadow is used.
    pub fn traced_like(
        recorder: &Rc<dyn Recorder>,
        node: usize,
        shadow: &Array,
        known: bool,
    ) -> Self {
        let shadow = match &shadow.state {
            State::Ready(handle) => Rc::clone(handle),
            State::Traced(traced) => Rc::clone(&traced.shadow),
            State::Failed(_) => return shadow.clone(),
        };
        Self::from_state(State::Traced(Traced {
            recorder: Rc::clone(recorder),
            node,
            shadow,
            known,
        }))
    }

    /// Returns the number this array has in the graph being traced, if it has one.
    pub fn traced_node(&self) -> Option<usize> {
        match &self.state {
            State::Traced(traced) => Some(traced.node),
            _ => None,
        }
    }

    /// Returns whether this is a value of a function being traced by `recorder`.
    pub fn is_traced_by(&self, recorder: &Rc<dyn Recorder>) -> bool {
        matches!(&self.state, State::Traced(traced) if Rc::ptr_eq(&traced.recorder, recorder))
    }

    /// Returns whether this is a value of a function being traced.
    pub fn is_traced(&self) -> bool {
        matches!(self.state, State::Traced(_))
    }

    /// Returns whether the values can be read: always, but for a traced array that depends on the function's inputs.
    pub fn is_known(&self) -> bool {
        match &self.state {
            State::Ready(_) => true,
            State::Traced(traced) => traced.known,
            State::Failed(_) => false,
        }
    }

    /// Returns whether the array stands for the argument of a function of which MLX is taking a gradient, or that it is
    /// vectorizing, or depends on one.
    ///
    /// It means something else in each call of that function, so it is nobody's constant.
    pub fn is_transforming(&self) -> bool {
        match &self.state {
            State::Ready(handle) => crate::ffi::inspect::is_tracer(handle).unwrap_or(false),
            State::Traced(_) | State::Failed(_) => false,
        }
    }

    /// Returns the array that a traced one takes its shape and dtype from; any other array itself.
    ///
    /// It has the values of the traced one when that [is known](Self::is_known), else meaningless ones.
    pub fn shadow(&self) -> Array {
        match &self.state {
            State::Traced(traced) => Self::from_state(State::Ready(Rc::clone(&traced.shadow))),
            _ => self.clone(),
        }
    }

    /// Returns whether both are one value of one trace.
    pub fn is_same_traced(&self, other: &Array) -> bool {
        match (&self.state, &other.state) {
            (State::Traced(a), State::Traced(b)) => {
                a.node == b.node && Rc::ptr_eq(&a.recorder, &b.recorder)
            }
            _ => false,
        }
    }

    /// Returns the address of the recorder that traces this array, to compare with a recorder's own.
    pub fn recorder_address(&self) -> Option<*const ()> {
        match &self.state {
            State::Traced(traced) => Some(Rc::as_ptr(&traced.recorder).cast()),
            _ => None,
        }
    }

    /// Returns whether the array has this shape and dtype; one that could not be built has none.
    pub fn has_type(&self, array_type: &ArrayType) -> bool {
        self.note_open_size_read();
        self.typed().is_ok_and(|handle| {
            handle.dtype() == array_type.dtype && handle.shape() == array_type.shape
        })
    }

    /// Tells a trace for all sizes that the size of one of its arrays was read.
    fn note_open_size_read(&self) {
        if let State::Ready(handle) = &self.state
            && let Some(watch) = handle.watch()
        {
            watch.refuse();
        }
    }

    /// Tells the recorder of a traced array that its size was read.
    pub(crate) fn note_size_read(&self, op: &'static str, at: &'static Location<'static>) {
        self.note_open_size_read();
        if let State::Traced(traced) = &self.state
            && !traced.known
            && !QUIET.get()
        {
            traced.recorder.reads_size(op, at);
        }
    }

    /// Returns a number that two arrays have in common when they share one handle, as clones do.
    ///
    /// It means nothing once the array is dropped; a traced or failed array has none.
    pub fn identity(&self) -> Option<usize> {
        match &self.state {
            State::Ready(handle) => Some(Rc::as_ptr(handle) as usize),
            _ => None,
        }
    }
}
