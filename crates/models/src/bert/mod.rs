//! Sentence embeddings with BERT and related encoders.
//!
//! [`SentenceEncoder`] opens a folder and embeds sentences; [`Network`] is the encoder alone.
//!
//! ```no_run
//! use mlx_models::bert::SentenceEncoder;
//! use mlx_testdata::assets;
//!
//! # fn main() -> anyhow::Result<()> {
//! let encoder = SentenceEncoder::open(assets::minilm()?)?;
//! let vectors = encoder.embed(&["A cat sat.", "A kitten was sitting."])?; // [2, 384], as the model's files have it
//! # let _ = vectors;
//! # Ok(())
//! # }
//! ```

mod config;
mod modules;
mod network;
mod pooling;
mod sentences;

pub use config::Config;
pub use network::Network;
pub use sentences::SentenceEncoder;
