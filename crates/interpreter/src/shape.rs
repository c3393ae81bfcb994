//! Operations that move elements: shapes, joining, splitting, padding.

use mlx::{MeshIndexing, Op, PadMode};
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::{Number, promote};
use crate::tensor::{Tensor, axes, axis, broadcast_shape, coordinates, flat_index, sizes, strides};

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    Some(match op {
        Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Unflatten { .. }
        | Op::Squeeze { .. }
        | Op::ExpandDims { .. }
        | Op::Atleast1d
        | Op::Atleast2d
        | Op::Atleast3d => call.input(0).and_then(|x| call.one(x.numbers().to_vec())),
        Op::Transpose { axes: list } => reordered(call, |n| axes(list, n)),
        Op::Swapaxes { axis1, axis2 } => reordered(call, |n| swapped(*axis1, *axis2, n)),
        Op::Moveaxis {
            source,
            destination,
        } => reordered(call, |n| moved(*source, *destination, n)),
        Op::BroadcastTo { .. } => call
            .input(0)
            .and_then(|x| call.tensor(&x.broadcast_to(&call.shape()?)?)),
        Op::BroadcastArrays => broadcast_arrays(call),
        Op::AsStrided {
            shape,
            strides,
            offset,
        } => as_strided(call, shape, strides, *offset),
        Op::Concatenate { axis } => concatenate(call, *axis),
        Op::Stack { axis } => stack(call, *axis),
        Op::Split { num_splits, axis } => split_evenly(call, *num_splits, *axis),
        Op::SplitSections { indices, axis } => split_at(call, indices, *axis),
        Op::Unstack { axis } => unstack(call, *axis),
        Op::Tile { reps } => tile(call, reps),
        Op::Repeat { repeats, axis } => repeat(call, *repeats, *axis),
        Op::Pad {
            axes,
            low,
            high,
            mode,
        } => pad(call, axes, low, high, *mode),
        Op::Roll { shift, axes } => roll(call, shift, axes),
        Op::Flip { axes } => flip(call, axes),
        Op::Meshgrid { sparse, indexing } => meshgrid(call, *sparse, *indexing),
        _ => return None,
    })
}

/// Puts the axes of the input into the order that `order` gives for their number.
fn reordered(call: &Call<'_>, order: impl Fn(usize) -> Result<Vec<usize>>) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    call.tensor(&x.transposed(&order(x.ndim())?)?)
}

fn swapped(axis1: i32, axis2: i32, ndim: usize) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..ndim).collect();
    order.swap(axis(axis1, ndim)?, axis(axis2, ndim)?);
    Ok(order)
}

fn moved(source: i32, destination: i32, ndim: usize) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = (0..ndim).collect();
    let moved = order.remove(axis(source, ndim)?);
    order.insert(axis(destination, ndim)?, moved);
    Ok(order)
}

fn split_evenly(call: &Call<'_>, num_splits: i32, along: i32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let n = x.shape()[axis(along, x.ndim())?];
    let parts = usize::try_from(num_splits).unwrap_or(0);
    if parts != call.types.len() {
        let wanted = call.types.len();
        return Err(call.error(format!("wanted {wanted} parts, got {num_splits}")));
    }
    let ends: Vec<usize> = (1..parts).map(|k| k * (n / parts)).collect();
    split(call, &ends, along)
}

fn split_at(call: &Call<'_>, indices: &[i32], along: i32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let n = i64::try_from(x.shape()[axis(along, x.ndim())?]).unwrap_or(0);
    let end = |&k: &i32| {
        let k = if k < 0 {
            i64::from(k) + n
        } else {
            i64::from(k)
        };
        usize::try_from(k.clamp(0, n)).unwrap_or(0)
    };
    split(call, &indices.iter().map(end).collect::<Vec<_>>(), along)
}

fn unstack(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let along = axis(along, x.ndim())?;
    let part = |k: usize| call.result(k, select(x, along, &[k])?.numbers().to_vec());
    (0..x.shape()[along]).map(part).collect()
}

fn repeat(call: &Call<'_>, repeats: i32, along: i32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let along = axis(along, x.ndim())?;
    let n = usize::try_from(repeats).unwrap_or(0);
    crate::tensor::count(&[x.shape()[along], n])?;
    let rows: Vec<usize> = (0..x.shape()[along])
        .flat_map(|k| std::iter::repeat_n(k, n))
        .collect();
    call.tensor(&select(x, along, &rows)?)
}

fn flip(call: &Call<'_>, list: &[i32]) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let mut result = x.clone();
    for along in axes(list, x.ndim())? {
        let rows: Vec<usize> = (0..x.shape()[along]).rev().collect();
        result = select(&result, along, &rows)?;
    }
    call.tensor(&result)
}

