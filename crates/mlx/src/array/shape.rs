//! What an array says of its shape, dtype and size without computing anything.

use std::panic::Location;

use super::Array;
use crate::ffi::Handle;
use crate::shape::{Size, axis_index};
use crate::{ArrayType, Axes, Dtype, Error, Integer, Result};

impl Array {
    /// Returns the sizes of the axes. Nothing is computed.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn shape(&self) -> Result<Vec<i32>> {
        self.note_size_read("shape", Location::caller());
        Ok(self.typed()?.shape().to_vec())
    }

    /// Returns the sizes of exactly `N` axes: `let [batch, dim] = x.dims()?;`.
    ///
    /// # Errors
    /// When the array has another number of axes, or could not be built.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> Result<[i32; N]> {
        self.note_size_read("dims", Location::caller());
        let shape = self.typed()?.shape();
        shape
            .try_into()
            .map_err(|_| Error::op("dims", format!("wanted {N} axes, got shape {shape:?}")))
    }

    /// Returns the size of one axis; negative axes count from the end.
    ///
    /// # Errors
    /// When there is no such axis, or the array could not be built.
    #[track_caller]
    pub fn dim(&self, axis: i32) -> Result<i32> {
        self.note_size_read("dim", Location::caller());
        let shape = self.typed()?.shape();
        axis_index(axis, shape.len())
            .and_then(|index| shape.get(index))
            .copied()
            .ok_or_else(|| {
                Error::op(
                    "dim",
                    format!("wanted an axis of shape {shape:?}, got {axis}"),
                )
            })
    }

    /// Returns the sizes of the axes as values to compute with, of which a function for all sizes can be made: what
    /// [`axis_size`](Self::axis_size) is for one.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn sizes(&self) -> Result<Vec<Size>> {
        let shape = self.typed()?.shape().iter();
        let sized = |(axis, &size): (usize, &i32)| self.sized(axis, size);
        Ok(shape.enumerate().map(sized).collect())
    }

    /// Returns the size of one axis as a value to compute with, and to make shapes and ranges of; negative axes count from the
    /// end.
    ///
    /// Unlike [`dim`](Self::dim) it may be used in a function that is compiled once for all sizes.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::ones([2, 3]);
    /// let mean = x.sum(()) / mlx::iota(x.axis_size(0)? * x.axis_size(1)?).max(());
    /// # assert_eq!(mean.item::<f32>()?, 6.0 / 5.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When there is no such axis, or the array could not be built.
    pub fn axis_size(&self, axis: impl Integer) -> Result<Size> {
        let (axis, shape) = (axis.to_i32(), self.typed()?.shape());
        let found = axis_index(axis, shape.len());
        match found.and_then(|index| Some((index, *shape.get(index)?))) {
            Some((index, size)) => Ok(self.sized(index, size)),
            None => Err(Error::op(
                "axis_size",
                format!("wanted an axis of shape {shape:?}, got {axis}"),
            )),
        }
    }

    /// Returns the element type. Nothing is computed.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn dtype(&self) -> Result<Dtype> {
        Ok(self.typed()?.dtype())
    }

    /// Returns the number of axes.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn ndim(&self) -> Result<usize> {
        Ok(self.typed()?.ndim())
    }

    /// Returns the number of elements.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn size(&self) -> Result<usize> {
        self.note_size_read("size", Location::caller());
        Ok(self.typed()?.size())
    }

    /// Returns the number of bytes one element takes.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn itemsize(&self) -> Result<usize> {
        Ok(self.typed()?.dtype().size())
    }

    /// Returns the number of bytes its elements take.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn nbytes(&self) -> Result<usize> {
        self.note_size_read("nbytes", Location::caller());
        let handle = self.typed()?;
        Ok(handle.size() * handle.dtype().size())
    }

    /// Returns shape and dtype.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn array_type(&self) -> Result<ArrayType> {
        self.note_size_read("array_type", Location::caller());
        Ok(ArrayType::of(self.typed()?))
    }

    /// The axes as a list; all of an array that could not be built are none.
    pub(crate) fn axes_list(&self, axes: Axes) -> Vec<i32> {
        axes.list(self.typed().map_or(0, Handle::ndim))
    }
}
