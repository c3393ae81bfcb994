//! Reading and writing elements by index. An index out of range is an error.

use mlx::Op;
use mlx_compiler::Result;

use crate::call::Call;
use crate::number::Number;
use crate::tensor::{Tensor, axes, axis, broadcast_shape, coordinates, count, flat_index, sizes};

type Combine = fn(Number, Number) -> Number;

/// Returns the result of an operation of this family; nothing for others.
pub(crate) fn apply(op: &Op, call: &Call<'_>) -> Option<Result<Vec<Tensor>>> {
    let replace: Combine = |_, new| new;
    Some(match op {
        Op::Slice {
            start,
            stop,
            strides,
        } => call.input(0).and_then(|x| {
            let plan = Plan::of(x.shape(), start, stop, strides);
            call.tensor(&x.pick(&plan.shape(), &plan.flat_indices(x.shape()))?)
        }),
        Op::SliceUpdate {
            start,
            stop,
            strides,
        } => slice_update(call, start, stop, strides, replace),
        Op::SliceUpdateAdd {
            start,
            stop,
            strides,
        } => slice_update(call, start, stop, strides, Number::add),
        Op::SliceUpdateMax {
            start,
            stop,
            strides,
        } => slice_update(call, start, stop, strides, Number::maximum),
        Op::SliceUpdateMin {
            start,
            stop,
            strides,
        } => slice_update(call, start, stop, strides, Number::minimum),
        Op::SliceUpdateProd {
            start,
            stop,
            strides,
        } => slice_update(call, start, stop, strides, Number::multiply),
        Op::SliceDynamic { axes, slice_size } => call.input(0).and_then(|x| {
            let size = sizes(slice_size)?;
            let plan = Plan::at(call, x.shape(), call.input(1)?, axes, &size)?;
            call.tensor(&x.pick(&plan.shape(), &plan.flat_indices(x.shape()))?)
        }),
        Op::SliceUpdateDynamic { axes } => slice_update_dynamic(call, axes),
        Op::Take { axis } => take(call, *axis),
        Op::TakeAlongAxis { axis } => take_along_axis(call, *axis),
        Op::PutAlongAxis { axis } => put_along_axis(call, *axis, replace),
        Op::ScatterAddAxis { axis } => put_along_axis(call, *axis, Number::add),
        Op::Gather { axes, slice_sizes } => gather(call, axes, slice_sizes),
        Op::Scatter { axes } => scatter(call, axes, replace),
        Op::ScatterAdd { axes } => scatter(call, axes, Number::add),
        Op::ScatterMax { axes } => scatter(call, axes, Number::maximum),
        Op::ScatterMin { axes } => scatter(call, axes, Number::minimum),
        Op::ScatterProd { axes } => scatter(call, axes, Number::multiply),
        Op::MaskedScatter => masked_scatter(call),
        _ => return None,
    })
}

/// Returns an index counted from the front.
fn within(call: &Call<'_>, index: Number, size: usize) -> Result<usize> {
    let signed = i128::try_from(size).unwrap_or(i128::MAX);
    let index = match index {
        Number::Unsigned(k) => i128::from(k),
        k => i128::from(k.to_i64()),
    };
    let wrapped = if index < 0 { index + signed } else { index };
    usize::try_from(wrapped)
        .ok()
        .filter(|&k| k < size)
        .ok_or_else(|| {
            call.error(format!(
                "index {index} is out of range, wanted {} to {}",
                -signed,
                signed - 1
            ))
        })
}

/// Refuses a block that is larger than what it is cut out of.
fn within_shape(call: &Call<'_>, block: &[usize], shape: &[usize]) -> Result<()> {
    if block.len() == shape.len() && block.iter().zip(shape).all(|(block, size)| block <= size) {
        return Ok(());
    }
    Err(call.error(format!("wanted a block within {shape:?}, got {block:?}")))
}

/// Rows along each axis that a slice takes.
struct Plan(Vec<Vec<usize>>);

impl Plan {
    /// A slice by start, stop and step, cut to the array as NumPy does.
    fn of(shape: &[usize], start: &[i32], stop: &[i32], strides: &[i32]) -> Self {
        let rows = shape.iter().enumerate().map(|(k, &size)| {
            let n = i64::try_from(size).unwrap_or(i64::MAX);
            let get = |list: &[i32], or: i64| list.get(k).map_or(or, |&value| i64::from(value));
            let step = match get(strides, 1) {
                0 => 1,
                step => step,
            };
            let wrap = |k: i64| if k < 0 { k + n } else { k };
            let (min, max) = if step < 0 { (-1, n - 1) } else { (0, n) };
            let mut at = wrap(get(start, 0)).clamp(min, max);
            let end = wrap(get(stop, n)).clamp(min, max);
            let mut rows = Vec::new();
            while (step > 0 && at < end) || (step < 0 && at > end) {
                rows.extend(usize::try_from(at));
                at += step;
            }
            rows
        });
        Plan(rows.collect())
    }

