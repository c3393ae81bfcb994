//! Operations that read or write elements at indices.

use mlx::{ArrayType, DtypeKind, Op};

use super::{Types, axis_of, broadcast, count, like, one, size, slice_shape};
use crate::session::updates::bounds;
use crate::tensor::axes;

pub(super) fn indexed(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    let indices = match op {
        Op::Take { .. }
        | Op::Gather { .. }
        | Op::TakeAlongAxis { .. }
        | Op::SliceDynamic { .. } => &inputs[1..],
        Op::PutAlongAxis { .. } | Op::ScatterAddAxis { .. } => &inputs[1..2],
        Op::SliceUpdateDynamic { .. }
        | Op::Scatter { .. }
        | Op::ScatterAdd { .. }
        | Op::ScatterProd { .. }
        | Op::ScatterMax { .. }
        | Op::ScatterMin { .. } => &inputs[2..],
        Op::SliceUpdate { .. }
        | Op::SliceUpdateAdd { .. }
        | Op::SliceUpdateProd { .. }
        | Op::SliceUpdateMax { .. }
        | Op::SliceUpdateMin { .. } => &[],
        _ => return None,
    };
    let is_index =
        |x: &ArrayType| matches!(x.dtype.kind(), DtypeKind::Signed | DtypeKind::Unsigned);
    if let Some(other) = indices.iter().find(|x| !is_index(x)) {
        return Some(Err(format!("wanted whole numbers as indices, got {other}")));
    }
    Some(match op {
        Op::Take { axis } => axis_of(*axis, x).and_then(|at| {
            let (before, after) = (&x.shape[..at], &x.shape[at + 1..]);
            one([before, &inputs[1].shape, after].concat(), x.dtype)
        }),
        Op::Gather { axes, slice_sizes } => gathered(x, axes.len(), slice_sizes, indices),
        Op::TakeAlongAxis { axis } => along_axis(x, *axis, &inputs[1]),
        Op::SliceDynamic { axes, slice_size } => part(x, axes, slice_size, &inputs[1]),
        _ => match bounds(op) {
            Some(bounds) if bounds[2].iter().all(|&step| step > 0) => updated(x, bounds, inputs),
            _ => like(x),
        },
    })
}

/// An array of which a slice is updated.
fn updated(x: &ArrayType, bounds: [&[i32]; 3], inputs: &[ArrayType]) -> Types {
    let shape = slice_shape(x, bounds)?;
    let update = inputs.get(1).ok_or("wanted an update, got none")?;
    let slice = ArrayType::new(shape.clone(), x.dtype);
    match broadcast(&[update.clone(), slice]) {
        Ok(both) if both == shape => like(x),
        _ => Err(format!("wanted an update of {shape:?}, got {update}")),
    }
}

/// Whether sizes are those of a part of an array.
fn is_part(sizes: &[i32], x: &ArrayType) -> bool {
    let fits = |(part, n): (&i32, &i32)| (0..=*n).contains(part);
    sizes.len() == x.shape.len() && sizes.iter().zip(&x.shape).all(fits)
}

fn gathered(x: &ArrayType, n_axes: usize, sizes: &[i32], indices: &[ArrayType]) -> Types {
    if n_axes != indices.len() || !is_part(sizes, x) {
        return Err(format!("wanted slices of {x}, got {sizes:?}"));
    }
    let outer = broadcast(indices)?;
    one([outer.as_slice(), sizes].concat(), x.dtype)
}

fn along_axis(x: &ArrayType, axis: i32, index: &ArrayType) -> Types {
    let at = axis_of(axis, x)?;
    if index.shape.len() != x.shape.len() {
        return Err(format!("wanted as many axes as {x} has, got {index}"));
    }
    let mut others = [x.shape.clone(), index.shape.clone()];
    others.iter_mut().for_each(|shape| shape[at] = 1);
    let mut shape = broadcast(&others.map(|shape| ArrayType::new(shape, x.dtype)))?;
    shape[at] = index.shape[at];
    one(shape, x.dtype)
}

fn part(x: &ArrayType, along: &[i32], sizes: &[i32], start: &ArrayType) -> Types {
    let along = axes(along, x.shape.len()).map_err(|error| error.to_string())?;
    if count(&start.shape) != i64::from(size(along.len())) || !is_part(sizes, x) {
        return Err(format!("wanted a part of {x}, got {sizes:?}"));
    }
    one(sizes.to_vec(), x.dtype)
}