/// Returns the tensor with these of the rows along an axis.
pub(crate) fn select(x: &Tensor, along: usize, rows: &[usize]) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    shape[along] = rows.len();
    let total: usize = shape.iter().product();
    let flat_indices: Vec<usize> = (0..total)
        .map(|k| {
            let mut at = coordinates(k, &shape);
            at[along] = rows[at[along]];
            flat_index(&at, x.shape())
        })
        .collect();
    x.pick(&shape, &flat_indices)
}

fn broadcast_arrays(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let shape = broadcast_shape(call.inputs.iter().map(|x| x.shape()))?;
    let all = call.inputs.iter().enumerate();
    all.map(|(k, x)| call.result(k, x.broadcast_to(&shape)?.numbers().to_vec()))
        .collect()
}

fn as_strided(call: &Call<'_>, shape: &[i32], steps: &[i64], offset: usize) -> Result<Vec<Tensor>> {
    let (x, shape) = (call.input(0)?, sizes(shape)?);
    let total = crate::tensor::count(&shape)?;
    let start = i64::try_from(offset).unwrap_or(i64::MAX);
    let of = |k: usize| {
        let at = coordinates(k, &shape);
        let mut flat_index = start;
        for (&at, &step) in at.iter().zip(steps) {
            flat_index = flat_index
                .saturating_add(step.saturating_mul(i64::try_from(at).unwrap_or(i64::MAX)));
        }
        usize::try_from(flat_index)
            .ok()
            .filter(|&flat_index| flat_index < x.size())
            .ok_or_else(|| {
                call.error(format!(
                    "wanted a view of {} elements, got one of element {flat_index}",
                    x.size()
                ))
            })
    };
    let flat_indices = (0..total).map(of).collect::<Result<Vec<_>>>()?;
    call.tensor(&x.pick(&shape, &flat_indices)?)
}

/// Joins tensors whose other sizes agree.
fn joined(call: &Call<'_>, parts: &[Tensor], along: usize) -> Result<Vec<Tensor>> {
    let shape = call.shape()?;
    let total = crate::tensor::count(&shape)?;
    let of = |k: usize| {
        let mut at = coordinates(k, &shape);
        for part in parts {
            let n = part.shape().get(along).copied().unwrap_or(0);
            match at.get_mut(along) {
                Some(row) if *row >= n => *row -= n,
                _ => return Ok(part.at(flat_index(&at, part.shape()))),
            }
        }
        Err(call.error(format!("wanted parts that make {shape:?}, got fewer")))
    };
    call.one((0..total).map(of).collect::<Result<_>>()?)
}

fn parts(call: &Call<'_>) -> Vec<Tensor> {
    let dtype = call.inputs.iter().map(|x| x.dtype()).reduce(promote);
    call.inputs
        .iter()
        .map(|x| x.astype(dtype.unwrap_or(x.dtype()), call.rounding))
        .collect()
}

fn concatenate(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let along = axis(along, call.input(0)?.ndim())?;
    joined(call, &parts(call), along)
}

fn stack(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let along = axis(along, call.input(0)?.ndim() + 1)?;
    let widen = |x: Tensor| {
        let mut shape = x.shape().to_vec();
        shape.insert(along, 1);
        x.reshaped(&shape)
    };
    joined(
        call,
        &parts(call)
            .into_iter()
            .map(widen)
            .collect::<Result<Vec<_>>>()?,
        along,
    )
}

fn split(call: &Call<'_>, ends: &[usize], along: i32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let along = axis(along, x.ndim())?;
    let mut all = vec![0];
    all.extend(ends);
    all.push(x.shape()[along]);
    let part = |(k, pair): (usize, &[usize])| {
        let rows: Vec<usize> = (pair[0]..pair[1]).collect();
        call.result(k, select(x, along, &rows)?.numbers().to_vec())
    };
    all.windows(2).enumerate().map(part).collect()
}

fn tile(call: &Call<'_>, reps: &[i32]) -> Result<Vec<Tensor>> {
    let (x, shape) = (call.input(0)?, call.shape()?);
    let ndim = reps.len().max(x.ndim());
    let mut from = vec![1; ndim - x.ndim()];
    from.extend(x.shape());
    let total = crate::tensor::count(&shape)?;
    let of = |k: usize| {
        let at: Vec<usize> = coordinates(k, &shape)
            .iter()
            .zip(&from)
            .map(|(&k, &size)| k % size.max(1))
            .collect();
        flat_index(&at, &from)
    };
    call.tensor(&x.pick(&shape, &(0..total).map(of).collect::<Vec<_>>())?)
}

