//! How a transform is applied to functions over flat lists of arrays: by MLX, or by a recorder.

use std::cell::RefCell;
use std::panic::Location;
use std::rc::Rc;

use super::{checks, execute};
use crate::array::{FlatFunction, Transform, TransformCall, trace};
use crate::{Array, ArrayType, Result};

/// Applies a transform to functions over flat arrays; what [`bind`](crate::bind) is for operations.
///
/// While a function is traced on this thread, its recorder gets the call. Otherwise MLX runs the functions, some of
/// them later again: those of [`Transform::Checkpoint`] and [`Transform::CustomFunction`] when a gradient is taken. A
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

/// Applies a transform as [`apply`] does, with an explicit source location.
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
    let outputs = Rc::new(RefCell::new(Vec::new()));
    let mut checked: Vec<Rc<FlatFunction>> = Vec::with_capacity(functions.len());
    for (index, function) in functions.iter().enumerate() {
        let (function, of, types) = (Rc::clone(function), transform.clone(), Rc::clone(&types));
        let outputs = Rc::clone(&outputs);
        checked.push(match rule_at(transform, index) {
            None => Rc::new(move |arrays: &[Array]| {
                let results = function(arrays)?;
                *outputs.borrow_mut() = checks::outputs(&of, &types, &results, at)?;
                Ok(results)
            }),
            Some(Rule::Vjp) => Rc::new(move |arrays: &[Array]| {
                let names = ["gradient", "input"];
                checks::rule(&of, names, &types, function(arrays)?, at)
            }),
            Some(Rule::Jvp) => Rc::new(move |arrays: &[Array]| {
                let (names, wanted) = (["tangent", "output"], outputs.borrow().clone());
                checks::rule(&of, names, &wanted, function(arrays)?, at)
            }),
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

/// What a function after the first is to a transform.
enum Rule {
    Vjp,
    Jvp,
}

/// Returns which rule the function at this place is; the first one is none.
fn rule_at(transform: &Transform, index: usize) -> Option<Rule> {
    match (transform, index) {
        (_, 0) => None,
        (Transform::CustomFunction { vjp: true, .. }, 1) => Some(Rule::Vjp),
        _ => Some(Rule::Jvp),
    }
}
