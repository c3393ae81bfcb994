//! Several arrays made one.

use crate::op::{MeshIndexing, Op};
use crate::{Array, ArrayList, Axes, Error, Integer, Result, bind, bind_all};

/// Returns these arrays joined along an existing axis; with `()` or `None`, each is read as one row.
///
/// The arrays are a list of references or of arrays, a vector, a tuple: see [`ArrayList`].
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let (a, b) = (mlx::array!([1, 2]), mlx::array!([3]));
/// assert_eq!(mlx::concatenate([&a, &b], 0).to_vec::<i32>()?, [1, 2, 3]);
/// assert_eq!(mlx::concatenate((&a, &b), 0).to_vec::<i32>()?, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn concatenate(arrays: impl ArrayList, axis: impl Into<Axes>) -> Array {
    let mut arrays = arrays.into_arrays();
    let axis = match axis.into() {
        Axes::All => {
            arrays = arrays.iter().map(|array| array.flatten(0, -1)).collect();
            0
        }
        Axes::Some(axes) => match axes.as_slice() {
            [axis] => *axis,
            _ => {
                let text = format!("wanted one axis, or () for all, got {axes:?}");
                return Array::failed(Error::op("concatenate", text));
            }
        },
    };
    let inputs: Vec<&Array> = arrays.iter().collect();
    bind(Op::Concatenate { axis }, &inputs)
}

/// Returns what [`concatenate`] does.
#[track_caller]
pub fn concat(arrays: impl ArrayList, axis: impl Into<Axes>) -> Array {
    concatenate(arrays, axis)
}

/// Returns these arrays, all of one shape, joined along a new axis.
#[track_caller]
pub fn stack(arrays: impl ArrayList, axis: impl Integer) -> Array {
    let arrays = arrays.into_arrays();
    let inputs: Vec<&Array> = arrays.iter().collect();
    let axis = axis.to_i32();
    bind(Op::Stack { axis }, &inputs)
}

/// Returns these arrays broadcast against each other.
///
/// # Errors
/// When the shapes do not broadcast, or an input carries an error.
#[track_caller]
pub fn broadcast_arrays(arrays: impl ArrayList) -> Result<Vec<Array>> {
    let arrays = arrays.into_arrays();
    let inputs: Vec<&Array> = arrays.iter().collect();
    bind_all(Op::BroadcastArrays, &inputs)
}

/// Returns the coordinates of a grid over these one-dimensional arrays, the second along the rows (`xy`); other forms
/// with [`meshgrid_with`].
///
/// # Errors
/// When an input has more than one dimension, or carries an error.
#[track_caller]
pub fn meshgrid(arrays: impl ArrayList) -> Result<Vec<Array>> {
    meshgrid_with(arrays, false, MeshIndexing::Xy)
}

/// Returns the coordinates of a grid over these one-dimensional arrays; with `sparse`, with sizes of 1.
///
/// # Errors
/// When an input has more than one dimension, or carries an error.
#[track_caller]
pub fn meshgrid_with(
    arrays: impl ArrayList,
    sparse: bool,
    indexing: MeshIndexing,
) -> Result<Vec<Array>> {
    let arrays = arrays.into_arrays();
    let inputs: Vec<&Array> = arrays.iter().collect();
    bind_all(Op::Meshgrid { sparse, indexing }, &inputs)
}
