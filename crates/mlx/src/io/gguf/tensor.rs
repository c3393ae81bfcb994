//! Tensors of a GGUF file, and their conversion to arrays.

use std::sync::Arc;

use half::{bf16, f16};

use super::blocks::groups;
use super::decode::PackedArrays;
use super::kind::GgmlType;
use crate::io::Source;
use crate::io::lazy::Part;
use crate::{Array, ArrayType, Dtype, Quantization, QuantizationMode, Quantized, Result};

/// The min group size of quantized products in MLX.
const MIN_GROUP: usize = 32;

/// A tensor of a GGUF file: its type, its shape, and the position of its bytes. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// The name.
    pub name: String,
    /// The sizes, with the innermost last as in MLX; a file has them reversed.
    pub shape: Vec<usize>,
    /// The type.
    pub kind: GgmlType,
    pub(super) source: Arc<Source>,
    pub(super) offset: u64,
    pub(super) n_bytes: usize,
}

impl GgufTensor {
    /// Returns a tensor whose bytes are within the file.
    pub(super) fn new(
        name: String,
        shape: Vec<usize>,
        kind: GgmlType,
        source: Arc<Source>,
        offset: u64,
        n_bytes: usize,
    ) -> Self {
        Self {
            name,
            shape,
            kind,
            source,
            offset,
            n_bytes,
        }
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        self.source.read(self.offset, self.n_bytes)
    }

    /// Reads the values as 32-bit floats, each rounded once.
    ///
    /// # Errors
    /// As for [`GgufTensor::bytes`].
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let plain = if self.kind.is_quantized() {
            Vec::new()
        } else {
            self.bytes()?
        };
        Ok(match self.kind {
            GgmlType::F32 => each(&plain, f32::from_le_bytes),
            GgmlType::F16 => each(&plain, |b| f16::from_le_bytes(b).to_f32()),
            GgmlType::BF16 => each(&plain, |b| bf16::from_le_bytes(b).to_f32()),
            GgmlType::F64 => each(&plain, |b| f64::from_le_bytes(b) as f32),
            GgmlType::I8 => each(&plain, |b| i8::from_le_bytes(b).into()),
            GgmlType::I16 => each(&plain, |b| i16::from_le_bytes(b).into()),
            GgmlType::I32 => each(&plain, |b| i32::from_le_bytes(b) as f32),
            GgmlType::I64 => each(&plain, |b| i64::from_le_bytes(b) as f32),
            _ => {
                let mut values = vec![0.0; self.shape.iter().product()];
                self.unpack(&mut values, |value| value as f32)
                    .map_err(|why| self.source.fault(format!("{}: {why}", self.name)))?;
                values
            }
        })
    }

    /// Returns the values as an array: plain floats of 16 and 32 bits and integers in their type, all others as
    /// `float32`. They are read when it is computed, but for those of `float64`.
    ///
    /// # Errors
    /// When MLX cannot be loaded, or the file cannot be read.
    pub fn to_array(&self) -> Result<Array> {
        match self.kind.dtype() {
            Some(Dtype::Float64) => Array::from_slice(&self.to_f32()?, self.sizes()),
            Some(dtype) => self.plain(dtype),
            None => self.unpacked(|value| value as f32),
        }
    }

    /// Returns the arrays of [`load_gguf`](crate::io::load_gguf), with their names.
    pub(super) fn to_named_arrays(&self) -> Result<Vec<(String, Array)>> {
        let name = &self.name;
        if let Some(dtype) = self.kind.dtype() {
            return Ok(vec![(name.clone(), self.plain(dtype)?)]);
        }
        let packed = match self.kind {
            GgmlType::Q4_0 | GgmlType::Q4_1 | GgmlType::Q8_0 => self.packed(f16::from_f32)?,
            _ => None,
        };
        let Some(PackedArrays {
            weight,
            scales,
            biases,
        }) = packed
        else {
            return Ok(vec![(name.clone(), self.unpacked(f16::from_f64)?)]);
        };
        let module = name.strip_suffix(".weight").unwrap_or(name);
        Ok(vec![
            (name.clone(), weight),
            (format!("{module}.scales"), scales),
            (format!("{module}.biases"), biases),
        ])
    }

    /// Returns plain numbers as an array, to be read when it is computed.
    fn plain(&self, dtype: Dtype) -> Result<Array> {
        self.source.array(Part {
            name: &self.name,
            offset: self.offset,
            array_type: ArrayType::new(self.sizes(), dtype),
            big_endian: false,
        })
    }

    /// Returns the quantization of [`GgufTensor::to_quantized`], or `None` when the type does not allow it.
    pub fn quantization(&self) -> Option<Quantization> {
        let (group_size, bits) = groups(self.kind)?;
        (group_size >= MIN_GROUP && self.shape.len() > 1).then_some(Quantization {
            group_size: group_size as i32,
            bits: bits as i32,
            mode: QuantizationMode::Affine,
        })
    }

    /// Returns the values packed as MLX packs them, or `None` when the type does not allow it.
    ///
    /// Q4_0, Q4_1 and Q4_K become groups of 32 in 4 bits; Q5_0, Q5_1 and Q5_K in 5 bits; Q8_0 in 8 bits. Codes are the
    /// file's own; scales and biases are `float32`, in which they are exact: MLX on the CPU computes in `float16` about
    /// thirty times slower. The other block types have groups of 16, which MLX lacks. All are read when they are computed.
    ///
    /// # Errors
    /// As for [`GgufTensor::to_array`].
    pub fn to_quantized(&self) -> Result<Option<Quantized>> {
        let Some(quantization) = self.quantization() else {
            return Ok(None);
        };
        let packed = self.packed(|value| value)?;
        Ok(packed.map(|packed| Quantized {
            weight: packed.weight,
            scales: packed.scales,
            biases: Some(packed.biases),
            quantization,
        }))
    }

    /// Sizes were checked when the file was opened.
    pub(super) fn sizes(&self) -> Vec<i32> {
        self.shape.iter().map(|&size| size as i32).collect()
    }
}

fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let chunks = bytes.chunks_exact(N);
    chunks
        .map(|chunk| read(std::array::from_fn(|i| chunk[i])))
        .collect()
}
