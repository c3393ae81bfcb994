//! Whisper: speech recognition.
//!
//! [`Checkpoint`] opens a model's folder; a model implements [`Model`] and [`Session`] on top of it;
//! [`Transcriber`] runs it over recordings of any length.

mod checkpoint;
mod compression;
mod config;
pub mod decoding;
mod fast_math;
mod filterbank;
mod generation;
mod mel;
mod model;
mod names;
mod network;
mod saved;
mod timestamps;
mod tokenizer;
mod transcribe;
mod transcript;
mod voice;

pub use checkpoint::Checkpoint;
pub use compression::compression_ratio;
pub use config::Config;
pub use filterbank::Filterbank;
pub use generation::GenerationConfig;
pub use mel::{FRAMES_PER_SECOND, HOP, LogMel, Mel, N_FFT, WINDOW_FRAMES, WINDOW_SAMPLES};
pub use model::{Logits, Model, Session};
pub use names::whisper_names;
#[allow(deprecated)]
pub use network::Writing;
pub use network::{DecoderSession, Features, Network};
pub use saved::{SavedFeatures, SavedModel, SavedNetwork, SavedSession, save_functions};
pub use timestamps::{SECONDS_PER_TIMESTAMP, Span, ends_in_single_timestamp, spans};
pub use tokenizer::{SpecialTokens, Task, Tokenizer};
pub use transcribe::{TranscribeOptions, Transcriber};
pub use transcript::{Segment, Timings, Transcript};
