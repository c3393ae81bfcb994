//! GGUF files, the format of llama.cpp.

mod write;

pub use write::{GgufValue, save_gguf, save_gguf_to};
