//! Operations that move elements: shapes, views, joined and split arrays.

use mlx::{ArrayType, Op};

use super::{Types, axis_of, broadcast, count, like, one, size};
use crate::number::promote;
use crate::session::apply::parts;
use crate::tensor::{axes, axis};

pub(super) fn moved(op: &Op, inputs: &[ArrayType]) -> Option<Types> {
    let x = inputs.first()?;
    Some(match op {
        Op::Copy | Op::Contiguous { .. } => like(x),
        Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Unflatten { .. }
        | Op::Squeeze { .. }
        | Op::ExpandDims { .. } => reshaped(op, x).and_then(|shape| one(shape, x.dtype)),
        Op::Transpose { .. } | Op::Swapaxes { .. } | Op::Moveaxis { .. } => order(op, x)
            .map(|order| order.iter().map(|&axis| x.shape[axis]).collect())
            .and_then(|shape| one(shape, x.dtype)),
        Op::BroadcastTo { shape } => {
            let wanted = ArrayType::new(shape.clone(), x.dtype);
            broadcast(&[x.clone(), wanted]).and_then(|both| match both == *shape {
                true => one(both, x.dtype),
                false => Err(format!("wanted a shape that fits {shape:?}, got {x}")),
            })
        }
        Op::BroadcastArrays => broadcast(inputs).map(|shape| {
            let of = |x: &ArrayType| ArrayType::new(shape.clone(), x.dtype);
            inputs.iter().map(of).collect()
        }),
        Op::Slice {
            start,
            stop,
            strides,
        } if strides.iter().all(|&step| step > 0) => {
            sliced(x, [start, stop, strides]).and_then(|shape| one(shape, x.dtype))
        }
        Op::Concatenate { axis } => joined(*axis, inputs),
        Op::Stack { axis } => stacked(*axis, inputs),
        Op::Split { .. } | Op::SplitSections { .. } | Op::Unstack { .. } => {
            return parts(op, x).map(|parts| {
                let of = |(_, shape): &(usize, Vec<i32>)| ArrayType::new(shape.clone(), x.dtype);
                let parts: Vec<ArrayType> = parts?.1.iter().map(of).collect();
                match op {
                    Op::Unstack { axis } => {
                        let axis = axis_of(*axis, x)?;
                        Ok(parts
                            .into_iter()
                            .map(|mut part| {
                                part.shape.remove(axis);
                                part
                            })
                            .collect())
                    }
                    _ => Ok(parts),
                }
            });
        }
        Op::ZerosLike | Op::OnesLike => like(x),
        _ => return None,
    })
}

fn reshaped(op: &Op, x: &ArrayType) -> Result<Vec<i32>, String> {
    let ndim = x.shape.len();
    let of = |error: mlx_compiler::Error| error.to_string();
    let shape = match op {
        Op::Reshape { shape } => filled(shape, count(&x.shape)),
        Op::Flatten {
            start_axis,
            end_axis,
        } => {
            if ndim == 0 {
                return Ok(vec![1]);
            }
            let wrap = |axis: i32| if axis < 0 { axis + size(ndim) } else { axis };
            let start = usize::try_from(wrap(*start_axis).max(0)).unwrap_or(0);
            let end = usize::try_from(wrap(*end_axis).min(size(ndim) - 1)).unwrap_or(0);
            if start > end || start >= ndim {
                return Err(format!(
                    "wanted axes of {x}, got {start_axis} to {end_axis}"
                ));
            }
            let mut shape = x.shape[..start].to_vec();
            shape.push(i32::try_from(count(&x.shape[start..=end])).unwrap_or(i32::MAX));
            shape.extend(&x.shape[end + 1..]);
            shape
        }
        Op::Unflatten { axis: at, shape } => {
            let at = axis_of(*at, x)?;
            let inner = filled(shape, x.shape[at].into());
            let (before, after) = (&x.shape[..at], &x.shape[at + 1..]);
            [before, &inner, after].concat()
        }
        Op::Squeeze { axes: list } => {
            let gone = axes(list, ndim).map_err(of)?;
            if let Some(&axis) = gone.iter().find(|&&axis| x.shape[axis] != 1) {
                return Err(format!("wanted axes of 1 element, got axis {axis} of {x}"));
            }
            let is_kept = |(axis, _): &(usize, &i32)| !gone.contains(axis);
            x.shape
                .iter()
                .enumerate()
                .filter(is_kept)
                .map(|(_, &n)| n)
                .collect()
        }
        Op::ExpandDims { axes: list } => {
            let mut new = axes(list, ndim + list.len()).map_err(of)?;
            new.sort_unstable();
            let mut shape = x.shape.clone();
            for axis in new {
                shape.insert(axis.min(shape.len()), 1);
            }
            shape
        }
        _ => return Err("wanted a shape".to_owned()),
    };
    match count(&shape) == count(&x.shape) && shape.iter().all(|&n| n >= 0) {
        true => Ok(shape),
        false => Err(format!("wanted as many elements as {x} has, got {shape:?}")),
    }
}

