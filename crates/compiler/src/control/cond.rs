//! One of two branches, chosen by a value.

use std::panic::Location;
use std::rc::Rc;

use mlx::compiler_api::{Recorder, TracedArray};
use mlx::tree::{self, Outcome};
use mlx::{Array, ArrayType, Tree};

use super::checks::{check_predicate, type_list, types_of};
use crate::execute::{read_predicate, select};
use crate::graph::{CallSite, Operation};
use crate::trace::{Recorded, append_node, open_tape, record_rounds, share_captures};
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
    check_predicate("cond", &mlx::compiler_api::type_of(predicate)?, at)?;
    let then = |inputs: &In| then(inputs).outcome().map_err(Error::from_function);
    let otherwise = |inputs: &In| otherwise(inputs).outcome().map_err(Error::from_function);
    let Some(recorder) = open_tape().filter(|_| !predicate.is_concrete()) else {
        return match read_predicate(predicate, at)? {
            Some(true) => then(inputs),
            Some(false) => otherwise(inputs),
            None => select_trees(predicate, &then(inputs)?, &otherwise(inputs)?),
        };
    };
    let types = types_of(&tree::arrays(inputs))?;
    let then = record_branch("then", &types, inputs, then)?;
    let otherwise = record_branch("else", &types, inputs, otherwise)?;
    let same_structure = tree::structure(&then.aux) == tree::structure(&otherwise.aux);
    let (given, other) = (then.graph.output_types(), otherwise.graph.output_types());
    if !same_structure || given != other {
        let message = different_types(&given, &other);
        return Err(mlx::Error::op_with("cond", message, types).into());
    }
    append_cond(&recorder, predicate, inputs, [then, otherwise], at)
}

/// Traces one branch.
#[track_caller]
fn record_branch<In: Tree, Out: Tree>(
    name: &str,
    types: &[ArrayType],
    inputs: &In,
    branch: impl Fn(&In) -> Result<Out>,
) -> Result<Recorded<Out>> {
    record_rounds("cond", name, types, |arrays| {
        let output = branch(&tree::rebuild(inputs, arrays.iter().cloned())?)?;
        let outputs = tree::arrays(&output).into_iter().cloned().collect();
        Ok((outputs, output))
    })
}

/// Appends the node to the open trace and returns its outputs as the branches return them.
fn append_cond<In: Tree, Out: Tree>(
    recorder: &Rc<dyn Recorder>,
    predicate: &Array,
    inputs: &In,
    [then, otherwise]: [Recorded<Out>; 2],
    at: CallSite,
) -> Result<Out> {
    let template = then.aux.map(&mut Array::abstract_value);
    let shadows: Vec<Array> = tree::arrays(&template).into_iter().cloned().collect();
    let (mut graphs, captures) = share_captures(vec![then.without_aux(), otherwise.without_aux()]);
    let otherwise = Rc::new(graphs.remove(1));
    let operation = Operation::Cond {
        then: Rc::new(graphs.remove(0)),
        otherwise,
    };
    let mut all = vec![predicate];
    all.extend(tree::arrays(inputs));
    all.extend(&captures);
    let outputs = append_node(recorder, operation, &all, &shadows, at)?;
    Ok(tree::rebuild(&template, outputs)?)
}

/// For each element of a `vmap`, the tree of the branch that its own predicate chooses.
#[track_caller]
fn select_trees<T: Tree>(predicate: &Array, given: &T, other: &T) -> Result<T> {
    let (arrays, others) = (tree::arrays(given), tree::arrays(other));
    let (a, b) = (types_of(&arrays)?, types_of(&others)?);
    if tree::structure(given) != tree::structure(other) || a != b {
        return Err(mlx::Error::op("cond", different_types(&a, &b)).into());
    }
    let pairs = arrays.into_iter().zip(others);
    let outputs = pairs.map(|(a, b)| select(predicate, a, b));
    Ok(tree::rebuild(given, outputs)?)
}

fn different_types(given: &[ArrayType], other: &[ArrayType]) -> String {
    format!(
        "both branches must give the same types, got ({}) and ({})",
        type_list(given),
        type_list(other)
    )
}
