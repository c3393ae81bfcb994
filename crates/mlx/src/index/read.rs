//! Reading with an index: `x.i(..)`.

use super::entry::Indices;
use super::plan::{Place, Plan, arranged, numbers, place_of};
use crate::bind::{bind_shape, bind_slice};
use crate::op::Op;
use crate::{Array, Result, bind};

impl Array {
    /// Returns the part of this array that `index` names, as Python's `x[index]`.
    ///
    /// `index` is a number, a range, an array of integers, a tuple of those, or what [`s!`](crate::s) makes; the
    /// rules are in [`mlx::index`](crate::index). The result carries an error when a position is out of range.
    /// Nothing runs until [`eval`](crate::eval()).
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.i(-1).to_vec::<i32>()?, [4, 5, 6]);
    /// assert_eq!(x.i((.., 1..)).to_vec::<i32>()?, [2, 3, 5, 6]);
    /// assert_eq!(x.i(&mlx::array!([1, 0, 1])).shape()?, [3, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "__getitem__")]
    #[track_caller]
    pub fn i(&self, index: impl Into<Indices>) -> Array {
        Array::from_result(read(self, index.into()))
    }

    /// Returns what [`i`](Self::i) does.
    #[track_caller]
    pub fn index(&self, index: impl Into<Indices>) -> Array {
        self.i(index)
    }
}

#[track_caller]
fn read(x: &Array, indices: Indices) -> Result<Array> {
    let plan = Plan::new(&x.sizes()?, indices)?;
    let mut y = sliced(x, &plan);
    // The axes of `y`, from left to right.
    let mut now = plan.kept();
    let arrays = plan.arrays();
    let mut ndim_block = 0;
    for (_, array) in &arrays {
        ndim_block = array.ndim()?.max(ndim_block);
    }
    if let [(axis, array)] = arrays.as_slice() {
        let position = place_of(&now, Place::Axis(*axis));
        let axis = i32::try_from(position).unwrap_or(i32::MAX);
        y = bind(Op::Take { axis }, &[&y, array]);
        now[position] = Place::Block;
    } else if !arrays.is_empty() {
        y = gathered(&y, &now, &arrays, ndim_block)?;
        now.retain(|place| !arrays.iter().any(|(axis, _)| *place == Place::Axis(*axis)));
        now.insert(0, Place::Block);
    }
    y = arranged(y, &now, &plan.result, ndim_block);
    let axes = plan.new_axes(ndim_block);
    Ok(if axes.is_empty() {
        y
    } else {
        bind(Op::ExpandDims { axes }, &[&y])
    })
}

/// Returns the array cut to the plan's ranges, without the axes of single positions.
#[track_caller]
pub(super) fn sliced(x: &Array, plan: &Plan) -> Array {
    let Some((start, stop, strides)) = plan.bounds() else {
        return x.clone();
    };
    let slice = |start, stop| Op::Slice {
        start,
        stop,
        strides,
    };
    let y = bind_slice(&start, &stop, slice, &[x]);
    let axes = plan.positions();
    if axes.is_empty() {
        y
    } else {
        bind(Op::Squeeze { axes }, &[&y])
    }
}

/// Takes elements at several index arrays at once: their axes come first, those they index go.
#[track_caller]
fn gathered(
    y: &Array,
    now: &[Place],
    arrays: &[(usize, &Array)],
    ndim_block: usize,
) -> Result<Array> {
    let place = |(axis, _): &(usize, &Array)| place_of(now, Place::Axis(*axis));
    let indexed: Vec<usize> = arrays.iter().map(place).collect();
    let mut slice_sizes = y.sizes()?;
    indexed
        .iter()
        .for_each(|&position| slice_sizes[position] = 1.into());
    let axes = numbers(indexed.iter().copied());
    let removed_axes = numbers(indexed.iter().map(|position| position + ndim_block));
    let mut inputs = vec![y];
    inputs.extend(arrays.iter().map(|(_, array)| *array));
    let gather = |slice_sizes| Op::Gather { axes, slice_sizes };
    let found = bind_shape(slice_sizes, gather, &inputs);
    Ok(bind(Op::Squeeze { axes: removed_axes }, &[&found]))
}
