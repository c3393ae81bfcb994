//! How a function over trees becomes one over flat arrays, and back.

use std::cell::RefCell;
use std::panic::Location;

use super::flat::apply_at;
use crate::array::Transform;
use crate::ffi::scoped_closure::with_scoped_closure;
use crate::tree::{Arguments, Function};
use crate::{Array, Error, Result, Tree, tree};

/// Where a function leaves the form of its output, with nothing in the place of arrays.
pub(super) type Form<T> = RefCell<Option<T>>;

/// Returns the tree with its arrays replaced by one that means nothing, so that the form keeps no graph alive.
pub(super) fn form<T: Tree>(tree: &T) -> T {
    let nothing = Array::failed(Error::op("tree", "the form of a tree has no arrays"));
    tree.map(&mut |_| nothing.clone())
}

/// Runs a function of trees on flat arrays that take the places of those in `like`.
pub(super) fn run<Args: Arguments, F: Function<Args> + ?Sized>(
    function: &F,
    like: Args::Refs<'_>,
    output: &Form<F::Output>,
    arrays: &[Array],
) -> Result<Vec<Array>> {
    let mut next = arrays.iter();
    let args = Args::map_refs(like, &mut |array| next.next().unwrap_or(array).clone());
    let result = function.apply(&args).map_err(Error::from_boxed)?;
    output.borrow_mut().get_or_insert_with(|| form(&result));
    Ok(tree::arrays(&result).into_iter().cloned().collect())
}

/// Applies a transform to a function of trees; returns the form of its output and the flat results.
pub(super) fn transformed<Args: Arguments, F: Function<Args> + ?Sized>(
    transform: &Transform,
    function: &F,
    args: Args::Refs<'_>,
    others: &[&Array],
    at: &'static Location<'static>,
) -> Result<(F::Output, Vec<Array>)> {
    let output = Form::default();
    let flat = |arrays: &[Array]| run(function, args, &output, arrays);
    let mut inputs = leaves::<Args>(args);
    inputs.extend(others);
    let too_late = || {
        let message = "wanted to run a function during its transform, came after it";
        Err(Error::op("transform", message))
    };
    let results = with_scoped_closure(&flat, too_late, |flat| {
        apply_at(transform, &[flat], &inputs, at)
    })?;
    Ok((taken(&output)?, results))
}

/// Returns the form that a function has left.
pub(super) fn taken<T>(output: &Form<T>) -> Result<T> {
    let form = output.borrow_mut().take();
    form.ok_or_else(|| Error::op("transform", "the function was never run"))
}

/// Returns the arrays of arguments.
pub(super) fn leaves<'a, Args: Arguments + 'a>(args: Args::Refs<'a>) -> Vec<&'a Array> {
    let mut leaves = Vec::new();
    Args::visit_refs(args, &mut |array| leaves.push(array));
    leaves
}

/// Takes as many arrays from the front of `results` as `like` has, in its form.
pub(super) fn split<T: Tree>(like: &T, results: &mut impl Iterator<Item = Array>) -> Result<T> {
    let count = tree::arrays(like).len();
    tree::rebuild(like, results.take(count))
}
