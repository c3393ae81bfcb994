//! Arrays without elements: nothing is computed for them, so nothing can go wrong.
//!
//! Several of MLX's CPU loops divide by the size of an axis, and BLAS ends the process when a matrix has no columns.

use crate::Dtype;
use crate::ffi::table::Outputs;
use crate::ffi::table::one;
use crate::ffi::{Handle, NativeError};
use crate::op::{Op, OpFlags};
use crate::shape::axis_index;

/// Returns the inputs with those that have no elements replaced by fresh arrays; nothing when all have some.
///
/// MLX's reductions loop forever on a transposed empty array.
pub(super) fn fresh_inputs(
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Vec<Handle>>, NativeError> {
    if inputs.iter().all(|input| input.size() != 0) {
        return Ok(None);
    }
    let fresh = |input: &&Handle| match input.size() {
        0 => zeros_like(input, stream),
        _ => input.duplicate(),
    };
    inputs.iter().map(fresh).collect::<Result<_, _>>().map(Some)
}

/// Returns the results with those that have no elements replaced by fresh arrays.
pub(crate) fn fresh_outputs(
    op: &Op,
    inputs: &[&Handle],
    outputs: Outputs,
    stream: mlx_sys::mlx_stream,
) -> Result<Outputs, NativeError> {
    if writes_nothing(op, inputs) {
        return one(&Op::Copy, &[inputs[0]], stream).map(Outputs::One);
    }
    let has_empty = outputs.as_slice().iter().any(|output| output.size() == 0);
    let contracts_nothing = op.flags().contains(OpFlags::CONTRACTION)
        && inputs.iter().any(|input| input.size() == 0)
        || traces_nothing(op, inputs);
    if !has_empty && !contracts_nothing {
        return Ok(outputs);
    }
    let many = matches!(outputs, Outputs::Many(_));
    let fresh = |(k, output): (usize, Handle)| -> Result<Handle, NativeError> {
        if output.size() == 0 || contracts_nothing {
            zeros_like(&output, stream)
        } else if matches!(op, Op::Lu) && k == 0 {
            row_order(output.shape().to_vec(), stream)
        } else {
            Ok(output)
        }
    };
    let mut results: Vec<Handle> = outputs
        .into_vec()
        .into_iter()
        .enumerate()
        .map(fresh)
        .collect::<Result<_, _>>()?;
    match (many, results.pop()) {
        (false, Some(only)) => Ok(Outputs::One(only)),
        (_, last) => {
            results.extend(last);
            Ok(Outputs::Many(results))
        }
    }
}

/// Whether a scatter has no updates: MLX divides by their number.
fn writes_nothing(op: &Op, inputs: &[&Handle]) -> bool {
    op.flags().contains(OpFlags::SCATTER) && inputs[1].size() == 0
}

/// Whether a trace is over a diagonal beside the matrix.
fn traces_nothing(op: &Op, inputs: &[&Handle]) -> bool {
    let Op::Trace {
        offset,
        axis1,
        axis2,
        ..
    } = op
    else {
        return false;
    };
    let shape = inputs[0].shape();
    let size = |axis: i32| axis_index(axis, shape.len()).map_or(0, |axis| i64::from(shape[axis]));
    let offset = i64::from(*offset);
    size(*axis1) - (-offset).max(0) <= 0 || size(*axis2) - offset.max(0) <= 0
}

fn zeros_like(like: &Handle, stream: mlx_sys::mlx_stream) -> Result<Handle, NativeError> {
    let (shape, dtype) = (like.shape().to_vec(), like.dtype());
    one(&Op::Zeros { shape, dtype }, &[], stream)
}

/// The order of rows of matrices without columns: each in its place.
fn row_order(shape: Vec<i32>, stream: mlx_sys::mlx_stream) -> Result<Handle, NativeError> {
    let rows = shape.last().copied().unwrap_or(0);
    let order = Op::Arange {
        start: 0.0,
        stop: f64::from(rows),
        step: 1.0,
        dtype: Dtype::Uint32,
    };
    one(
        &Op::BroadcastTo { shape },
        &[&one(&order, &[], stream)?],
        stream,
    )
}
