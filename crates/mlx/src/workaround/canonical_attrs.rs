//! The same operation with attributes that do not overflow MLX's arithmetic.
//!
//! Steps and offsets far beyond an array mean the same as ones just beyond it, but overflow MLX's 32-bit arithmetic or
//! keep it busy forever; padding of some axes overruns lists that MLX takes to be as long as the shape.

use std::borrow::Cow;

use crate::ffi::Handle;
use crate::op::Op;
use crate::shape::axis_index;

/// Returns `op`, or one that means the same on these inputs.
pub(super) fn canonicalize<'a>(op: &'a Op, inputs: &[&Handle]) -> Cow<'a, Op> {
    let shape = inputs.first().map_or(&[][..], |input| input.shape());
    match changed(op, shape) {
        Some(changed) if changed != *op => Cow::Owned(changed),
        _ => Cow::Borrowed(op),
    }
}

fn changed(op: &Op, shape: &[i32]) -> Option<Op> {
    let from_end = |k: usize| {
        shape
            .len()
            .checked_sub(k)
            .map_or(0, |position| shape[position])
    };
    let mut changed = op.clone();
    match &mut changed {
        Op::Slice { strides, .. }
        | Op::SliceUpdate { strides, .. }
        | Op::SliceUpdateAdd { strides, .. }
        | Op::SliceUpdateMax { strides, .. }
        | Op::SliceUpdateMin { strides, .. }
        | Op::SliceUpdateProd { strides, .. } => {
            for (stride, &size) in strides.iter_mut().zip(shape) {
                let longest = size.max(1);
                *stride = (*stride).clamp(-longest, longest);
            }
        }
        Op::Diff { n, axis } => {
            let axis = axis_index(*axis, shape.len())?;
            *n = (*n).min(shape[axis]);
        }
        Op::Eye { n, m, k, .. } | Op::Tri { n, m, k, .. } => *k = diagonal(*k, *n, *m),
        Op::Tril { k } | Op::Triu { k } => *k = diagonal(*k, from_end(2), from_end(1)),
        Op::Diag { k } if shape.len() == 2 => *k = diagonal(*k, shape[0], shape[1]),
        Op::Diagonal {
            offset,
            axis1,
            axis2,
        }
        | Op::Trace {
            offset,
            axis1,
            axis2,
            ..
        } => {
            let rows = shape[axis_index(*axis1, shape.len())?];
            let columns = shape[axis_index(*axis2, shape.len())?];
            *offset = diagonal(*offset, rows, columns);
        }
        Op::Pad {
            axes, low, high, ..
        } => {
            let (mut lows, mut highs) = (vec![0; shape.len()], vec![0; shape.len()]);
            // `attributes::check` has seen that there are as many of each, and that axes exist and differ.
            for ((&axis, &before), &after) in axes.iter().zip(&*low).zip(&*high) {
                let axis = axis_index(axis, shape.len())?;
                (lows[axis], highs[axis]) = (before, after);
            }
            *axes = (0..).take(shape.len()).collect();
            (*low, *high) = (lows, highs);
        }
        _ => return None,
    }
    Some(changed)
}

/// The diagonal nearest to `k` of those that begin within or just beyond a matrix.
fn diagonal(k: i32, rows: i32, columns: i32) -> i32 {
    k.max(rows.max(0).wrapping_neg()).min(columns.max(0))
}
