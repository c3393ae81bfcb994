//! The tests of this folder as one program: small enough to be carried to a machine with a GPU.
//!
//! `cargo xtask bundle --tests` and `cargo xtask test --device gpu` build it; `cargo test` runs each file by itself.
#![allow(dead_code, unused_macros)]

#[path = "audio.rs"]
mod audio;
#[path = "audio_files.rs"]
mod audio_files;
#[path = "chat_templates.rs"]
mod chat_templates;
#[path = "compiled.rs"]
mod compiled;
#[path = "decoding.rs"]
mod decoding;
#[path = "lint.rs"]
mod lint;
#[path = "llama_corrupt.rs"]
mod llama_corrupt;
#[path = "llama_generate.rs"]
mod llama_generate;
#[path = "llama_jit.rs"]
mod llama_jit;
#[path = "llama_kv_cache.rs"]
mod llama_kv_cache;
#[path = "llama_network.rs"]
mod llama_network;
#[path = "llama_pass.rs"]
mod llama_pass;
#[path = "llama_sharded.rs"]
mod llama_sharded;
#[path = "llama_text.rs"]
mod llama_text;
#[path = "logit_filters.rs"]
mod logit_filters;
#[path = "lowered_models.rs"]
mod lowered_models;
#[path = "mel.rs"]
mod mel;
#[path = "minilm.rs"]
mod minilm;
#[path = "network.rs"]
mod network;
#[path = "packed_folders.rs"]
mod packed_folders;
#[path = "pre_tokenizers.rs"]
mod pre_tokenizers;
#[path = "sentence_encoder.rs"]
mod sentence_encoder;
#[path = "sentence_piece.rs"]
mod sentence_piece;
#[path = "smollm2.rs"]
mod smollm2;
#[path = "tokenizer.rs"]
mod tokenizer;
#[path = "tokenizer_json.rs"]
mod tokenizer_json;
#[path = "transcribe.rs"]
mod transcribe;
#[path = "voice.rs"]
mod voice;
#[path = "weights.rs"]
mod weights;
#[path = "without_mlx.rs"]
mod without_mlx;
