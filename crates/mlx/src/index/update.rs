//! Updating where an index points: `x.at(..).set(v)`, `add`, `subtract`, `multiply`, `divide`, `maximum`, `minimum`.

use std::panic::Location;

use super::entry::{Index, Indices};
use super::mask;
use super::plan::{Place, Plan, arranged, numbers, place_of, refused};
use super::read::sliced;
use crate::op::Op;
use crate::{Array, Dtype, Operand, Result, Size, bind};

/// An array and an index into it, waiting to be told what to do there: see [`Array::at`].
#[derive(Debug)]
#[must_use = "nothing is updated until a method such as set or add is called"]
pub struct ArrayAt<'a> {
    array: &'a Array,
    index: Indices,
}

/// What happens where an index points.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    Set,
    Add,
    Multiply,
    Maximum,
    Minimum,
}

impl Array {
    /// Returns this array with an index into it, to be updated there: `x.at(index).add(v)` is Python's
    /// `x.at[index].add(v)`, and `x.at(index).set(v)` the array that `x[index] = v` leaves.
    ///
    /// `x` stays as it is; MLX reuses its memory when nothing else holds it. The index follows the rules of
    /// [`mlx::index`](crate::index), and may be a boolean mask, whose shape is that of the first axes of `x`.
    /// The value is converted to the dtype of `x` and broadcast to the shape of `x.i(index)`. With a mask, a value
    /// with as many axes as are not masked is broadcast to every place, and one with an axis more is used up one
    /// by one, in row-major order of the mask.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([1.0, 2.0, 3.0, 4.0]);
    /// assert_eq!(x.at(1..3).set(0).to_vec::<f32>()?, [1.0, 0.0, 0.0, 4.0]);
    /// assert_eq!(x.at([0, 0, 3]).add(1).to_vec::<f32>()?, [3.0, 2.0, 3.0, 5.0]);
    /// assert_eq!(x.at(x.greater(2)).multiply(10).to_vec::<f32>()?, [1.0, 2.0, 30.0, 40.0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(&self, index: impl Into<Indices>) -> ArrayAt<'_> {
        ArrayAt {
            array: self,
            index: index.into(),
        }
    }

    /// Replaces this array by one with `value` there, as Python's `x[index] = value`. Copies of it keep their values.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let mut x = mlx::array!([1, 2, 3]);
    /// x.set(1.., 7);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 7, 7]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn set(&mut self, index: impl Into<Indices>, value: impl Into<Operand>) {
        *self = self.at(index).set(value);
    }
}

// `add` is Python's name for it; the operator would want two arrays.
#[allow(clippy::should_implement_trait)]
impl ArrayAt<'_> {
    /// Returns the array with `value` there. Where positions repeat, the last value stays on a CPU, any on a GPU.
    #[track_caller]
    pub fn set(self, value: impl Into<Operand>) -> Array {
        self.update(Update::Set, value.into())
    }

    /// Returns the array with `value` added there, as often as a position is repeated.
    #[track_caller]
    pub fn add(self, value: impl Into<Operand>) -> Array {
        self.update(Update::Add, value.into())
    }

    /// Returns the array with `value` taken off there, as often as a position is repeated.
    #[track_caller]
    pub fn subtract(self, value: impl Into<Operand>) -> Array {
        let negative = value.into().beside(self.array).negative();
        self.update(Update::Add, negative.into())
    }

    /// Returns the array multiplied by `value` there, as often as a position is repeated.
    #[track_caller]
    pub fn multiply(self, value: impl Into<Operand>) -> Array {
        self.update(Update::Multiply, value.into())
    }

    /// Returns the array divided by `value` there (multiplied by `1 / value`, as in Python MLX), as often as a
    /// position is repeated. An array of integers is an error: the quotients would not fit in it.
    #[track_caller]
    pub fn divide(self, value: impl Into<Operand>) -> Array {
        match self.array.dtype() {
            Ok(dtype) if !dtype.is_inexact() => {
                let text = format!("divide wants a floating-point or complex array, got {dtype}");
                Array::failed(refused(text))
            }
            Ok(dtype) => {
                let value = cast(value.into().beside(self.array), dtype);
                let inverse = Array::from_result(value).reciprocal();
                self.update(Update::Multiply, inverse.into())
            }
            Err(error) => Array::failed(error),
        }
    }

    /// Returns the array with the greater of its element and `value` there.
    #[track_caller]
    pub fn maximum(self, value: impl Into<Operand>) -> Array {
        self.update(Update::Maximum, value.into())
    }

    /// Returns the array with the lesser of its element and `value` there.
    #[track_caller]
    pub fn minimum(self, value: impl Into<Operand>) -> Array {
        self.update(Update::Minimum, value.into())
    }

    #[track_caller]
    fn update(self, update: Update, value: Operand) -> Array {
        Array::from_result(updated(self.array, self.index, update, value))
    }
}

