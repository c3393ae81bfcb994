//! GGUF files, the format of llama.cpp.
//!
//! Little-endian: the magic `GGUF`, `u32` version (2 or 3), `u64` numbers of tensors and of metadata; the metadata,
//! each a key, a type and a value; of each tensor its name, its sizes with the innermost first, its type and the
//! offset of its bytes after the header; then, aligned, the bytes. A string is a `u64` length and UTF-8.
//!
//! Files are not trusted: anything malformed is an error, and nothing is allocated that the file could not
//! fill. Block formats whose groups share a scale and a bias stay quantized in MLX's layout, see
//! [`GgufTensor::to_quantized`]; the others are dequantized.

mod blocks;
mod file;
mod kind;
mod metadata;
mod tensor;
mod write;

pub use file::Gguf;
pub use kind::GgmlType;
pub use metadata::{List, Metadata, Value};
pub use tensor::GgufTensor;
pub use write::{GgufValue, save_gguf, save_gguf_to};
