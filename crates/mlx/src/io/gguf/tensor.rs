//! Tensors of a GGUF file, and their conversion to arrays.

use std::sync::Arc;

use super::blocks::{Block, groups};
use super::kind::GgmlType;
use crate::io::Source;
use crate::{Array, Quantization, QuantizationMode, Quantized, Result};
use half::{bf16, f16};

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
    source: Arc<Source>,
    offset: u64,
    n_bytes: usize,
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
        let bytes = self.bytes()?;
        Ok(match self.kind {
            GgmlType::F32 => each(&bytes, f32::from_le_bytes),
            GgmlType::F16 => each(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            GgmlType::BF16 => each(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            GgmlType::F64 => each(&bytes, |b| f64::from_le_bytes(b) as f32),
            GgmlType::I8 => each(&bytes, |b| i8::from_le_bytes(b).into()),
            GgmlType::I16 => each(&bytes, |b| i16::from_le_bytes(b).into()),
            GgmlType::I32 => each(&bytes, |b| i32::from_le_bytes(b) as f32),
            GgmlType::I64 => each(&bytes, |b| i64::from_le_bytes(b) as f32),
            _ => self.unpack(&bytes),
        })
    }

    /// Returns the values as an array: plain floats of 16 and 32 bits and integers in their type, all others as
    /// `float32`.
    ///
    /// # Errors
    /// When the file cannot be read, or MLX cannot be loaded.
    pub fn to_array(&self) -> Result<Array> {
        let shape = self.sizes();
        let bytes = || self.bytes();
        match self.kind {
            GgmlType::F16 => Array::from_slice(&each(&bytes()?, f16::from_le_bytes), shape),
            GgmlType::BF16 => Array::from_slice(&each(&bytes()?, bf16::from_le_bytes), shape),
            GgmlType::I8 => Array::from_slice(&each(&bytes()?, i8::from_le_bytes), shape),
            GgmlType::I16 => Array::from_slice(&each(&bytes()?, i16::from_le_bytes), shape),
            GgmlType::I32 => Array::from_slice(&each(&bytes()?, i32::from_le_bytes), shape),
            GgmlType::I64 => Array::from_slice(&each(&bytes()?, i64::from_le_bytes), shape),
            _ => Array::from_slice(&self.to_f32()?, shape),
        }
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
    /// thirty times slower. The other block types have groups of 16, which MLX lacks.
    ///
    /// # Errors
    /// As for [`GgufTensor::to_array`].
    pub fn to_quantized(&self) -> Result<Option<Quantized>> {
        let (Some(quantization), Some((group_size, bits))) =
            (self.quantization(), groups(self.kind))
        else {
            return Ok(None);
        };
        let Some((&inner, outer)) = self.shape.split_last() else {
            return Ok(None);
        };
        let shape = |inner: usize| {
            let all = outer.iter().copied().chain([inner]);
            all.map(|size| size as i32).collect::<Vec<i32>>()
        };
        let packed = self.pack(&self.bytes()?, group_size, bits);
        let array = |values: &[f32]| Array::from_slice(values, shape(inner / group_size));
        Ok(Some(Quantized {
            weight: Array::from_slice(&packed.words, shape(inner * bits / 32))?,
            scales: array(&packed.scales)?,
            biases: Some(array(&packed.biases)?),
            quantization,
        }))
    }

    fn pack(&self, bytes: &[u8], group_size: usize, bits: usize) -> PackedBlocks {
        let block_len = self.kind.block_len();
        let n_blocks = self.n_bytes / self.kind.block_bytes();
        let mut packed = PackedBlocks {
            words: Vec::with_capacity(n_blocks * block_len * bits / 32),
            scales: Vec::with_capacity(n_blocks * block_len / group_size),
            biases: Vec::with_capacity(n_blocks * block_len / group_size),
        };
        let mut block = Block::new();
        for bytes in bytes.chunks_exact(self.kind.block_bytes()) {
            block.read(self.kind, bytes);
            let n_groups = block_len / group_size;
            packed.scales.extend(&block.scales[..n_groups]);
            packed.biases.extend(&block.biases[..n_groups]);
            push_bits(&mut packed.words, &block.codes[..block_len], bits);
        }
        packed
    }

    fn unpack(&self, bytes: &[u8]) -> Vec<f32> {
        let Some((group_size, _)) = groups(self.kind) else {
            return Vec::new();
        };
        let block_len = self.kind.block_len();
        let n_blocks = self.n_bytes / self.kind.block_bytes();
        let mut values = Vec::with_capacity(n_blocks * block_len);
        let mut block = Block::new();
        for bytes in bytes.chunks_exact(self.kind.block_bytes()) {
            block.read(self.kind, bytes);
            let codes = block.codes[..block_len].iter().enumerate();
            values.extend(codes.map(|(i, &code)| {
                let group = i / group_size;
                let (scale, bias) = (block.scales[group], block.biases[group]);
                // Product and sum are exact in `f64`.
                (f64::from(code) * f64::from(scale) + f64::from(bias)) as f32
            }));
        }
        values
    }

    /// Sizes were checked when the file was opened.
    fn sizes(&self) -> Vec<i32> {
        self.shape.iter().map(|&size| size as i32).collect()
    }
}

/// The three parts of quantized weights.
struct PackedBlocks {
    words: Vec<u32>,
    scales: Vec<f32>,
    biases: Vec<f32>,
}

/// Appends codes of `bits` bits, the first in the lowest bits; all codes together fill whole words.
fn push_bits(words: &mut Vec<u32>, codes: &[u8], bits: usize) {
    let (mut word, mut filled) = (0_u64, 0);
    for &code in codes {
        word |= u64::from(code) << filled;
        filled += bits;
        if filled >= 32 {
            words.push(word as u32);
            word >>= 32;
            filled -= 32;
        }
    }
}

fn each<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let chunks = bytes.chunks_exact(N);
    chunks
        .map(|chunk| read(std::array::from_fn(|i| chunk[i])))
        .collect()
}
