//! Updates of slices, as kernels take them: positions counted from the start, and an update of the slice's shape.

use mlx::Op;
use mlx::cpu::{HostArray, broadcast};

use super::types::slice_shape;

/// How an update of a slice runs.
pub(super) enum SliceUpdate {
    /// By a kernel, as this operation of the inputs.
    Kernel(Op),
    /// By the interpreter's formula: no kernel takes steps back, or nothing is updated.
    Formula,
}

/// Brings an update of a slice to the form that kernels take; `None` for other operations.
///
/// # Errors
/// When the update does not fit the slice.
pub(super) fn slice_update(
    op: &Op,
    inputs: &mut [HostArray],
) -> Option<Result<SliceUpdate, String>> {
    let bounds = bounds(op)?;
    let [x, update] = inputs else {
        return Some(Ok(SliceUpdate::Formula));
    };
    let [start, stop, strides] = bounds;
    if strides.iter().any(|&step| step <= 0) {
        return Some(Ok(SliceUpdate::Formula));
    }
    let shape = match slice_shape(x.array_type(), bounds) {
        Ok(shape) if shape.contains(&0) => return Some(Ok(SliceUpdate::Formula)),
        Ok(shape) => shape,
        Err(error) => return Some(Err(error)),
    };
    let Some(whole) = broadcast(update, &shape) else {
        let got = update.array_type();
        return Some(Err(format!("wanted an update of {shape:?}, got {got}")));
    };
    *update = whole;
    let from_start = |list: &[i32]| {
        let sizes = list.iter().zip(x.shape());
        sizes
            .map(|(&k, &n)| if k < 0 { k.saturating_add(n) } else { k }.clamp(0, n))
            .collect()
    };
    let (start, stop) = (from_start(start), from_start(stop));
    Some(Ok(SliceUpdate::Kernel(with_bounds(op, start, stop))))
}

/// Starts, stops and steps of an update of a slice.
pub(super) fn bounds(op: &Op) -> Option<[&[i32]; 3]> {
    match op {
        Op::SliceUpdate {
            start,
            stop,
            strides,
        }
        | Op::SliceUpdateAdd {
            start,
            stop,
            strides,
        }
        | Op::SliceUpdateProd {
            start,
            stop,
            strides,
        }
        | Op::SliceUpdateMax {
            start,
            stop,
            strides,
        }
        | Op::SliceUpdateMin {
            start,
            stop,
            strides,
        } => Some([start, stop, strides]),
        _ => None,
    }
}

fn with_bounds(op: &Op, new_start: Vec<i32>, new_stop: Vec<i32>) -> Op {
    let mut op = op.clone();
    if let Op::SliceUpdate { start, stop, .. }
    | Op::SliceUpdateAdd { start, stop, .. }
    | Op::SliceUpdateProd { start, stop, .. }
    | Op::SliceUpdateMax { start, stop, .. }
    | Op::SliceUpdateMin { start, stop, .. } = &mut op
    {
        (*start, *stop) = (new_start, new_stop);
    }
    op
}