#[track_caller]
fn updated(x: &Array, index: Indices, update: Update, value: Operand) -> Result<Array> {
    let value = cast(value.beside(x), x.dtype()?)?;
    if let [Index::Array(mask)] = index.0.as_slice()
        && mask.dtype()? == Dtype::Bool
    {
        return mask::updated(x, mask, update, &value);
    }
    // What is written where depends on the sizes.
    x.note_size_kept("at", Location::caller());
    value.note_size_kept("at", Location::caller());
    let plan = Plan::new(&x.sizes()?, index)?;
    if plan.arrays().is_empty() {
        return in_slice(x, &plan, update, &value);
    }
    let part = at_arrays(&sliced(x, &plan), &plan, update, &value)?;
    Ok(match plan.bounds() {
        None => part,
        Some(bounds) => {
            let part = expanded(part, plan.positions());
            bind(slice_op(Update::Set, bounds), &[x, &part])
        }
    })
}

/// Returns the value in the dtype of the array it goes into.
#[track_caller]
fn cast(value: Array, dtype: Dtype) -> Result<Array> {
    if value.dtype()? == dtype {
        Ok(value)
    } else {
        value.astype(dtype).checked()
    }
}

/// Updates a part that is one slice.
#[track_caller]
fn in_slice(x: &Array, plan: &Plan, update: Update, value: &Array) -> Result<Array> {
    let mut value = aligned(value, &plan.result_shape(&[]))?;
    if value.ndim()? > 0 {
        value = squeezed(value, plan.new_axes(0));
        value = expanded(value, plan.positions());
    }
    let whole = || {
        let n_axes = plan.shape.len();
        (
            vec![Size::from(0); n_axes],
            plan.shape.clone(),
            vec![1; n_axes],
        )
    };
    let bounds = plan.bounds().unwrap_or_else(whole);
    Ok(bind(slice_op(update, bounds), &[x, &value]))
}

/// Updates `part`, the array after slicing, at the plan's index arrays.
#[track_caller]
fn at_arrays(part: &Array, plan: &Plan, update: Update, value: &Array) -> Result<Array> {
    let arrays = plan.arrays();
    let block = block_shape(&arrays)?;
    let now = plan.kept();
    let indexed: Vec<usize> = arrays
        .iter()
        .map(|(axis, _)| place_of(&now, Place::Axis(*axis)))
        .collect();
    let mut value = aligned(value, &plan.result_shape(&block))?;
    // MLX's scatter wants the axes of the index arrays, then one slice of the array.
    let mut shape = block.clone();
    let sizes = part.shape()?;
    let size = |(position, &size)| if indexed.contains(&position) { 1 } else { size };
    shape.extend(sizes.iter().enumerate().map(size));
    if value.ndim()? > 0 {
        value = squeezed(value, plan.new_axes(block.len()));
        let mut here = plan.result.clone();
        here.retain(|place| *place != Place::New);
        let mut wanted = here.clone();
        wanted.retain(|place| *place != Place::Block);
        wanted.insert(0, Place::Block);
        value = arranged(value, &here, &wanted, block.len());
        value = expanded(
            value,
            numbers(indexed.iter().map(|position| block.len() + position)),
        );
    }
    let updates = if value.shape()? == shape {
        value
    } else {
        value.broadcast_to(&shape)
    };
    if shape.contains(&0) {
        return Ok(part.clone());
    }
    let mut inputs = vec![part, &updates];
    inputs.extend(arrays.iter().map(|(_, array)| *array));
    Ok(bind(
        scatter_op(update, numbers(indexed.iter().copied())),
        &inputs,
    ))
}

