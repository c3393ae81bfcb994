//! The tensor types of GGUF files.

use crate::Dtype;

/// The type of a tensor: plain numbers, or quantized blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
#[non_exhaustive]
pub enum GgmlType {
    /// IEEE 32-bit float.
    F32,
    /// IEEE 16-bit float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// IEEE 64-bit float.
    F64,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// 32 numbers of 4 bits with a scale: `d * (q - 8)`.
    Q4_0,
    /// 32 numbers of 4 bits with a scale and an offset: `d * q + m`.
    Q4_1,
    /// 32 numbers of 5 bits with a scale: `d * (q - 16)`.
    Q5_0,
    /// 32 numbers of 5 bits with a scale and an offset: `d * q + m`.
    Q5_1,
    /// 32 signed numbers of 8 bits with a scale: `d * q`.
    Q8_0,
    /// 256 numbers of 2 bits; each 16 have a scale and an offset of 4 bits.
    Q2_K,
    /// 256 numbers of 3 bits; each 16 have a scale of 6 bits.
    Q3_K,
    /// 256 numbers of 4 bits; each 32 have a scale and an offset of 6 bits.
    Q4_K,
    /// 256 numbers of 5 bits; each 32 have a scale and an offset of 6 bits.
    Q5_K,
    /// 256 numbers of 6 bits; each 16 have a scale of 8 bits.
    Q6_K,
}

/// Every type with its number in files, the values in a block, and the bytes of a block.
const TYPES: [(GgmlType, u32, usize, usize); 18] = [
    (GgmlType::F32, 0, 1, 4),
    (GgmlType::F16, 1, 1, 2),
    (GgmlType::Q4_0, 2, 32, 18),
    (GgmlType::Q4_1, 3, 32, 20),
    (GgmlType::Q5_0, 6, 32, 22),
    (GgmlType::Q5_1, 7, 32, 24),
    (GgmlType::Q8_0, 8, 32, 34),
    (GgmlType::Q2_K, 10, 256, 84),
    (GgmlType::Q3_K, 11, 256, 110),
    (GgmlType::Q4_K, 12, 256, 144),
    (GgmlType::Q5_K, 13, 256, 176),
    (GgmlType::Q6_K, 14, 256, 210),
    (GgmlType::I8, 24, 1, 1),
    (GgmlType::I16, 25, 1, 2),
    (GgmlType::I32, 26, 1, 4),
    (GgmlType::I64, 27, 1, 8),
    (GgmlType::F64, 28, 1, 8),
    (GgmlType::BF16, 30, 1, 2),
];

/// Every type of plain numbers.
const PLAIN: [(GgmlType, Dtype); 8] = [
    (GgmlType::F32, Dtype::Float32),
    (GgmlType::F16, Dtype::Float16),
    (GgmlType::BF16, Dtype::Bfloat16),
    (GgmlType::F64, Dtype::Float64),
    (GgmlType::I8, Dtype::Int8),
    (GgmlType::I16, Dtype::Int16),
    (GgmlType::I32, Dtype::Int32),
    (GgmlType::I64, Dtype::Int64),
];

impl GgmlType {
    /// Returns every supported type.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|entry| entry.0)
    }

    /// Returns the type with this number in files, if it is supported.
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES
            .iter()
            .find(|entry| entry.1 == id)
            .map(|entry| entry.0)
    }

    /// Returns the number of this type in files.
    pub fn id(self) -> u32 {
        self.entry().1
    }

    /// Returns the number of values in a block: 1 for plain numbers.
    pub fn block_len(self) -> usize {
        self.entry().2
    }

    /// Returns the number of bytes in a block.
    pub fn block_bytes(self) -> usize {
        self.entry().3
    }

    /// Returns the dtype of plain numbers.
    pub fn dtype(self) -> Option<Dtype> {
        PLAIN.iter().find(|of| of.0 == self).map(|of| of.1)
    }

    /// Returns the type of plain numbers of a dtype, if there is one.
    pub fn of_dtype(dtype: Dtype) -> Option<Self> {
        PLAIN.iter().find(|of| of.1 == dtype).map(|of| of.0)
    }

    /// Returns whether the values are in blocks that share scales.
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    fn entry(self) -> (Self, u32, usize, usize) {
        let known = TYPES.iter().find(|entry| entry.0 == self);
        known.copied().unwrap_or(TYPES[0])
    }
}
