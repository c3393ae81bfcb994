//! GGUF files, the format of llama.cpp.
//!
//! Little-endian: the magic `GGUF`, `u32` version (2 or 3), `u64` numbers of tensors and of metadata; the metadata,
//! each a key, a type and a value; of each tensor its name, its sizes with the innermost first, its type and the
//! offset of its bytes after the header; then, aligned, the bytes. A string is a `u64` length and UTF-8.
//!
//! Files are not trusted: anything malformed is an error, and nothing is allocated that the file could not
//! fill. [`load_gguf`] gives all arrays as Python MLX does. [`Gguf`] gives single tensors: block formats whose groups
//! share a scale and a bias stay quantized in MLX's layout, see [`GgufTensor::to_quantized`]; the others are dequantized.

mod blocks;
mod decode;
mod file;
mod kind;
mod layout;
mod load;
mod metadata;
mod tensor;
mod value;
mod write;

pub use file::Gguf;
pub use kind::GgmlType;
pub(super) use layout::MAGIC;
pub(super) use load::read;
pub use load::{LoadedGguf, load_gguf};
pub use metadata::{List, Metadata, Value};
pub use tensor::GgufTensor;
pub use value::GgufValue;
pub use write::{save_gguf, save_gguf_to};
