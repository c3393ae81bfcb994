//! Where are a model's weights, and what are they called?
//!
//! [`Weights`] is one interface to CTranslate2's `model.bin`, and to safetensors files, single or
//! sharded. Opening reads headers only; a tensor's bytes are read when asked for.
//! [`gguf`] reads llama.cpp's files, whose tensors are in blocks of few bits.

mod array;
mod ct2;
mod cursor;
pub mod gguf;
mod load;
mod map;
mod safetensors;
mod source;
mod tensor;

pub use ct2::{Ct2Header, read_ct2};
pub use map::{Format, Weights};
pub use safetensors::read_safetensors;
pub use source::Source;
pub use tensor::{Dtype, RawTensor};

pub(crate) use load::{Unused, load_weights};
