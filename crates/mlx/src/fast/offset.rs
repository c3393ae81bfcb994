//! Where a sequence starts: one number, or one for each batch row.

use super::inputs::cast;
use crate::{Array, Dtype, Error, Integer, Result, Size, Tree};

/// The position of the first element of a sequence, such as the length of a key-value cache.
///
/// Made from an integer, or from an integer array that is a scalar or has one element for each batch row.
#[derive(Clone, Tree)]
pub enum Offset {
    /// The same for all rows, known now.
    Int(#[tree(static)] i32),
    /// A scalar, or `[batch]`.
    Array(Array),
}

impl Default for Offset {
    fn default() -> Self {
        Offset::Int(0)
    }
}

impl<T: Integer> From<T> for Offset {
    fn from(offset: T) -> Self {
        Offset::Int(offset.to_i32())
    }
}

impl From<Array> for Offset {
    fn from(offset: Array) -> Self {
        Offset::Array(offset)
    }
}

impl From<&Array> for Offset {
    fn from(offset: &Array) -> Self {
        Offset::Array(offset.clone())
    }
}

impl Offset {
    /// Returns the offset as an array of no axes or of `[batch]`.
    #[track_caller]
    pub(super) fn to_array(&self, op: &str, batch: &Size) -> Result<Array> {
        let array = match self {
            Offset::Int(offset) => return Ok(Array::scalar(*offset)),
            Offset::Array(array) => array,
        };
        let (shape, dtype) = (array.sizes()?, array.dtype()?);
        if !dtype.is_integer() {
            let message = format!("offset must be integers, got {dtype}");
            return Err(Error::op_with(op, message, vec![array.array_type()?]));
        }
        // MLX's CUDA kernel reads an offset of shape [1] once for each row, so it goes in as a scalar.
        let array = match shape.as_slice() {
            [] => array.clone(),
            [n] if *n == 1 => array.reshape(()),
            [n] if n == batch => array.clone(),
            _ => {
                let message = format!("offset must be a scalar or [{batch}], got {shape:?}");
                return Err(Error::op_with(op, message, vec![array.array_type()?]));
            }
        };
        Ok(cast(&array, Dtype::Int32))
    }
}
