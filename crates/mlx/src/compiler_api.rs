//! What a compiler of traced functions needs beyond what a user calls: recorders, abstract values, operation attributes.
//!
//! Not covered by the promises of the rest of this crate: it changes with the crate `mlx-compiler`.

use std::rc::Rc;
use std::time::Duration;

pub use crate::array::trace::{
    TracedAxis, record_on, record_on_all, recorders, type_of, without_recording,
};
pub use crate::array::{OpCall, Recorder};
pub use crate::bind::bind_all_at;
pub use crate::compiled::CompiledClosure;
pub use crate::export::{ExportedCall, export_function};
pub use crate::op::{AttrValue, CustomOp, MaskMode, OpAttr, OpFlags, OpString};
pub use crate::shape::{Relation, SizeGuard, SizeOp, SizeSource, SizeTerm};

use crate::array::{State, Traced};
use crate::error::WithOp;
use crate::ffi::gpu_kernel::Moment;
use crate::ffi::{Handle, graph_text, inspect};
use crate::{Array, ArrayType, Op, Result};

/// Runs `work` with the random keys of this thread taken from `source`, where a function asks for one and is given none.
///
/// So a compiled function draws with keys that are its inputs, and not with those of the time when it was traced.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn with_random_keys<T>(source: &dyn Fn() -> Array, work: impl FnOnce() -> T) -> Result<T> {
    crate::random::with_source(source, work)
}

/// Runs `work`, which gives work to the GPU, and returns how long the GPU took for it by its own clock; `None` on a GPU
/// without one that can be asked. Other work of this thread must not come between.
///
/// # Errors
/// Those of `work`, and when the GPU fails.
#[track_caller]
pub fn time_on_gpu(work: impl FnOnce() -> Result<()>) -> Result<Option<Duration>> {
    const NAME: &str = "time_on_gpu";
    let start = Moment::now().with_op(NAME)?;
    work()?;
    let end = Moment::now().with_op(NAME)?;
    match (start, end) {
        (Some(start), Some(end)) => end.since(&start).map(Some).with_op(NAME),
        _ => Ok(None),
    }
}

/// Returns the version of MLX that is loaded; nothing when none is.
pub fn mlx_version() -> Option<String> {
    let loaded = mlx_sys::loaded().ok()?;
    Some(loaded.versions.mlx.clone())
}

/// Returns the graph that computes arrays, as MLX writes it: inputs, outputs, and a line for each primitive with the arrays that it
/// takes and gives. Nothing runs. `names` are those of arrays; all others get one of capital letters.
///
/// # Errors
/// When an array failed or is being traced, or the native library is missing.
#[track_caller]
pub fn graph_text(outputs: &[&Array], names: &[(&Array, String)]) -> Result<String> {
    const NAME: &str = "graph_text";
    let handles = |arrays: &mut dyn Iterator<Item = &Array>| -> Result<Vec<Rc<Handle>>> {
        arrays.map(|array| array.handle(NAME).cloned()).collect()
    };
    let outputs = handles(&mut outputs.iter().copied())?;
    let named = handles(&mut names.iter().map(|(array, _)| *array))?;
    let outputs: Vec<&Handle> = outputs.iter().map(AsRef::as_ref).collect();
    let names: Vec<(&Handle, String)> = named
        .iter()
        .map(AsRef::as_ref)
        .zip(names.iter().map(|(_, name)| name.clone()))
        .collect();
    // MLX goes through the graph by calling itself.
    let size = inspect::graph_size(&outputs).with_op(NAME)?;
    let stack = size.saturating_mul(FRAME).saturating_add(RESERVE);
    stacker::maybe_grow(stack, stack, || graph_text::graph_text(&outputs, &names)).with_op(NAME)
}

/// Bytes of stack for an operation of a graph that MLX writes, and for everything else.
const FRAME: usize = 512;
const RESERVE: usize = 512 * 1024;

/// What a recorder asks of arrays.
pub trait TracedArray: Sized {
    /// Returns a value of a function being traced: the `node`-th of `recorder`, of this type.
    fn new_tracer(recorder: &Rc<dyn Recorder>, node: usize, array_type: &ArrayType) -> Self;

    /// Returns a value of a function being traced that has shape, dtype and, when `is_concrete`, the values of `like`.
    ///
    /// `like` is an array with values or a traced one, whose abstract value is used.
    fn new_tracer_like(
        recorder: &Rc<dyn Recorder>,
        node: usize,
        like: &Array,
        is_concrete: bool,
    ) -> Self;

    /// Returns whether this is a value of a function being traced.
    fn is_tracer(&self) -> bool;

    /// Returns whether this is a value of a function being traced by `recorder`.
    fn is_tracer_of(&self, recorder: &Rc<dyn Recorder>) -> bool;

    /// Returns whether both are one value of one trace.
    fn is_same_tracer(&self, other: &Array) -> bool;

    /// Returns the number this array has in the graph being traced, if it has one.
    fn tracer_node(&self) -> Option<usize>;

    /// Returns the address of the recorder that traces this array, to compare with a recorder's own.
    fn recorder_id(&self) -> Option<*const ()>;

    /// Returns whether the values can be read: always, but for a traced array that depends on the function's inputs.
    fn is_concrete(&self) -> bool;

    /// Returns whether the array is an argument of a function that MLX is differentiating or vectorizing, or depends on
    /// one.
    ///
    /// It has another value in each call of that function, so it cannot be a constant.
    fn is_transform_argument(&self) -> bool;

