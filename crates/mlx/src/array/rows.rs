//! The parts of an array along its first axis, one after another.

use std::iter::FusedIterator;

use super::Array;
use crate::Result;

/// The parts of an array along its first axis: see [`Array::iter`].
#[derive(Clone, Debug)]
pub struct RowIter {
    array: Array,
    front: usize,
    back: usize,
}

impl Array {
    /// Returns the size of the first axis, as Python's `len(x)`. The number of elements is [`size`](Self::size).
    ///
    /// # Errors
    /// When the array has no axes, or could not be built.
    #[track_caller]
    pub fn len(&self) -> Result<usize> {
        self.dim(0).map(|size| usize::try_from(size).unwrap_or(0))
    }

    /// Returns whether the first axis has size 0.
    ///
    /// # Errors
    /// When the array has no axes, or could not be built.
    #[track_caller]
    pub fn is_empty(&self) -> Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Returns the parts `x.i(0)`, `x.i(1)`, .. along the first axis. Nothing is computed.
    ///
    /// # Errors
    /// When the array has no axes, or could not be built.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([[1, 2], [3, 4]]);
    /// let sums: Vec<i32> = x.iter()?.map(|row| row.sum(()).item()).collect::<Result<_, _>>()?;
    /// assert_eq!(sums, [3, 7]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn iter(&self) -> Result<RowIter> {
        Ok(RowIter {
            array: self.clone(),
            front: 0,
            back: self.len()?,
        })
    }
}

/// The parts along the first axis: `for row in &x`. An array that could not be built, or has no axes, gives one part that
/// carries the error.
impl IntoIterator for &Array {
    type Item = Array;
    type IntoIter = RowIter;

    #[track_caller]
    fn into_iter(self) -> RowIter {
        self.iter().unwrap_or_else(|error| RowIter {
            array: Array::failed(error),
            front: 0,
            back: 1,
        })
    }
}

impl Iterator for RowIter {
    type Item = Array;

    fn next(&mut self) -> Option<Array> {
        (self.front < self.back).then(|| {
            self.front += 1;
            self.array.i(self.front - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.back - self.front;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for RowIter {
    fn next_back(&mut self) -> Option<Array> {
        (self.front < self.back).then(|| {
            self.back -= 1;
            self.array.i(self.back)
        })
    }
}

impl ExactSizeIterator for RowIter {}
impl FusedIterator for RowIter {}
