//! Products of vectors with the Jacobian of a function, from either side.

use std::panic::Location;

use super::Transform;
use super::call::{split, transformed};
use crate::tree::{Arguments, Function};
use crate::{Array, Result, tree};

/// Returns the output of `function` and the products of `cotangents` with its Jacobian.
///
/// `cotangents` is a tree of the output's form; the products are in the form of the arguments: of one argument a tree
/// of its type, of several a tuple of such.
///
/// ```
/// use mlx::{Array, array, vjp};
///
/// # fn main() -> mlx::Result<()> {
/// let product = |x: &Array, y: &Array| x * y;
/// let (x, y) = (array!([1.0, 2.0]), array!([3.0, 4.0]));
/// let (value, (by_x, by_y)) = vjp(product, (&x, &y), &array!([1.0, 10.0]))?;
/// assert_eq!(value.to_vec::<f32>()?, [3.0, 8.0]);
/// assert_eq!(by_x.to_vec::<f32>()?, [3.0, 40.0]);
/// assert_eq!(by_y.to_vec::<f32>()?, [1.0, 20.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the function returns one, `cotangents` is of another form or has other shapes than the output, a primal is not
/// floating, or MLX knows no gradient of an operation.
///
/// # Panics
/// When the function does.
#[track_caller]
pub fn vjp<Args: Arguments, F: Function<Args>>(
    function: F,
    primals: Args::Refs<'_>,
    cotangents: &F::Output,
) -> Result<(F::Output, Args::Values)> {
    let transform = Transform::Vjp {
        n_primals: Args::counts(primals).iter().sum(),
    };
    let cotangents = tree::arrays(cotangents);
    let at = Location::caller();
    let (output, results) = transformed(&transform, &function, primals, &cotangents, at)?;
    let mut results = results.into_iter();
    let output = split(&output, &mut results)?;
    Ok((output, refilled::<Args>(primals, results)?.values()))
}

/// Returns the output of `function` and the products of its Jacobian with `tangents`.
///
/// `tangents` are arguments of the function's own types; the products are a tree of the output's form.
///
/// ```
/// use mlx::{Array, array, jvp};
///
/// # fn main() -> mlx::Result<()> {
/// let product = |x: &Array, y: &Array| x * y;
/// let (x, y) = (array!(2.0), array!(3.0));
/// let (value, slope) = jvp(product, (&x, &y), (&array!(1.0), &array!(10.0)))?;
/// assert_eq!((value.item::<f32>()?, slope.item::<f32>()?), (6.0, 23.0));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the function returns one, `tangents` have another form or other shapes than the primals, a primal is not
/// floating, or MLX cannot differentiate an operation.
///
/// # Panics
/// When the function does.
#[track_caller]
pub fn jvp<Args: Arguments, F: Function<Args>>(
    function: F,
    primals: Args::Refs<'_>,
    tangents: Args::Refs<'_>,
) -> Result<(F::Output, F::Output)> {
    let mut others = Vec::new();
    Args::visit_refs(tangents, &mut |array| others.push(array));
    let at = Location::caller();
    let (output, results) = transformed(&Transform::Jvp, &function, primals, &others, at)?;
    let mut results = results.into_iter();
    Ok((split(&output, &mut results)?, split(&output, &mut results)?))
}

/// Returns owned arguments in the form of `like`.
#[track_caller]
fn refilled<Args: Arguments>(
    like: Args::Refs<'_>,
    arrays: impl Iterator<Item = Array>,
) -> Result<Args> {
    tree::rebuild(&Args::map_refs(like, &mut Array::clone), arrays)
}
