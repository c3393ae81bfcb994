//! Models for MLX: Whisper for speech, the Llama family for text, BERT for sentence embeddings.
//!
//! All but the networks is plain Rust; another network can implement [`whisper::Model`].
//!
//! * [`audio`] loads recordings of all common formats as 16 kHz mono samples.
//! * [`weights`] opens CTranslate2 and safetensors folders as one map of [`weights::RawTensor`], and GGUF files.
//! * [`whisper`] holds the front end, the tokenizer, decoding and transcription.
//! * [`llama`] holds networks, tokenizers, chat templates and generation for Llama, Qwen2 and Qwen3.
//! * `hub`, a feature, fetches models from the Hugging Face hub.
//! * [`bert`] computes sentence embeddings.
//!
//! ```
//! use mlx_models::whisper::LogMel;
//!
//! let mel = LogMel::new(80)?.padded(&vec![0.0; 16_000]);
//! assert_eq!((mel.frames(), mel.n_mels()), (3000, 80));
//! # Ok::<(), mlx_models::Error>(())
//! ```
#![forbid(unsafe_code)]

mod argmax;
pub mod audio;
mod axis_size;
pub mod bert;
mod error;
mod guarded;
#[cfg(feature = "hub")]
pub mod hub;
mod json;
mod kv_cache;
pub mod llama;
mod random;
pub mod weights;
pub mod whisper;

pub use error::{Error, Result};
pub use random::SplitMix64;
