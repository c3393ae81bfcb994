//! Functions made out of functions: what is given to a recorder when one is used while tracing.

use std::panic::Location;
use std::rc::Rc;

use crate::{Array, Result};

/// A function over flat arrays, as a transform takes it.
pub type FlatFunction = dyn Fn(&[Array]) -> Result<Vec<Array>>;

/// A transform of functions with its settings; what [`Op`](crate::Op) is for arrays.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Transform {
    /// Outputs of the function, then gradients of the first with respect to the inputs `argnums`.
    ValueAndGrad {
        /// The inputs that gradients are taken of.
        argnums: Vec<usize>,
    },
}

impl Transform {
    /// Returns the transform's name in Python MLX.
    pub fn name(&self) -> &'static str {
        match self {
            Transform::ValueAndGrad { .. } => "value_and_grad",
        }
    }
}

/// One use of a transform while a function is traced.
pub struct TransformCall<'a> {
    /// The transform.
    pub transform: &'a Transform,
    /// The functions it is of.
    pub functions: &'a [Rc<FlatFunction>],
    /// The arrays it is applied to.
    pub inputs: &'a [&'a Array],
    /// The line that applied it.
    pub at: &'static Location<'static>,
}

/// Applies a transform to functions over flat arrays.
///
/// # Errors
/// Always, until transforms are written.
pub fn apply(
    transform: &Transform,
    _functions: &[Rc<FlatFunction>],
    _inputs: &[&Array],
) -> Result<Vec<Array>> {
    Err(crate::Error::op(transform.name(), "not written yet"))
}
