//! Tracing: an array can stand for a value of a function that is being recorded.
//!
//! A traced array has a node in a recorder's graph and an *abstract value*: a lazy MLX array that is never evaluated,
//! from which shape, dtype and errors come. So there is no second set of inference rules.
//!
//! While a function is traced by [`record_on`], every operation of that thread is recorded, also those on constants
//! alone: a mask that the function makes by `arange` is part of its graph. Values that depend on constants only are
//! *concrete*: their abstract value has real values, so they can be read while tracing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;

use super::recorder::Recorder;
use super::{Array, State};
use crate::local::with_local;
use crate::shape::{Size, SizeGuard, SizeSource};
use crate::{ArrayType, Result};

thread_local! {
    static OPEN: RefCell<Vec<Rc<dyn Recorder>>> = const { RefCell::new(Vec::new()) };
    /// Whether size tracking is suppressed.
    static SUPPRESSED: Cell<bool> = const { Cell::new(false) };
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

/// While this guard is alive, recorders are not told of sizes that are read: a check does not depend on which they are.
///
/// A guard rather than a function of a closure, because a closure would not pass the caller's line on.
pub(crate) struct SuppressSizeTracking(bool);

impl SuppressSizeTracking {
    pub(crate) fn new() -> Self {
        Self(SUPPRESSED.replace(true))
    }
}

impl Drop for SuppressSizeTracking {
    fn drop(&mut self) {
        SUPPRESSED.set(self.0);
    }
}

/// Returns shape and dtype of an array for a recorder's own use: sizes are not noted as read by the function.
///
/// # Errors
/// When the array could not be built.
pub fn type_of(array: &Array) -> Result<ArrayType> {
    let _quiet = SuppressSizeTracking::new();
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

/// An axis of a traced array that depends on inputs.
pub struct TracedAxis {
    /// The array.
    pub array: Array,
    /// The axis, from 0.
    pub axis: usize,
}

impl TracedAxis {
    /// Returns the axis that a size comes from.
    pub fn of(source: &dyn SizeSource) -> Option<&Self> {
        source.as_any().downcast_ref()
    }
}

impl SizeSource for TracedAxis {
    fn guard(&self, guard: &SizeGuard<'_>) {
        match current_for(&[&self.array]) {
            Some(recorder) => recorder.guards_size(guard),
            None => self.read("a comparison of sizes", guard.at),
        }
    }

    fn read(&self, op: &'static str, at: &'static Location<'static>) {
        self.array.note_size_kept(op, at);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Array {
    /// Returns the size of an axis, `value`, with where it comes from if the array is traced and depends on inputs.
    pub(super) fn sized(&self, axis: usize, value: i32) -> Size {
        match &self.state {
            State::Traced(traced) if !traced.known => {
                let array = self.clone();
                Size::of_axis(value, Rc::new(TracedAxis { array, axis }))
            }
            _ => Size::from(value),
        }
    }

    /// Tells the recorder of a traced array that its size was read.
    pub(crate) fn note_size_read(&self, op: &'static str, at: &'static Location<'static>) {
        if let State::Traced(traced) = &self.state
            && !traced.known
            && !SUPPRESSED.get()
        {
            traced.recorder.reads_size(op, at);
        }
    }

    /// Tells the recorder of a traced array that what is recorded depends on its sizes, also where reading them is not told.
    pub(crate) fn note_size_kept(&self, op: &'static str, at: &'static Location<'static>) {
        let hidden = SUPPRESSED.replace(false);
        self.note_size_read(op, at);
        SUPPRESSED.set(hidden);
    }
}
