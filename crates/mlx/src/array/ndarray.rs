//! Arrays of the crate `ndarray`, in and out; with the feature `ndarray`.

use ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn};

use super::Array;
use crate::dtype::FromElement;
use crate::{Element, Error, Result};

/// Returns a copy of the elements, in their own dtype, also `float64`; any order of axes and strides is taken.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let rows = ndarray::array![[1_i32, 2], [3, 4]];
/// let x = mlx::Array::from(&rows.t());
/// assert_eq!(x.to_vec::<i32>()?, [1, 3, 2, 4]);
/// assert_eq!(x.to_ndarray::<i32>()?, rows.t().into_dyn());
/// # Ok(())
/// # }
/// ```
impl<T: Element, S: Data<Elem = T>, D: Dimension> From<&ArrayBase<S, D>> for Array {
    #[track_caller]
    fn from(array: &ArrayBase<S, D>) -> Self {
        let sizes: std::result::Result<Vec<i32>, _> = array
            .shape()
            .iter()
            .map(|&size| i32::try_from(size))
            .collect();
        let Ok(sizes) = sizes else {
            let message = format!("wanted sizes of 31 bits, got {:?}", array.shape());
            return Self::failed(Error::op("array", message));
        };
        let made = match array.as_slice() {
            Some(elements) => Self::from_slice(elements, sizes),
            None => Self::from_slice(&array.iter().copied().collect::<Vec<T>>(), sizes),
        };
        Self::from_result(made)
    }
}

/// As of a reference: the elements are copied.
impl<T: Element, S: Data<Elem = T>, D: Dimension> From<ArrayBase<S, D>> for Array {
    #[track_caller]
    fn from(array: ArrayBase<S, D>) -> Self {
        Self::from(&array)
    }
}

impl Array {
    /// Computes this array and returns a copy of it for the crate `ndarray`, row-major, widened where the dtype is
    /// another: see [`FromElement`]. `.into_dimensionality::<ndarray::Ix2>()` gives it a fixed number of axes.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    #[track_caller]
    pub fn to_ndarray<T: FromElement>(&self) -> Result<ArrayD<T>> {
        let shape: Vec<usize> = self
            .shape()?
            .iter()
            .map(|&size| usize::try_from(size).unwrap_or(0))
            .collect();
        ArrayD::from_shape_vec(IxDyn(&shape), self.to_vec()?)
            .map_err(|error| Error::op("to_ndarray", error.to_string()))
    }
}
