//! The protocol of tracing: what an array that is traced knows, and who receives the operations on it.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::rc::Rc;

use super::Array;
use super::trace::recorders;
use crate::ffi::Handle;
use crate::shape::{Size, SizeGuard};
use crate::{ArrayType, Error, Op, Result};

/// Receives the operations on traced arrays; the compiler's graph builder is one.
pub trait Recorder {
    /// Records one operation and returns a number for each of its outputs.
    ///
    /// An input can be traced by a recorder further out: then it is a capture of the inner function.
    ///
    /// # Errors
    /// When the operation cannot be recorded; the outputs then carry this error.
    fn record(&self, call: &OpCall<'_>) -> Result<Vec<usize>>;

    /// Returns whether the function is still being traced; an array used after that has escaped.
    fn is_open(&self) -> bool;

    /// Returns the recorder as its own type, for its implementation to downcast.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// Returns the recorders of this thread, the innermost last, as the code that made this one sees them.
    ///
    /// evcxr links this crate into each cell of a notebook, so a function of one cell that is traced from another has a
    /// list of recorders of its own, which is empty; the recorders of its arguments return the list of the cell that
    /// traces. Not for implementation outside this crate.
    fn open(&self) -> Vec<Rc<dyn Recorder>> {
        recorders()
    }

    /// Called when the function reads the size of a traced array that depends on its inputs.
    fn reads_size(&self, op: &'static str, at: &'static Location<'static>) {
        let _ = (op, at);
    }

    /// Called when what a comparison of sizes gave decides what the function does. It counts as a size that was read,
    /// unless a recorder says otherwise.
    fn guards_size(&self, guard: &SizeGuard<'_>) {
        self.reads_size("a comparison of sizes", guard.at);
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
pub struct OpCall<'a> {
    /// The operation.
    pub op: &'a Op,
    /// The inputs: traced, or arrays with values, which are constants of the function.
    pub inputs: &'a [&'a Array],
    /// Types of the outputs, as MLX infers them.
    pub outputs: &'a [ArrayType],
    /// Those of the attributes that are sizes of traced arrays, with their places: see
    /// [`Op::set_sizes`](crate::Op::set_sizes).
    pub sizes: &'a [(usize, Size)],
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

/// A function over flat arrays, as a transform takes it.
pub type FlatFunction = dyn Fn(&[Array]) -> Result<Vec<Array>>;

/// A transform of functions with its settings; what [`Op`](crate::Op) is for arrays.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transform {
    /// Outputs of the function, then gradients of the first with respect to the inputs `argnums`.
    ValueAndGrad {
        /// The inputs that gradients are taken of, in ascending order.
        argnums: Vec<usize>,
    },
    /// Inputs are primals, then cotangents, one for each output. Gives outputs, then one product for each primal.
    Vjp {
        /// How many of the inputs are primals.
        n_primals: usize,
    },
    /// Inputs are primals, then as many tangents. Gives outputs, then one product for each output.
    Jvp,
    /// The function over an axis of its inputs.
    Vmap {
        /// The axis of each input; none for one that is the same for all. Negative ones count from the end.
        in_axes: Vec<Option<i32>>,
        /// Where the axis goes in each output; one for all when there is one.
        out_axes: Vec<i32>,
    },
    /// The function; its gradient runs it again instead of keeping what it computed.
    Checkpoint,
    /// The first function, with rules of its own in the place of those that MLX finds; they are the functions after it,
    /// those that there are, in this order.
    CustomFunction {
        /// Whether it has a gradient: of primals, cotangents and outputs to one product for each primal.
        vjp: bool,
        /// Whether it has a product with tangents: of primals and tangents to one tangent for each output.
        jvp: bool,
        /// How it goes along an axis. It is not a function over arrays alone, and so never traced.
        vmap: Option<VmapRule>,
    },
}

/// How a function with rules of its own goes along an axis: of inputs and the axis of each, if it has one, to outputs
/// and the axis of each.
pub type FlatVmapRule = dyn Fn(&[Array], &[Option<i32>]) -> Result<(Vec<Array>, Vec<Option<i32>>)>;

/// A [`FlatVmapRule`] as a setting of a transform; equal to itself only.
#[derive(Clone)]
pub struct VmapRule(pub Rc<FlatVmapRule>);

impl PartialEq for VmapRule {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for VmapRule {}

impl Hash for VmapRule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Rc::as_ptr(&self.0).cast::<()>().hash(state);
    }
}

impl fmt::Debug for VmapRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VmapRule")
    }
}

impl Transform {
    /// Returns the transform's name in Python MLX.
    pub fn name(&self) -> &'static str {
        match self {
            Transform::ValueAndGrad { .. } => "value_and_grad",
            Transform::Vjp { .. } => "vjp",
            Transform::Jvp => "jvp",
            Transform::Vmap { .. } => "vmap",
            Transform::Checkpoint => "checkpoint",
            Transform::CustomFunction {
                vjp: true,
                jvp: false,
                vmap: None,
            } => "custom_vjp",
            Transform::CustomFunction { .. } => "custom_function",
        }
    }

    /// Returns the number of functions it is of.
    pub fn n_functions(&self) -> usize {
        match self {
            Transform::CustomFunction { vjp, jvp, .. } => 1 + usize::from(*vjp) + usize::from(*jvp),
            _ => 1,
        }
    }
}

/// One use of a transform while a function is traced.
pub struct TransformCall<'a> {
    /// The transform.
    pub transform: &'a Transform,
    /// The functions it is of; they check what they give. Those that borrow fail when they are called after this call.
    pub functions: &'a [Rc<FlatFunction>],
    /// The arrays it is applied to.
    pub inputs: &'a [&'a Array],
    /// The line that applied it.
    pub at: &'static Location<'static>,
}
