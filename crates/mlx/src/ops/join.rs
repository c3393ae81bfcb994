//! Several arrays made one.

use crate::op::{MeshIndexing, Op};
use crate::{Array, Result, bind, bind_all};

/// Returns these arrays joined along an existing axis.
#[track_caller]
pub fn concatenate<'a>(arrays: impl IntoIterator<Item = &'a Array>, axis: i32) -> Array {
    let arrays: Vec<&Array> = arrays.into_iter().collect();
    bind(Op::Concatenate { axis }, &arrays)
}

/// Returns these arrays, all of one shape, joined along a new axis.
#[track_caller]
pub fn stack<'a>(arrays: impl IntoIterator<Item = &'a Array>, axis: i32) -> Array {
    let arrays: Vec<&Array> = arrays.into_iter().collect();
    bind(Op::Stack { axis }, &arrays)
}

/// Returns these arrays broadcast against each other.
///
/// # Errors
/// When the shapes do not broadcast, or an input carries an error.
#[track_caller]
pub fn broadcast_arrays<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<Vec<Array>> {
    let arrays: Vec<&Array> = arrays.into_iter().collect();
    bind_all(Op::BroadcastArrays, &arrays)
}

/// Returns the coordinates of a grid over these one-dimensional arrays; with `sparse`, with sizes of 1.
///
/// # Errors
/// When an input has more than one dimension, or carries an error.
#[track_caller]
pub fn meshgrid<'a>(
    arrays: impl IntoIterator<Item = &'a Array>,
    sparse: bool,
    indexing: MeshIndexing,
) -> Result<Vec<Array>> {
    let arrays: Vec<&Array> = arrays.into_iter().collect();
    bind_all(Op::Meshgrid { sparse, indexing }, &arrays)
}