/// Returns `value` with as many axes as `shape`, to which it must broadcast; a scalar stays one.
#[track_caller]
fn aligned(value: &Array, shape: &[i32]) -> Result<Array> {
    let own = value.shape()?;
    let extra = own.len().saturating_sub(shape.len());
    let fits = own
        .iter()
        .rev()
        .zip(shape.iter().rev())
        .all(|(&a, &b)| a == b || a == 1);
    if !fits || own[..extra].iter().any(|&size| size != 1) {
        return Err(refused(format!(
            "wanted a value that broadcasts to {shape:?}, got shape {own:?}"
        )));
    }
    let value = squeezed(value.clone(), numbers(0..extra));
    let missing = if own.is_empty() {
        0
    } else {
        shape.len().saturating_sub(own.len())
    };
    Ok(expanded(value, numbers(0..missing)))
}

#[track_caller]
fn squeezed(value: Array, axes: Vec<i32>) -> Array {
    if axes.is_empty() {
        value
    } else {
        bind(Op::Squeeze { axes }, &[&value])
    }
}

#[track_caller]
fn expanded(value: Array, axes: Vec<i32>) -> Array {
    if axes.is_empty() {
        value
    } else {
        bind(Op::ExpandDims { axes }, &[&value])
    }
}

/// Returns the shape that the index arrays have when they are broadcast.
#[track_caller]
fn block_shape(arrays: &[(usize, &Array)]) -> Result<Vec<i32>> {
    let shapes: Vec<Vec<i32>> = arrays
        .iter()
        .map(|(_, array)| array.shape())
        .collect::<Result<_>>()?;
    let ndim = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let mut block = vec![1; ndim];
    for shape in &shapes {
        for (size, &own) in block.iter_mut().rev().zip(shape.iter().rev()) {
            if *size == 1 {
                *size = own;
            } else if own != 1 && own != *size {
                return Err(refused(format!(
                    "wanted index arrays that broadcast together, got shapes {shapes:?}"
                )));
            }
        }
    }
    Ok(block)
}

fn slice_op(update: Update, (start, stop, strides): (Vec<Size>, Vec<Size>, Vec<i32>)) -> Op {
    let numbers = |sizes: &[Size]| sizes.iter().map(Size::number).collect();
    let (start, stop) = (numbers(&start), numbers(&stop));
    match update {
        Update::Set => Op::SliceUpdate {
            start,
            stop,
            strides,
        },
        Update::Add => Op::SliceUpdateAdd {
            start,
            stop,
            strides,
        },
        Update::Multiply => Op::SliceUpdateProd {
            start,
            stop,
            strides,
        },
        Update::Maximum => Op::SliceUpdateMax {
            start,
            stop,
            strides,
        },
        Update::Minimum => Op::SliceUpdateMin {
            start,
            stop,
            strides,
        },
    }
}

fn scatter_op(update: Update, axes: Vec<i32>) -> Op {
    match update {
        Update::Set => Op::Scatter { axes },
        Update::Add => Op::ScatterAdd { axes },
        Update::Multiply => Op::ScatterProd { axes },
        Update::Maximum => Op::ScatterMax { axes },
        Update::Minimum => Op::ScatterMin { axes },
    }
}
