//! Text generation with Llama, Qwen2 and Qwen3.
//!
//! [`Checkpoint`] opens a GGUF file or a Hugging Face folder; [`Network`] computes the logits of the next token;
//! [`Generator`] continues prompts.
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
mod device_sampling;
mod generate;
mod layers;
mod names;
mod network;
mod packing;
mod pipeline;
mod pre_tokenizer;
mod python_json;
mod python_methods;
mod quantizable;
mod rope;
mod sampling;
mod sentence_piece;
mod session;
mod shard;
mod split_patterns;
mod stream;
mod template;
mod template_blocks;
mod tokenizer;
mod tokenizer_gguf;
mod tokenizer_scores;
mod weight_store;

pub use crate::kv_cache::LayerKvCache;
pub use cache::Cache;
pub use chat::{ChatTemplate, Message};
pub use checkpoint::Checkpoint;
pub use config::{Config, Family};
pub use generate::{Finish, GenerateOptions, Generated, Generator, Timings};
#[allow(deprecated)]
pub use network::KeyValue;
pub use network::{Network, NetworkOptions};
pub use quantizable::{EmbeddingTable, LinearLayer};
#[allow(deprecated)]
pub use quantizable::{Projection, Table};
pub use rope::{Rope, RopeScaling};
pub use sampling::{Sampler, SamplingOptions};
pub use session::Session;
pub use stream::TextStream;
pub use tokenizer::Tokenizer;
#[allow(deprecated)]
pub use weight_store::Store;
pub use weight_store::WeightStore;