/// A shape with its size of -1 found.
fn filled(shape: &[i32], elements: i64) -> Vec<i32> {
    let known = shape.iter().filter(|&&n| n != -1);
    let known = known.fold(1_i64, |all, &n| all.saturating_mul(n.into()));
    let rest = i32::try_from(elements.checked_div(known).unwrap_or(0)).unwrap_or(-2);
    shape
        .iter()
        .map(|&n| if n == -1 { rest } else { n })
        .collect()
}

/// The order of axes that a view puts them into.
fn order(op: &Op, x: &ArrayType) -> Result<Vec<usize>, String> {
    let ndim = x.shape.len();
    let mut order: Vec<usize> = (0..ndim).collect();
    match op {
        Op::Transpose { axes: list } => {
            let of = |error: mlx_compiler::Error| error.to_string();
            order = axes(list, ndim).map_err(of)?;
        }
        Op::Swapaxes { axis1, axis2 } => order.swap(axis_of(*axis1, x)?, axis_of(*axis2, x)?),
        Op::Moveaxis {
            source,
            destination,
        } => {
            let moved = order.remove(axis_of(*source, x)?);
            order.insert(axis_of(*destination, x)?, moved);
        }
        _ => {}
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..ndim) {
        true => Ok(order),
        false => Err(format!("wanted each axis of {x} once, got {order:?}")),
    }
}

/// The shape of a slice by steps above zero, cut to the array as NumPy does.
pub(in crate::session) fn sliced(
    x: &ArrayType,
    [start, stop, strides]: [&[i32]; 3],
) -> Result<Vec<i32>, String> {
    let ndim = x.shape.len();
    if [start.len(), stop.len(), strides.len()] != [ndim; 3] {
        return Err(format!("wanted {ndim} axes, got {start:?}, {stop:?}"));
    }
    let axis = |axis: usize| {
        let n = i64::from(x.shape[axis]);
        let wrap = |k: i32| if k < 0 { i64::from(k) + n } else { k.into() }.clamp(0, n);
        let covered = (wrap(stop[axis]) - wrap(start[axis])).max(0);
        let step = i64::from(strides[axis]);
        i32::try_from((covered + step - 1) / step).unwrap_or(i32::MAX)
    };
    Ok((0..ndim).map(axis).collect())
}

fn joined(along: i32, inputs: &[ArrayType]) -> Types {
    let first = &inputs[0];
    let axis = axis_of(along, first)?;
    let mut shape = first.shape.clone();
    let mut dtype = first.dtype;
    for part in &inputs[1..] {
        let differs = |k: usize| k != axis && part.shape[k] != shape[k];
        if part.shape.len() != shape.len() || (0..shape.len()).any(differs) {
            return Err(format!("wanted arrays that fit {first}, got {part}"));
        }
        shape[axis] = shape[axis].saturating_add(part.shape[axis]);
        dtype = promote(dtype, part.dtype);
    }
    one(shape, dtype)
}

fn stacked(along: i32, inputs: &[ArrayType]) -> Types {
    let first = &inputs[0];
    let ndim = first.shape.len() + 1;
    let at = axis(along, ndim).map_err(|error| error.to_string())?;
    if let Some(other) = inputs.iter().find(|x| x.shape != first.shape) {
        return Err(format!("wanted arrays like {first}, got {other}"));
    }
    let dtype = inputs.iter().map(|x| x.dtype).reduce(promote);
    let mut shape = first.shape.clone();
    shape.insert(at, size(inputs.len()));
    one(shape, dtype.unwrap_or(first.dtype))
}
