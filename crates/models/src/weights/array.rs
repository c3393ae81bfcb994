//! How does a stored tensor become an array?

use half::{bf16, f16};
use mlx::Array;

use super::{Dtype, RawTensor};
use crate::{Error, Result};

impl RawTensor {
    /// Returns the values as an array: 16-bit floats and `uint32` in their stored type, all others
    /// as `float32`.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when the shape is too large for MLX.
    pub fn to_array(&self) -> Result<Array> {
        let sizes = self
            .shape
            .iter()
            .map(|&size| i32::try_from(size))
            .collect::<std::result::Result<Vec<_>, _>>();
        let shape = sizes.map_err(|_| {
            Error::Weights(format!(
                "{}: wanted sizes below 2^31, got {:?}",
                self.name, self.shape
            ))
        })?;
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
            // Packed weights: their bits are no number.
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
}
