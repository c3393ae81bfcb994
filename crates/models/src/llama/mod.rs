//! How do Llama, Qwen2, Qwen3 and their kind write text?
//!
//! [`Checkpoint`] opens a GGUF file or a Hugging Face folder; [`Network`] scores the next token; [`Generator`] writes.
//!
//! ```no_run
//! use mlx_models::llama::{Checkpoint, GenerateOptions, Generator, Network, NetworkOptions};
//!
//! # fn main() -> mlx_models::Result<()> {
//! let checkpoint = Checkpoint::open("SmolLM2-135M-Instruct.Q4_1.gguf")?;
//! let network = Network::new(&checkpoint, &NetworkOptions::default())?;
//! let mut generator = Generator::new(&network, &checkpoint)?;
//! let prompt = checkpoint.tokenizer.encode("The quick brown fox")?;
//! let written = generator.generate(&prompt, &GenerateOptions::default(), |piece| print!("{piece}"))?;
//! # let _ = written.text;
//! # Ok(())
//! # }
//! ```

mod cache;
mod chat;
mod checkpoint;
mod compiled;
mod config;
mod config_gguf;
mod generate;
mod names;
mod network;
mod packing;
mod pre_tokenizer;
mod projection;
mod python_json;
mod python_methods;
mod rope;
mod sampling;
mod sentence_piece;
mod session;
mod split_patterns;
mod store;
mod stream;
mod template;
mod template_blocks;
mod tokenizer;
mod tokenizer_gguf;
mod tokenizer_scores;

pub use cache::Cache;
pub use chat::{ChatTemplate, Message};
pub use checkpoint::Checkpoint;
pub use config::{Config, Family};
pub use generate::{Finish, GenerateOptions, Generated, Generator, Timings};
pub use network::{KeyValue, Network, NetworkOptions};
pub use projection::{Projection, Table};
pub use rope::{Rope, RopeScaling};
pub use sampling::{Sampler, SamplingOptions};
pub use session::Session;
pub use store::{Store, Stored};
pub use stream::TextStream;
pub use tokenizer::Tokenizer;