    /// A slice of fixed size that begins at indices given by an array.
    fn at(
        call: &Call<'_>,
        shape: &[usize],
        start: &Tensor,
        list: &[i32],
        size: &[usize],
    ) -> Result<Self> {
        within_shape(call, size, shape)?;
        let mut first = vec![0; shape.len()];
        for (along, k) in axes(list, shape.len())?.into_iter().zip(0..) {
            let room = (shape[along] + 1).saturating_sub(size.get(along).copied().unwrap_or(1));
            first[along] = usize::try_from(start.at(k).to_i64())
                .ok()
                .filter(|&k| k < room)
                .ok_or_else(|| {
                    call.error(format!(
                        "index {} is out of range, wanted 0 to {room}, exclusive",
                        start.at(k).to_i64()
                    ))
                })?;
        }
        Ok(Plan(
            first
                .iter()
                .zip(size)
                .map(|(&first, &n)| (first..first + n).collect())
                .collect(),
        ))
    }

    fn shape(&self) -> Vec<usize> {
        self.0.iter().map(Vec::len).collect()
    }

    fn flat_indices(&self, shape: &[usize]) -> Vec<usize> {
        let mut flat_indices = vec![0];
        for (rows, &size) in self.0.iter().zip(shape) {
            flat_indices = flat_indices
                .iter()
                .flat_map(|&at| rows.iter().map(move |&row| at * size + row))
                .collect();
        }
        flat_indices
    }
}

/// Writes to places of a copy, one after the other.
fn written(
    call: &Call<'_>,
    x: &Tensor,
    writes: impl Iterator<Item = (usize, Number)>,
    combine: Combine,
) -> Result<Vec<Tensor>> {
    let dtype = call.dtype()?;
    let mut numbers = x.astype(dtype, call.rounding).numbers().to_vec();
    for (flat_index, new) in writes {
        if let Some(slot) = numbers.get_mut(flat_index) {
            *slot =
                combine(*slot, new.cast(dtype, call.rounding)).cast(dtype, crate::Rounding::Exact);
        }
    }
    call.one(numbers)
}

/// Leaves out leading axes of size 1 that a shape does not have.
fn fitted(update: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let extra = update.ndim().saturating_sub(shape.len());
    let update = update.reshaped(update.shape().get(extra..).unwrap_or_default())?;
    update.broadcast_to(shape)
}

fn slice_update(
    call: &Call<'_>,
    start: &[i32],
    stop: &[i32],
    strides: &[i32],
    combine: Combine,
) -> Result<Vec<Tensor>> {
    let (x, update) = (call.input(0)?, call.input(1)?);
    let plan = Plan::of(x.shape(), start, stop, strides);
    let update = fitted(update, &plan.shape())?;
    let writes = plan
        .flat_indices(x.shape())
        .into_iter()
        .zip(update.numbers().iter().copied());
    written(call, x, writes, combine)
}

/// The update has the last axes of the source and covers one place of the others.
fn slice_update_dynamic(call: &Call<'_>, list: &[i32]) -> Result<Vec<Tensor>> {
    let (x, update) = (call.input(0)?, call.input(1)?);
    let mut size = vec![1; x.ndim().saturating_sub(update.ndim())];
    size.extend(update.shape());
    let size: Vec<usize> = size
        .iter()
        .zip(x.shape())
        .map(|(&a, &b)| a.min(b))
        .collect();
    let update = update.broadcast_to(&size)?;
    let plan = Plan::at(call, x.shape(), call.input(2)?, list, &size)?;
    let writes = plan
        .flat_indices(x.shape())
        .into_iter()
        .zip(update.numbers().iter().copied());
    written(call, x, writes, |_, new| new)
}

fn take(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let along = axis(along, x.ndim())?;
    let n = x.shape()[along];
    let inner: usize = x.shape().iter().skip(along + 1).product();
    let outer: usize = x.shape().iter().take(along).product();
    let rows: Vec<usize> = indices
        .numbers()
        .iter()
        .map(|&k| within(call, k, n))
        .collect::<Result<_>>()?;
    let mut numbers = Vec::with_capacity(count(&[outer, rows.len(), inner])?);
    for o in 0..outer {
        for &row in &rows {
            numbers.extend((0..inner).map(|i| x.at((o * n + row) * inner + i)));
        }
    }
    call.one(numbers)
}

/// The shape of indices along an axis, the other sizes broadcast with those of the source.
fn along_shape(x: &Tensor, indices: &Tensor, along: usize) -> Result<Vec<usize>> {
    let mut source = x.shape().to_vec();
    source[along] = 1;
    let mut shape = broadcast_shape([source.as_slice(), indices.shape()].into_iter())?;
    if let (Some(slot), Some(&n)) = (shape.get_mut(along), indices.shape().get(along)) {
        *slot = n;
    }
    Ok(shape)
}

fn take_along_axis(call: &Call<'_>, along: i32) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let along = axis(along, x.ndim())?;
    let shape = along_shape(x, indices, along)?;
    let indices = indices.broadcast_to(&shape)?;
    let of = |(k, &index): (usize, &Number)| {
        let mut at = coordinates(k, &shape);
        at[along] = within(call, index, x.shape()[along])?;
        for (slot, &n) in at.iter_mut().zip(x.shape()) {
            *slot = if n == 1 { 0 } else { *slot };
        }
        Ok(x.at(flat_index(&at, x.shape())))
    };
    call.one(
        indices
            .numbers()
            .iter()
            .enumerate()
            .map(of)
            .collect::<Result<_>>()?,
    )
}

