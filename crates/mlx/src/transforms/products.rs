//! Products of vectors with the Jacobian of a function, from either side.

use std::panic::Location;

use super::Transform;
use super::call::{split, transformed};
use super::primals::{Cotangents, Primals};
use crate::tree::{Arguments, Function};
use crate::{Array, Result, tree};

/// What a function gives at primals `P`, and products.
type OutputAnd<'a, Args, P, Output, Products> =
    (<P as Primals<'a, Args>>::Outputs<Output>, Products);

type OutputAndTangents<'a, Args, P, Output> =
    OutputAnd<'a, Args, P, Output, <P as Primals<'a, Args>>::Outputs<Output>>;

/// Returns the output of `function` and the products of `cotangents` with its Jacobian.
///
/// `cotangents` is a tree of the output's form; the products are in the form of the arguments: of one argument a tree
/// of its type, of several a tuple of such. Lists of arrays, as Python's, give lists: `vjp(f, &[&x], &[&c])`.
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
pub fn vjp<'a, Args, F, P>(
    function: F,
    primals: P,
    cotangents: impl Cotangents<F::Output>,
) -> Result<OutputAnd<'a, Args, P, F::Output, P::Products>>
where
    Args: Arguments + 'a,
    F: Function<Args>,
    P: Primals<'a, Args>,
{
    let primals = primals.refs();
    let transform = Transform::Vjp {
        n_primals: Args::counts(primals).iter().sum(),
    };
    let cotangents = cotangents.arrays();
    let cotangents: Vec<&Array> = cotangents.iter().collect();
    let at = Location::caller();
    let (output, results) = transformed(&transform, &function, primals, &cotangents, at)?;
    let mut results = results.into_iter();
    let output = split(&output, &mut results)?;
    let products = refilled::<Args>(primals, results)?;
    Ok((P::outputs(output), P::products(products)))
}

/// Returns the output of `function` and the products of its Jacobian with `tangents`.
///
/// `tangents` are arguments of the function's own types; the products are a tree of the output's form. Lists of arrays, as
/// Python's, give lists: `jvp(f, &[&x], &[&t])`.
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
pub fn jvp<'a, 'b, Args, F, P>(
    function: F,
    primals: P,
    tangents: impl Primals<'b, Args>,
) -> Result<OutputAndTangents<'a, Args, P, F::Output>>
where
    Args: Arguments + 'a + 'b,
    F: Function<Args>,
    P: Primals<'a, Args>,
{
    let primals = primals.refs();
    let mut others = Vec::new();
    Args::visit_refs(tangents.refs(), &mut |array| others.push(array));
    let at = Location::caller();
    let (output, results) = transformed(&Transform::Jvp, &function, primals, &others, at)?;
    let mut results = results.into_iter();
    let (value, products) = (split(&output, &mut results)?, split(&output, &mut results)?);
    Ok((P::outputs(value), P::outputs(products)))
}

/// Returns owned arguments in the form of `like`.
#[track_caller]
fn refilled<Args: Arguments>(
    like: Args::Refs<'_>,
    arrays: impl Iterator<Item = Array>,
) -> Result<Args> {
    tree::rebuild(&Args::map_refs(like, &mut Array::clone), arrays)
}