    /// Returns the array that a traced one takes its shape and dtype from; any other array itself.
    ///
    /// It has the values of the traced one when that [is concrete](Self::is_concrete), else meaningless ones.
    fn abstract_value(&self) -> Array;

    /// Returns whether the array has this shape and dtype; one that could not be built has none.
    fn matches_type(&self, array_type: &ArrayType) -> bool;

    /// Returns a number that two arrays have in common when they share one handle, as clones do.
    ///
    /// It means nothing once the array is dropped; a traced or failed array has none.
    fn buffer_id(&self) -> Option<usize>;
}

impl TracedArray for Array {
    fn new_tracer(recorder: &Rc<dyn Recorder>, node: usize, array_type: &ArrayType) -> Self {
        let dtype = array_type.dtype;
        let shape = array_type.shape.clone();
        let like = without_recording(|| crate::bind(Op::Zeros { shape, dtype }, &[]));
        Self::new_tracer_like(recorder, node, &like, false)
    }

    fn new_tracer_like(
        recorder: &Rc<dyn Recorder>,
        node: usize,
        like: &Array,
        is_concrete: bool,
    ) -> Self {
        let shadow = match &like.state {
            State::Ready(handle) => Rc::clone(handle),
            State::Traced(traced) => Rc::clone(&traced.shadow),
            State::Failed(_) => return like.clone(),
        };
        Self::from_state(State::Traced(Traced {
            recorder: Rc::clone(recorder),
            node,
            shadow,
            known: is_concrete,
        }))
    }

    fn is_tracer(&self) -> bool {
        matches!(self.state, State::Traced(_))
    }

    fn is_tracer_of(&self, recorder: &Rc<dyn Recorder>) -> bool {
        matches!(&self.state, State::Traced(traced) if Rc::ptr_eq(&traced.recorder, recorder))
    }

    fn is_same_tracer(&self, other: &Array) -> bool {
        match (&self.state, &other.state) {
            (State::Traced(a), State::Traced(b)) => {
                a.node == b.node && Rc::ptr_eq(&a.recorder, &b.recorder)
            }
            _ => false,
        }
    }

    fn tracer_node(&self) -> Option<usize> {
        match &self.state {
            State::Traced(traced) => Some(traced.node),
            _ => None,
        }
    }

    fn recorder_id(&self) -> Option<*const ()> {
        match &self.state {
            State::Traced(traced) => Some(Rc::as_ptr(&traced.recorder).cast()),
            _ => None,
        }
    }

    fn is_concrete(&self) -> bool {
        match &self.state {
            State::Ready(_) => true,
            State::Traced(traced) => traced.known,
            State::Failed(_) => false,
        }
    }

    fn is_transform_argument(&self) -> bool {
        match &self.state {
            State::Ready(handle) => inspect::is_tracer(handle).unwrap_or(false),
            State::Traced(_) | State::Failed(_) => false,
        }
    }

    fn abstract_value(&self) -> Array {
        match &self.state {
            State::Traced(traced) => Self::from_state(State::Ready(Rc::clone(&traced.shadow))),
            _ => self.clone(),
        }
    }

    fn matches_type(&self, array_type: &ArrayType) -> bool {
        self.typed().is_ok_and(|handle| {
            handle.dtype() == array_type.dtype && handle.shape() == array_type.shape
        })
    }

    fn buffer_id(&self) -> Option<usize> {
        match &self.state {
            State::Ready(handle) => Some(Rc::as_ptr(handle) as usize),
            _ => None,
        }
    }
}

macro_rules! renamed_methods {
    ($($old:ident = $new:ident ($($argument:ident : $type:ty),*) -> $result:ty, $note:literal;)*) => {
        impl Array {$(
            #[doc(hidden)]
            #[deprecated(note = $note)]
            pub fn $old(&self, $($argument: $type),*) -> $result {
                TracedArray::$new(self, $($argument),*)
            }
        )*}
    };
}

// Old names, until the next version.
renamed_methods! {
    is_traced = is_tracer() -> bool, "renamed to `TracedArray::is_tracer`";
    is_traced_by = is_tracer_of(recorder: &Rc<dyn Recorder>) -> bool, "renamed to `TracedArray::is_tracer_of`";
    is_same_traced = is_same_tracer(other: &Array) -> bool, "renamed to `TracedArray::is_same_tracer`";
    recorder_address = recorder_id() -> Option<*const ()>, "renamed to `TracedArray::recorder_id`";
    traced_node = tracer_node() -> Option<usize>, "renamed to `TracedArray::tracer_node`";
    is_known = is_concrete() -> bool, "renamed to `TracedArray::is_concrete`";
    is_transforming = is_transform_argument() -> bool, "renamed to `TracedArray::is_transform_argument`";
    shadow = abstract_value() -> Array, "renamed to `TracedArray::abstract_value`";
    has_type = matches_type(array_type: &ArrayType) -> bool, "renamed to `TracedArray::matches_type`";
    identity = buffer_id() -> Option<usize>, "renamed to `TracedArray::buffer_id`";
}

impl Array {
    #[doc(hidden)]
    #[deprecated(note = "renamed to `TracedArray::new_tracer`")]
    pub fn traced(recorder: &Rc<dyn Recorder>, node: usize, array_type: &ArrayType) -> Self {
        Self::new_tracer(recorder, node, array_type)
    }

    #[doc(hidden)]
    #[deprecated(note = "renamed to `TracedArray::new_tracer_like`")]
    pub fn traced_like(
        recorder: &Rc<dyn Recorder>,
        node: usize,
        shadow: &Array,
        known: bool,
    ) -> Self {
        Self::new_tracer_like(recorder, node, shadow, known)
    }
}