fn put_along_axis(call: &Call<'_>, along: i32, combine: Combine) -> Result<Vec<Tensor>> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let along = axis(along, x.ndim())?;
    let shape = along_shape(x, indices, along)?;
    let (indices, values) = (
        indices.broadcast_to(&shape)?,
        call.input(2)?.broadcast_to(&shape)?,
    );
    let mut writes = Vec::new();
    for (k, (&index, &value)) in indices.numbers().iter().zip(values.numbers()).enumerate() {
        let mut at = coordinates(k, &shape);
        at[along] = within(call, index, x.shape()[along])?;
        writes.push((flat_index(&at, x.shape()), value));
    }
    written(call, x, writes.into_iter(), combine)
}

/// Index arrays broadcast together, and the axes of the source that they count along.
fn starts(
    call: &Call<'_>,
    list: &[i32],
    first: usize,
    ndim: usize,
) -> Result<(Vec<usize>, Vec<Tensor>, Vec<usize>)> {
    let arrays = call.inputs.get(first..).unwrap_or_default();
    let shape = broadcast_shape(arrays.iter().map(|x| x.shape()))?;
    let arrays = arrays
        .iter()
        .map(|x| x.broadcast_to(&shape))
        .collect::<Result<_>>()?;
    Ok((shape, arrays, axes(list, ndim)?))
}

/// The coordinates where the slice of one place of the indices begins.
fn start_of(
    call: &Call<'_>,
    arrays: &[Tensor],
    along: &[usize],
    k: usize,
    shape: &[usize],
    size: &[usize],
) -> Result<Vec<usize>> {
    let mut at = vec![0; shape.len()];
    for (array, &axis) in arrays.iter().zip(along) {
        let (n, room) = (
            shape[axis],
            (shape[axis] + 1).saturating_sub(size.get(axis).copied().unwrap_or(1)),
        );
        at[axis] = within(call, array.at(k), n).and_then(|k| {
            if k < room {
                Ok(k)
            } else {
                Err(call.error(format!(
                    "index {k} is out of range, wanted less than {room}"
                )))
            }
        })?;
    }
    Ok(at)
}

/// The flat index of element `t` of the window of this size that begins at `start`, in an array of shape `shape`.
fn index_in_window(t: usize, size: &[usize], start: &[usize], shape: &[usize]) -> usize {
    let inner = coordinates(t, size);
    let at: Vec<usize> = inner.iter().zip(start).map(|(a, b)| a + b).collect();
    flat_index(&at, shape)
}

fn gather(call: &Call<'_>, list: &[i32], slice_sizes: &[i32]) -> Result<Vec<Tensor>> {
    let (x, size) = (call.input(0)?, sizes(slice_sizes)?);
    within_shape(call, &size, x.shape())?;
    let (shape, arrays, along) = starts(call, list, 1, x.ndim())?;
    let inner = count(&size)?;
    let mut numbers = Vec::new();
    for k in 0..count(&shape)? {
        let start = start_of(call, &arrays, &along, k, x.shape(), &size)?;
        for t in 0..inner {
            numbers.push(x.at(index_in_window(t, &size, &start, x.shape())));
        }
    }
    call.one(numbers)
}

/// Updates are `[indices.., one slice of the source..]`.
fn scatter(call: &Call<'_>, list: &[i32], combine: Combine) -> Result<Vec<Tensor>> {
    let (x, updates) = (call.input(0)?, call.input(1)?);
    let (shape, arrays, along) = starts(call, list, 2, x.ndim())?;
    let lead = updates.ndim().saturating_sub(x.ndim());
    let size = updates.shape().get(lead..).unwrap_or_default().to_vec();
    let full: Vec<usize> = shape.iter().chain(&size).copied().collect();
    let updates = updates.broadcast_to(&full)?;
    let inner = count(&size)?;
    let mut writes = Vec::new();
    for k in 0..count(&shape)? {
        let start = start_of(call, &arrays, &along, k, x.shape(), &size)?;
        for t in 0..inner {
            let at = index_in_window(t, &size, &start, x.shape());
            writes.push((at, updates.at(k * inner + t)));
        }
    }
    written(call, x, writes.into_iter(), combine)
}

/// Values are stored where a mask of the first axes is true, in row-major order.
fn masked_scatter(call: &Call<'_>) -> Result<Vec<Tensor>> {
    let (x, mask, values) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let mut wide = mask.shape().to_vec();
    wide.resize(x.ndim().max(wide.len()), 1);
    let mask = mask.reshaped(&wide)?.broadcast_to(x.shape())?;
    let shown: Vec<usize> = (0..x.size()).filter(|&k| mask.at(k).is_true()).collect();
    let total = values.size().max(1);
    let writes = shown
        .into_iter()
        .enumerate()
        .map(|(k, flat_index)| (flat_index, values.at(k % total)));
    written(call, x, writes, |_, new| new)
}
