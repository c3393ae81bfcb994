//! What reading and writing have in common: magic bytes, limits, and numbers of types.

use crate::Dtype;

/// The first bytes.
pub(in crate::io) const MAGIC: [u8; 4] = *b"GGUF";

/// The key of the metadata with another alignment of tensors.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";

/// Tensors begin at a multiple of this many bytes unless the metadata state another.
pub(super) const ALIGNMENT: u64 = 32;

/// The most axes of a tensor, as in Python MLX.
pub(super) const MAX_AXES: u32 = 8;

/// The type of a text in the metadata.
pub(super) const TEXT: u32 = 8;

/// The type of a list in the metadata.
pub(super) const LIST: u32 = 9;

/// Every dtype of metadata with its number in files.
const VALUES: [(Dtype, u32); 11] = [
    (Dtype::Uint8, 0),
    (Dtype::Int8, 1),
    (Dtype::Uint16, 2),
    (Dtype::Int16, 3),
    (Dtype::Uint32, 4),
    (Dtype::Int32, 5),
    (Dtype::Float32, 6),
    (Dtype::Bool, 7),
    (Dtype::Uint64, 10),
    (Dtype::Int64, 11),
    (Dtype::Float64, 12),
];

/// Returns the number of metadata of a dtype.
pub(super) fn value_type(dtype: Dtype) -> Option<u32> {
    VALUES.iter().find(|of| of.0 == dtype).map(|of| of.1)
}
