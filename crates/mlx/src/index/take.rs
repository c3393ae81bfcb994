//! Taking and putting along an axis, and slices whose start is an array.

use super::Indices;
use super::plan::refused;
use crate::op::Op;
use crate::{Array, Axes, Operand, Result, Shape, bind};

impl Array {
    /// Returns the elements at `indices` along one axis, or with `()` of the array as one row.
    ///
    /// The axes of `indices` take the place of the axis. A number of indices is an array, or one number.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.take(mlx::array!([2, 0]), 1).to_vec::<i32>()?, [3, 1, 6, 4]);
    /// assert_eq!(x.take(-1, ()).item::<i32>()?, 6);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn take(&self, indices: impl Into<Operand>, axis: impl Into<Axes>) -> Array {
        let indices = indices.into().alone();
        match one_axis("take", axis.into()) {
            Ok(Some(axis)) => bind(Op::Take { axis }, &[self, &indices]),
            Ok(None) => bind(Op::Take { axis: 0 }, &[&self.flatten(0, -1), &indices]),
            Err(error) => Array::failed(error),
        }
    }

    /// Returns for each place of `indices` the element at that index along `axis`, or with `()` of both as one row.
    ///
    /// `indices` has as many axes as the array and broadcasts with it on all others: what
    /// `argsort` gives sorts.
    #[track_caller]
    pub fn take_along_axis(&self, indices: &Array, axis: impl Into<Axes>) -> Array {
        match one_axis("take_along_axis", axis.into()) {
            Ok(Some(axis)) => bind(Op::TakeAlongAxis { axis }, &[self, indices]),
            Ok(None) => {
                let (row, indices) = (self.flatten(0, -1), indices.flatten(0, -1));
                bind(Op::TakeAlongAxis { axis: 0 }, &[&row, &indices])
            }
            Err(error) => Array::failed(error),
        }
    }

    /// Returns the array with `values` put at `indices` along `axis`, or with `()` into the array as one row.
    ///
    /// `indices` and `values` have as many axes as the array and broadcast together and with it on all others.
    #[track_caller]
    pub fn put_along_axis(
        &self,
        indices: &Array,
        values: impl Into<Operand>,
        axis: impl Into<Axes>,
    ) -> Array {
        let inputs = [self, indices, &values.into().beside(self)];
        let op = |axis| Op::PutAlongAxis { axis };
        Array::from_result(along("put_along_axis", op, inputs, axis.into()))
    }

    /// Returns the array with `values` added at `indices` along `axis`, or with `()` into the array as one row.
    ///
    /// As [`put_along_axis`](Self::put_along_axis), but positions that repeat add up.
    #[track_caller]
    pub fn scatter_add_axis(
        &self,
        indices: &Array,
        values: impl Into<Operand>,
        axis: impl Into<Axes>,
    ) -> Array {
        let inputs = [self, indices, &values.into().beside(self)];
        let op = |axis| Op::ScatterAddAxis { axis };
        Array::from_result(along("scatter_add_axis", op, inputs, axis.into()))
    }

    /// Returns a part along the first axis: `x.slice(2..5)` is [`x.index(2..5)`](Self::index).
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// assert_eq!(mlx::arange(6).slice(2..4).to_vec::<i32>()?, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn slice(&self, positions: impl Into<Indices>) -> Array {
        self.index(positions)
    }

    /// Returns the part of size `slice_size` (one number for each axis of the array) that begins at `start`, an array
    /// of one position for each of `axes`; it begins at 0 on the others.
    ///
    /// With positions known in advance use [`i`](Self::i). The part must be inside the array.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([[1, 2, 3], [4, 5, 6]]);
    /// assert_eq!(x.slice_at(&mlx::array!([1]), 1, [2, 2]).to_vec::<i32>()?, [2, 3, 5, 6]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn slice_at(
        &self,
        start: &Array,
        axes: impl Into<Axes>,
        slice_size: impl Into<Shape>,
    ) -> Array {
        let axes = self.axes_list(axes.into());
        bind(
            Op::SliceDynamic {
                axes,
                slice_size: slice_size.into().into_numbers(),
            },
            &[self, start],
        )
    }

    /// Returns the array with `update` put where it begins at `start`, an array of one position for each of `axes`.
    ///
    /// `update` has as many axes as the array. With positions known in advance use [`at`](Self::at).
    #[track_caller]
    pub fn slice_update(&self, update: &Array, start: &Array, axes: impl Into<Axes>) -> Array {
        let axes = self.axes_list(axes.into());
        bind(Op::SliceUpdateDynamic { axes }, &[self, update, start])
    }

    /// Computes the array and returns the positions of its elements that are not zero, one `uint32` array for each
    /// axis, in row-major order: NumPy's `nonzero`. So `x.i((&rows, &columns))` reads through a mask.
    ///
    /// # Errors
    /// When the array could not be computed, or is being traced: the shape depends on values.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([3, -1, 4, -1, 5]);
    /// let positive = x.greater(0).nonzero()?;
    /// assert_eq!(x.i(&positive[0]).to_vec::<i32>()?, [3, 4, 5]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn nonzero(&self) -> Result<Vec<Array>> {
        let shape = self.shape()?;
        let mask = self.not_equal(0).to_vec::<bool>()?;
        let mut found = vec![Vec::new(); shape.len()];
        for (place, _) in mask.iter().enumerate().filter(|(_, is_true)| **is_true) {
            let mut left = place;
            for (axis, &size) in shape.iter().enumerate().rev() {
                let size = usize::try_from(size).unwrap_or(1);
                found[axis].push(u32::try_from(left % size).unwrap_or(u32::MAX));
                left /= size;
            }
        }
        let array = |positions: &Vec<u32>| {
            Array::from_slice(
                positions,
                i32::try_from(positions.len()).unwrap_or(i32::MAX),
            )
        };
        found.iter().map(array).collect()
    }
}

/// Puts values into an array along one axis, or into the array as one row.
#[track_caller]
fn along(
    name: &'static str,
    op: impl Fn(i32) -> Op,
    [x, indices, values]: [&Array; 3],
    axes: Axes,
) -> Result<Array> {
    if let Some(axis) = one_axis(name, axes)? {
        return Ok(bind(op(axis), &[x, indices, values]));
    }
    let shape = x.shape()?;
    let row = |array: &Array| array.flatten(0, -1);
    Ok(bind(op(0), &[&row(x), &row(indices), &row(values)]).reshape(shape))
}

/// Returns the only axis, or nothing for all of them.
#[track_caller]
fn one_axis(op: &'static str, axes: Axes) -> Result<Option<i32>> {
    match axes {
        Axes::All => Ok(None),
        Axes::Some(axes) => match axes.as_slice() {
            [axis] => Ok(Some(*axis)),
            _ => Err(refused(format!(
                "{op} wants one axis, or () for the array as one row, got {axes:?}"
            ))),
        },
    }
}
