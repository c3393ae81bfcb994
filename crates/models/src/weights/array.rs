//! Conversion of a stored tensor to an array.

use half::{bf16, f16};
use mlx::Array;

use super::{Dtype, RawTensor};
use crate::{Error, Result};

impl RawTensor {
    /// Returns the stored bytes as an array of `uint8` in the tensor's shape; the type must be bytes.
    pub(crate) fn to_bytes_array(&self) -> Result<Array> {
        if self.dtype != Dtype::U8 {
            return Err(Error::Weights(format!(
                "{}: wanted bytes, got {:?}",
                self.name, self.dtype
            )));
        }
        Array::from_slice(&self.bytes()?, self.sizes()?).map_err(Error::model)
    }

    /// Returns the values as an array: 16-bit floats and `uint32` in their stored type, all others
    /// as `float32`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when the shape is too large for MLX.
    pub fn to_array(&self) -> Result<Array> {
        let shape = self.sizes()?;
        let array = match self.dtype {
            Dtype::F16 => {
                let values = self.bytes()?;
                let values: Vec<f16> = values
                    .chunks_exact(2)
                    .map(|b| f16::from_le_bytes([b[0], b[1]]))
                    .collect();
                Array::from_slice(&values, shape)
            }
            Dtype::BF16 => {
                let values = self.bytes()?;
                let values: Vec<bf16> = values
                    .chunks_exact(2)
                    .map(|b| bf16::from_le_bytes([b[0], b[1]]))
                    .collect();
                Array::from_slice(&values, shape)
            }
            // Quantized weights: packed bits, not numbers.
            Dtype::U32 => {
                let values = self.bytes()?;
                let values: Vec<u32> = values
                    .chunks_exact(4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                Array::from_slice(&values, shape)
            }
            _ => Array::from_slice(&self.to_f32()?, shape),
        };
        array.map_err(Error::model)
    }

    fn sizes(&self) -> Result<Vec<i32>> {
        let sizes = self.shape.iter().map(|&size| i32::try_from(size));
        sizes
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| {
                Error::Weights(format!(
                    "{}: wanted sizes below 2^31, got {:?}",
                    self.name, self.shape
                ))
            })
    }
}
