//! Transforms of functions over flat lists of arrays, and where they go: to MLX, or to a recorder.

use std::panic::Location;
use std::rc::Rc;

use super::{checks, execute};
use crate::{Array, ArrayType, Result, trace};

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
    /// The first function, whose gradient is the second: of primals, cotangents and outputs to one for each primal.
    CustomVjp,
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
            Transform::CustomVjp => "custom_vjp",
        }
    }

    /// Returns the number of functions it is of.
    pub fn n_functions(&self) -> usize {
        match self {
            Transform::CustomVjp => 2,
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

/// Applies a transform to functions over flat arrays; what [`bind`](crate::bind) is for operations.
///
/// While a function is traced on this thread, its recorder gets the call. Otherwise MLX runs the functions, some of
/// them later again: those of [`Transform::Checkpoint`] and [`Transform::CustomVjp`] when a gradient is taken. A
/// function whose graph is too large for this thread's stack is run a second time on a larger one.
///
/// ```
/// use std::rc::Rc;
/// use mlx::transforms::{FlatFunction, Transform, apply};
///
/// # fn main() -> mlx::Result<()> {
/// let square: Rc<FlatFunction> = Rc::new(|x: &[mlx::Array]| Ok(vec![x[0].square()]));
/// let transform = Transform::ValueAndGrad { argnums: vec![0] };
/// let results = apply(&transform, &[square], &[&mlx::array!(3.0)])?;
/// assert_eq!(results[1].item::<f32>()?, 6.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When inputs or outputs do not fit the transform, a function returns an error, or MLX cannot transform an operation.
///
/// # Panics
/// When a function does.
#[track_caller]
pub fn apply(
    transform: &Transform,
    functions: &[Rc<FlatFunction>],
    inputs: &[&Array],
) -> Result<Vec<Array>> {
    apply_at(transform, functions, inputs, Location::caller())
}

/// Applies a transform as [`apply`] does, in the name of another line of the program.
///
/// # Errors
/// As [`apply`].
pub fn apply_at(
    transform: &Transform,
    functions: &[Rc<FlatFunction>],
    inputs: &[&Array],
    at: &'static Location<'static>,
) -> Result<Vec<Array>> {
    checks::functions(transform, functions.len(), at)?;
    let types: Rc<[ArrayType]> = checks::inputs(transform, inputs, at)?.into();
    let mut checked: Vec<Rc<FlatFunction>> = Vec::with_capacity(functions.len());
    for (index, function) in functions.iter().enumerate() {
        let (function, of, types) = (Rc::clone(function), transform.clone(), Rc::clone(&types));
        checked.push(match index {
            0 => Rc::new(move |arrays: &[Array]| {
                let outputs = function(arrays)?;
                checks::outputs(&of, &types, &outputs, at)?;
                Ok(outputs)
            }),
            _ => Rc::new(move |arrays: &[Array]| checks::gradients(&types, function(arrays)?, at)),
        });
    }
    match trace::current_for(inputs) {
        Some(recorder) => recorder.record_transform(&TransformCall {
            transform,
            functions: &checked,
            inputs,
            at,
        }),
        None => execute::execute(transform, &checked, inputs, at),
    }
}
