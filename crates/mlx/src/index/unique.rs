//! The distinct elements of an array.

use crate::{Array, Dtype, Error, Integer, Operand, Result, Scalar, concatenate, where_};

/// What [`Array::unique_with`] gives beside the elements.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The distinct elements in ascending order, `[size]`.
    pub values: Array,
    /// Where each of them is for the first time in the array read as one row, `uint32[size]`.
    pub index: Array,
    /// Which of them each element of the array is, `uint32` in the array's shape.
    pub inverse: Array,
    /// How often each of them is there, `int32[size]`; 0 past the last.
    pub counts: Array,
}

impl Array {
    /// Returns the `size` smallest distinct elements in ascending order; where there are fewer, the smallest one fills
    /// the rest.
    ///
    /// The size of an array never depends on values, so it must be given. More with [`unique_with`](Self::unique_with).
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([2, 1, 2, 3, 1]);
    /// assert_eq!(x.unique(3).to_vec::<i32>()?, [1, 2, 3]);
    /// assert_eq!(x.unique_with(4, Some(0.into()))?.counts.to_vec::<i32>()?, [2, 2, 1, 0]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn unique(&self, size: impl Integer) -> Array {
        match unique(self, size.to_i32(), None) {
            Ok(found) => found.values,
            Err(error) => Array::failed(error),
        }
    }

    /// Returns the distinct elements as [`unique`](Self::unique) does, with where they are and how often; `fill_value`
    /// fills the rest, [`None`] for the smallest element.
    ///
    /// Where `size` is less than the number of distinct elements, the numbers of those that are left out in `inverse`
    /// are that of the last.
    ///
    /// # Errors
    /// When the size is negative, the array is empty and there is no `fill_value`, or the array carries an error.
    #[track_caller]
    pub fn unique_with(&self, size: impl Integer, fill_value: Option<Scalar>) -> Result<Unique> {
        unique(self, size.to_i32(), fill_value)
    }
}

#[track_caller]
fn unique(array: &Array, size: i32, fill: Option<Scalar>) -> Result<Unique> {
    if size < 0 {
        return Err(Error::op(
            "unique",
            format!("size must be at least 0, got {size}"),
        ));
    }
    let (shape, row) = (array.shape()?, array.flatten(0, -1));
    let n = row.dim(0)?;
    let zeros = |size: i32, dtype| crate::zeros_with(size, dtype);
    let given = fill.map(|fill| Operand::from(fill).beside(array));
    if n == 0 || size == 0 {
        if size > 0 && given.is_none() {
            let message = "an empty array needs a fill_value, got none";
            return Err(Error::op("unique", message));
        }
        let dtype = array.dtype()?;
        return Ok(Unique {
            values: given
                .unwrap_or_else(|| zeros(1, dtype))
                .astype(dtype)
                .broadcast_to(size),
            index: zeros(size, Dtype::Uint32),
            inverse: crate::zeros_with(shape, Dtype::Uint32),
            counts: zeros(size, Dtype::Int32),
        });
    }
    let order = row.argsort(0);
    let sorted = row.take(&order, 0);
    // Where another element begins, and so which of the distinct ones each is.
    let is_new = sorted.i(1..).not_equal(sorted.i(..-1));
    let is_new = concatenate([&zeros(1, Dtype::Bool), &is_new], 0);
    let number = is_new.astype(Dtype::Int32).cumsum(0);
    // One slot more than asked for takes those that are left out.
    let slot = number.minimum(size);
    let counts = zeros(size + 1, Dtype::Int32).at(&slot).add(1).i(..size);
    // Sorting need not keep the order of equal elements: the first of them has the smallest position.
    let none = crate::full_with(size + 1, n, Dtype::Int32);
    let index = none.at(&slot).minimum(order.astype(Dtype::Int32)).i(..size);
    let is_there = counts.greater(0);
    let index = where_(&is_there, &index, &index.i(0));
    let values = row.take(&index, 0);
    let values = match given {
        Some(fill) => where_(&is_there, &values, fill.astype(array.dtype()?)),
        None => values,
    };
    let inverse = zeros(n, Dtype::Int32)
        .at(&order)
        .set(number.minimum(size - 1));
    Ok(Unique {
        values,
        index: index.astype(Dtype::Uint32),
        inverse: inverse.astype(Dtype::Uint32).reshape(shape),
        counts,
    })
}
