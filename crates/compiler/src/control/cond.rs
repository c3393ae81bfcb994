//! One of two branches, chosen by a value.

use std::panic::Location;
use std::rc::Rc;

use mlx::tree::{self, Outcome};
use mlx::{Array, ArrayType, Dtype, Op, Tree, bind};

use super::transform::is_types_only;
use super::{At, append, holds, open_tape, share_captures};
use crate::execute::Plan;
use crate::graph::Operation;
use crate::trace::record;
use crate::{Error, Result};

/// Returns what `then` gives for `inputs` if `predicate` holds, else what `otherwise` gives. Only one of them runs.
///
/// `predicate` is one `bool`. Both functions must return trees of one structure, with the same shapes and dtypes.
/// Outside of a traced function the predicate is computed and the function called; inside, both are traced and the
/// choice is made each time the compiled function runs. Under a `vmap` whose elements differ in the predicate both run,
/// and each element gets the result of its own.
///
/// # Errors
/// When `predicate` is not one `bool`, a function fails, or their results differ in type.
///
/// ```
/// use mlx::{Array, array};
/// use mlx_compiler::{cond, jit};
///
/// # fn main() -> Result<(), mlx_compiler::Error> {
/// let halve_or_triple = jit(|x: &Array| {
///     cond(&x.greater(10.0), x, |x: &Array| x / 2.0, |x: &Array| x * 3.0)
/// });
/// assert_eq!(halve_or_triple.call(&array!(12.0))?.item::<f32>()?, 6.0);
/// assert_eq!(halve_or_triple.call(&array!(2.0))?.item::<f32>()?, 6.0);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn cond<In, A, B>(
    predicate: &Array,
    inputs: &In,
    then: impl Fn(&In) -> A,
    otherwise: impl Fn(&In) -> B,
) -> Result<A::Tree>
where
    In: Tree,
    A: Outcome,
    B: Outcome<Tree = A::Tree>,
{
    let at = Location::caller();
    check_predicate("cond", &mlx::trace::type_of(predicate)?, at)?;
    let Some(recorder) = open_tape().filter(|_| !predicate.is_known()) else {
        let then = || then(inputs).outcome().map_err(Error::from_function);
        let otherwise = || otherwise(inputs).outcome().map_err(Error::from_function);
        return match holds(predicate, at)? {
            Some(true) => then(),
            Some(false) => otherwise(),
            None => chosen_trees(predicate, &then()?, &otherwise()?),
        };
    };
    let arguments = tree::arrays(inputs);
    let types = arguments
        .iter()
        .map(|array| mlx::trace::type_of(array))
        .collect::<mlx::Result<Vec<_>>>()?;
    let branch = |name: &str, function: &dyn Fn(&In) -> Result<A::Tree>| {
        record(name, &types, |arrays| {
            let output = function(&tree::rebuild(inputs, arrays.iter().cloned())?)?;
            let outputs = tree::arrays(&output).into_iter().cloned().collect();
            Ok((outputs, output))
        })
    };
    let then = branch("then", &|x| then(x).outcome().map_err(Error::from_function))?;
    let otherwise = branch("else", &|x| {
        otherwise(x).outcome().map_err(Error::from_function)
    })?;
    let same_structure = tree::structure(&then.rest) == tree::structure(&otherwise.rest);
    let (given, other) = (then.graph.output_types(), otherwise.graph.output_types());
    if !same_structure || given != other {
        let message = format!(
            "both branches must give the same types, got ({}) and ({})",
            type_list(&given),
            type_list(&other)
        );
        return Err(mlx::Error::op_with("cond", message, types).into());
    }
    let template = then.rest.map(&mut Array::shadow);
    let shadows: Vec<Array> = tree::arrays(&template).into_iter().cloned().collect();
    let (mut graphs, captures) =
        share_captures(vec![then.without_rest(), otherwise.without_rest()]);
    let otherwise = Rc::new(graphs.remove(1));
    let operation = Operation::Cond {
        then: Rc::new(graphs.remove(0)),
        otherwise,
    };
    let mut all = vec![predicate];
    all.extend(arguments);
    all.extend(&captures);
    let outputs = append(&recorder, operation, &all, &shadows, at)?;
    Ok(tree::rebuild(&template, outputs)?)
}

/// Reads the predicate and runs one branch.
pub(crate) fn run(
    inputs: &[&Array],
    then: &Plan,
    otherwise: &Plan,
    at: At,
) -> mlx::Result<Vec<Array>> {
    let [predicate, arguments @ ..] = inputs else {
        return Err(mlx::Error::op("cond", "wanted a condition, got none").at(at));
    };
    // Both branches give the same types; a meaningless value is not read.
    if is_types_only() {
        return then.run(arguments);
    }
    match holds(predicate, at)? {
        Some(true) => then.run(arguments),
        Some(false) => otherwise.run(arguments),
        None => {
            let (given, other) = (then.run(arguments)?, otherwise.run(arguments)?);
            let pairs = given.iter().zip(&other);
            Ok(pairs.map(|(a, b)| chosen(predicate, a, b)).collect())
        }
    }
}

/// For each element that vmap goes over, what the branch of its own condition gives.
fn chosen(predicate: &Array, given: &Array, other: &Array) -> Array {
    let predicate = bind(Op::Reshape { shape: vec![] }, &[predicate]);
    mlx::where_(&predicate, given, other)
}

#[track_caller]
fn chosen_trees<T: Tree>(predicate: &Array, given: &T, other: &T) -> Result<T> {
    let (arrays, others) = (tree::arrays(given), tree::arrays(other));
    let types = |arrays: &[&Array]| {
        let types = arrays.iter().map(|array| mlx::trace::type_of(array));
        types.collect::<mlx::Result<Vec<_>>>()
    };
    let (a, b) = (types(&arrays)?, types(&others)?);
    if tree::structure(given) != tree::structure(other) || a != b {
        return Err(different(&a, &b));
    }
    let pairs = arrays.into_iter().zip(others);
    let outputs = pairs.map(|(a, b)| chosen(predicate, a, b));
    Ok(tree::rebuild(given, outputs)?)
}

#[track_caller]
fn different(given: &[ArrayType], other: &[ArrayType]) -> Error {
    let message = format!(
        "both branches must give the same types, got ({}) and ({})",
        type_list(given),
        type_list(other)
    );
    mlx::Error::op("cond", message).into()
}

/// Refuses what is not one truth value.
pub(super) fn check_predicate(op: &'static str, array_type: &ArrayType, at: At) -> Result<()> {
    if array_type.dtype == Dtype::Bool && array_type.shape.iter().all(|size| *size == 1) {
        Ok(())
    } else {
        let message = format!("wanted one bool as the condition, got {array_type}");
        Err(mlx::Error::op(op, message).at(at).into())
    }
}

pub(super) fn type_list(types: &[ArrayType]) -> String {
    let texts: Vec<String> = types.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
