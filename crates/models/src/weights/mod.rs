//! Weight files: CTranslate2, safetensors and GGUF.
//!
//! [`Weights`] is one interface to CTranslate2's `model.bin`, and to safetensors files, single or
//! sharded. Opening reads headers only; a tensor's bytes are read on demand.
//! [`gguf`] reads llama.cpp's files, whose tensors are quantized in blocks.

mod array;
mod contiguous;
mod ct2;
pub mod gguf;
mod load;
mod map;
mod safetensors;
mod tensor;

pub use mlx::io::Source;

pub use ct2::{Ct2Header, read_ct2};
pub use map::{Format, Weights};
pub use safetensors::read_safetensors;
pub use tensor::{Dtype, RawTensor};

pub(crate) use contiguous::{Request, contiguous};
pub(crate) use load::{Unused, load_weights};