fn pad(
    call: &Call<'_>,
    list: &[i32],
    low: &[i32],
    high: &[i32],
    mode: PadMode,
) -> Result<Vec<Tensor>> {
    let (x, value) = (call.input(0)?, call.input(1)?.at(0));
    let mut result = x.clone();
    for ((along, &before), &after) in axes(list, x.ndim())?.into_iter().zip(low).zip(high) {
        let n = i64::try_from(x.shape()[along]).unwrap_or(0);
        // One row beyond the last is the padding value.
        let row = |k: i64| match mode {
            _ if (0..n).contains(&k) => k,
            PadMode::Constant => n,
            PadMode::Edge => k.clamp(0, (n - 1).max(0)),
            PadMode::Reflect if n > 1 => {
                let k = k.rem_euclid(2 * (n - 1));
                if k < n { k } else { 2 * (n - 1) - k }
            }
            PadMode::Reflect => 0,
            PadMode::Symmetric => {
                let k = k.rem_euclid((2 * n).max(1));
                if k < n { k } else { 2 * n - 1 - k }
            }
        };
        let padding = [before, after].map(|n| usize::try_from(n).unwrap_or(0));
        crate::tensor::count(&[x.shape()[along] + padding[0] + padding[1]])?;
        let rows: Vec<i64> = (-i64::from(before)..n + i64::from(after))
            .map(row)
            .collect();
        let from = result.shape().to_vec();
        let mut shape = from.clone();
        shape[along] = rows.len();
        let total = crate::tensor::count(&shape)?;
        let of = |k: usize| {
            let mut at = coordinates(k, &shape);
            let row = rows.get(at[along]).copied().unwrap_or(0);
            if row >= n {
                // Nothing can be repeated of an empty axis.
                return if mode == PadMode::Constant {
                    value
                } else {
                    Number::zero(x.dtype())
                };
            }
            at[along] = usize::try_from(row).unwrap_or(0);
            result.at(flat_index(&at, &from))
        };
        result = Tensor::rounded(
            &shape,
            x.dtype(),
            (0..total).map(of).collect(),
            call.rounding,
        )?;
    }
    call.tensor(&result)
}

fn roll(call: &Call<'_>, shift: &[i32], list: &[i32]) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let mut result = x.clone();
    for (along, &by) in axes(list, x.ndim())?.into_iter().zip(shift) {
        let n = i64::try_from(x.shape()[along]).unwrap_or(0);
        let row = |k: i64| usize::try_from((k - i64::from(by)).rem_euclid(n.max(1))).unwrap_or(0);
        result = select(&result, along, &(0..n).map(row).collect::<Vec<_>>())?;
    }
    call.tensor(&result)
}

fn meshgrid(call: &Call<'_>, sparse: bool, indexing: MeshIndexing) -> Result<Vec<Tensor>> {
    let n = call.inputs.len();
    let axis_of = |k: usize| match (indexing, k) {
        (MeshIndexing::Xy, 0) if n > 1 => 1,
        (MeshIndexing::Xy, 1) => 0,
        _ => k,
    };
    let mut full = vec![1; n];
    for (k, x) in call.inputs.iter().enumerate() {
        full[axis_of(k)] = x.size();
    }
    let grid = |(k, x): (usize, &&Tensor)| {
        let mut shape = vec![1; n];
        shape[axis_of(k)] = x.size();
        let x = x.reshaped(&shape)?;
        let x = if sparse { x } else { x.broadcast_to(&full)? };
        call.result(k, x.numbers().to_vec())
    };
    call.inputs.iter().enumerate().map(grid).collect()
}

/// Returns elements of a diagonal of two axes, along a new last one.
pub(crate) fn diagonal(x: &Tensor, offset: i32, axis1: usize, axis2: usize) -> Result<Tensor> {
    let steps = strides(x.shape());
    let rest: Vec<usize> = (0..x.ndim())
        .filter(|&k| k != axis1 && k != axis2)
        .collect();
    let (down, right) = (
        usize::try_from(offset.min(0).unsigned_abs()).unwrap_or(0),
        usize::try_from(offset.max(0)).unwrap_or(0),
    );
    let length = x.shape()[axis1]
        .saturating_sub(down)
        .min(x.shape()[axis2].saturating_sub(right));
    let mut shape: Vec<usize> = rest.iter().map(|&k| x.shape()[k]).collect();
    let mut stride: Vec<usize> = rest.iter().map(|&k| steps[k]).collect();
    shape.push(length);
    stride.push(steps[axis1] + steps[axis2]);
    let offset = down * steps[axis1] + right * steps[axis2];
    x.pick(
        &shape,
        &crate::tensor::strided_indices(&shape, &stride, offset),
    )
}

/// Keeps what a test of row and column allows in each matrix.
pub(crate) fn masked(x: &Tensor, keep: impl Fn(i64, i64) -> bool) -> Vec<Number> {
    let zero = Number::zero(x.dtype());
    let at = |k: usize| {
        let at = coordinates(k, x.shape());
        let [.., row, column] = at.as_slice() else {
            return zero;
        };
        let (row, column) = (
            i64::try_from(*row).unwrap_or(0),
            i64::try_from(*column).unwrap_or(0),
        );
        if keep(row, column) { x.at(k) } else { zero }
    };
    (0..x.size()).map(at).collect()
}
