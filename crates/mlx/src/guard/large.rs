//! Arrays of 2^31 elements and more: most of MLX's loops on the CPU count with 32 bits and leave out the rest.

use super::{axis_of, one};
use crate::ffi::table::Outputs;
use crate::ffi::{Fault, Handle, stream};
use crate::op::Op;

/// What a 32-bit counter reaches.
const MOST: usize = i32::MAX as usize;

/// Reduces a large array one axis at a time; refuses what would be wrong; nothing when all is small.
pub(super) fn call(
    op: &Op,
    inputs: &[&Handle],
    stream: mlx_sys::mlx_stream,
) -> Result<Option<Outputs>, Fault> {
    let Some(large) = inputs.iter().find(|input| input.size() > MOST) else {
        return Ok(None);
    };
    if stream::is_gpu(stream) || only_moves(op) {
        return Ok(None);
    }
    let (axes, keepdims) = match op {
        Op::All { axes, keepdims }
        | Op::Any { axes, keepdims }
        | Op::Max { axes, keepdims }
        | Op::Min { axes, keepdims }
        | Op::Sum { axes, keepdims }
        | Op::Prod { axes, keepdims } => (axes, *keepdims),
        _ => {
            return Err(Fault(format!(
                "wanted at most {MOST} elements on the CPU, got {:?}",
                large.shape()
            )));
        }
    };
    let mut reduced = large.duplicate()?;
    // The last first: what is left is small from then on.
    let mut axes: Vec<i32> = axes
        .iter()
        .filter_map(|&axis| axis_of(axis, large.ndim()))
        .filter_map(|axis| i32::try_from(axis).ok())
        .collect();
    axes.sort_unstable_by(|a, b| b.cmp(a));
    for &axis in &axes {
        reduced = one(&along(op, axis), &[&reduced], stream)?;
    }
    if !keepdims {
        reduced = one(&Op::Squeeze { axes }, &[&reduced], stream)?;
    }
    Ok(Some(Outputs::One(reduced)))
}

/// The same reduction over one axis, which stays.
fn along(op: &Op, axis: i32) -> Op {
    let mut op = op.clone();
    if let Op::All { axes, keepdims }
    | Op::Any { axes, keepdims }
    | Op::Max { axes, keepdims }
    | Op::Min { axes, keepdims }
    | Op::Sum { axes, keepdims }
    | Op::Prod { axes, keepdims } = &mut op
    {
        (*axes, *keepdims) = (vec![axis], true);
    }
    op
}

/// Operations that look at shapes or copy elements, which MLX counts with 64 bits.
fn only_moves(op: &Op) -> bool {
    matches!(
        op,
        Op::AsStrided { .. }
            | Op::Astype { .. }
            | Op::Atleast1d
            | Op::Atleast2d
            | Op::Atleast3d
            | Op::BroadcastArrays
            | Op::BroadcastTo { .. }
            | Op::Contiguous { .. }
            | Op::Copy
            | Op::ExpandDims { .. }
            | Op::Flatten { .. }
            | Op::Full { .. }
            | Op::Moveaxis { .. }
            | Op::NumberOfElements { .. }
            | Op::OnesLike
            | Op::Reshape { .. }
            | Op::Slice { .. }
            | Op::SliceUpdate { .. }
            | Op::Split { .. }
            | Op::SplitSections { .. }
            | Op::Squeeze { .. }
            | Op::StopGradient
            | Op::Swapaxes { .. }
            | Op::Transpose { .. }
            | Op::Unflatten { .. }
            | Op::Unstack { .. }
            | Op::View { .. }
            | Op::ZerosLike
    )
}
