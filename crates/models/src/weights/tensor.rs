//! A tensor of a weight file.

use std::sync::Arc;

use half::{bf16, f16};

use super::Source;
use crate::{Error, Result};

/// The type of a stored element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 32-bit float.
    F32,
    /// IEEE 16-bit float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 32-bit integer, in which MLX packs quantized weights.
    U32,
    /// IEEE 64-bit float.
    F64,
    /// An unsupported type by its name in the file, such as an 8-bit float: using the tensor is an error.
    Other(&'static str),
}

impl Dtype {
    /// Returns the bytes of one element; 0 for an unsupported type.
    pub const fn size(self) -> usize {
        match self {
            Self::Other(_) => 0,
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// A tensor of a weight file: its type, its shape, and the position of its bytes.
///
/// Bytes are little-endian and row-major. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RawTensor {
    /// The name in the map that holds it.
    pub name: String,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The type of the stored elements.
    pub dtype: Dtype,
    /// For quantized weights: one scale for each row, or one for all. The value is `stored / scale`.
    pub scale: Option<Box<RawTensor>>,
    source: Arc<Source>,
    offset: u64,
}

impl RawTensor {
    /// Describes a tensor at `offset` of `source`.
    ///
    /// # Errors
    /// [`Error::Weights`] when the source is too short for the shape.
    pub fn new(
        name: impl Into<String>,
        shape: Vec<usize>,
        dtype: Dtype,
        source: Arc<Source>,
        offset: u64,
    ) -> Result<Self> {
        let tensor = Self {
            name: name.into(),
            shape,
            dtype,
            scale: None,
            source,
            offset,
        };
        let end =
            checked_bytes(&tensor.shape, dtype).and_then(|bytes| offset.checked_add(bytes as u64));
        if end.is_none_or(|end| end > tensor.source.len()) {
            return Err(Error::Weights(format!(
                "{}: wanted {dtype:?} {:?} at byte {offset}, got a file of {} bytes",
                tensor.name,
                tensor.shape,
                tensor.source.len()
            )));
        }
        Ok(tensor)
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of stored bytes, without scales.
    pub fn n_bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when the type is [`Dtype::Other`].
    pub fn bytes(&self) -> Result<Vec<u8>> {
        if let Dtype::Other(dtype) = self.dtype {
            return Err(Error::Weights(format!(
                "{}: wanted f64, f32, f16, bf16 or an integer, got {dtype}",
                self.name
            )));
        }
        self.source
            .read(self.offset, self.n_bytes())
            .map_err(Error::from)
    }

    /// Reads stored bytes from the byte `start` of the tensor on; the type must not be [`Dtype::Other`].
    pub(crate) fn read_into(&self, start: usize, out: &mut [u8]) -> Result<()> {
        self.source
            .read_into(self.offset + start as u64, out)
            .map_err(Error::from)
    }

    /// Reads the values as 32-bit floats, dequantized when they are quantized.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Weights`] when the scales do not fit.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let bytes = self.bytes()?;
        let mut values: Vec<f32> = match self.dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::I8 => bytes.iter().map(|&b| f32::from(b as i8)).collect(),
            Dtype::U8 => bytes.iter().map(|&b| f32::from(b)).collect(),
            Dtype::I16 => bytes
                .chunks_exact(2)
                .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])))
                .collect(),
            Dtype::F64 => bytes
                .chunks_exact(8)
                .map(|b| {
                    f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32
                })
                .collect(),
            _ => self.integers(&bytes).map(|value| value as f32).collect(),
        };
        if let Some(scale) = &self.scale {
            self.divide(&mut values, &scale.to_f32()?)?;
        }
        Ok(values)
    }

    /// Reads a scalar, or the only element, as an integer.
    ///
    /// # Errors
    /// [`Error::Weights`] when there is not exactly one element or it is not an integer.
    pub fn to_integer(&self) -> Result<i64> {
        let float = matches!(
            self.dtype,
            Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16
        );
        if self.len() != 1 || float {
            return Err(Error::Weights(format!(
                "{}: wanted one integer, got {:?} {:?}",
                self.name, self.dtype, self.shape
            )));
        }
        let bytes = self.bytes()?;
        let value = self.integers(&bytes).next();
        Ok(value.unwrap_or_default())
    }

    /// Returns rows `start..end` of the first axis under another name; nothing is read.
    ///
    /// # Errors
    /// [`Error::Weights`] when there are fewer rows.
    pub fn rows(&self, name: impl Into<String>, start: usize, end: usize) -> Result<Self> {
        let n_rows = self.shape.first().copied().unwrap_or(0);
        if start > end || end > n_rows {
            return Err(Error::Weights(format!(
                "{}: wanted rows {start}..{end}, got {:?}",
                self.name, self.shape
            )));
        }
        let row: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = end - start;
        let offset = self.offset + (start * row * self.dtype.size()) as u64;
        let scale = match &self.scale {
            Some(scale) if scale.shape == [n_rows] => {
                Some(Box::new(scale.rows(scale.name.clone(), start, end)?))
            }
            other => other.clone(),
        };
        Ok(Self {
            name: name.into(),
            shape,
            scale,
            offset,
            ..self.clone()
        })
    }

    /// Returns whether no network here has a weight of this type, so that an unused one belongs to something
    /// else.
    pub(crate) fn is_foreign(&self) -> bool {
        matches!(self.dtype, Dtype::F64 | Dtype::Other(_))
    }

    /// Returns the same tensor under another name.
    pub fn renamed(&self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self.clone()
        }
    }

    /// The elements of an integer type.
    fn integers<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = i64> + use<'a> {
        let (size, unsigned) = (
            self.dtype.size(),
            matches!(self.dtype, Dtype::U8 | Dtype::U32),
        );
        bytes.chunks_exact(size).map(move |chunk| {
            let negative = !unsigned && chunk[size - 1] & 0x80 != 0;
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..size].copy_from_slice(chunk);
            i64::from_le_bytes(wide)
        })
    }

    fn divide(&self, values: &mut [f32], scales: &[f32]) -> Result<()> {
        let n_rows = self.shape.first().copied().unwrap_or(1);
        match scales {
            [scale] => values.iter_mut().for_each(|value| *value /= scale),
            _ if scales.len() == n_rows && n_rows > 0 => {
                let row = values.len() / n_rows;
                for (row, scale) in values.chunks_exact_mut(row.max(1)).zip(scales) {
                    row.iter_mut().for_each(|value| *value /= scale);
                }
            }
            _ => {
                return Err(Error::Weights(format!(
                    "{}: wanted one scale or {n_rows}, got {}",
                    self.name,
                    scales.len()
                )));
            }
        }
        Ok(())
    }
}

fn checked_bytes(shape: &[usize], dtype: Dtype) -> Option<usize> {
    shape
        .iter()
        .try_fold(dtype.size(), |bytes, &dim| bytes.checked_mul(dim))
}
