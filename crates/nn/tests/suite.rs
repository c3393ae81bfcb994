//! The tests of this folder as one program: small enough to be carried to a machine with a GPU.
//!
//! `cargo xtask bundle --tests` and `cargo xtask test --device gpu` build it; `cargo test` runs each file by itself.
#![allow(dead_code, unused_macros)]

#[path = "any_size.rs"]
mod any_size;
#[path = "compiled_layers.rs"]
mod compiled_layers;
#[path = "convolutions.rs"]
mod convolutions;
#[path = "distributed.rs"]
mod distributed;
#[path = "extremes.rs"]
mod extremes;
#[path = "guesses.rs"]
mod guesses;
#[path = "init_golden.rs"]
mod init_golden;
#[path = "layer_errors.rs"]
mod layer_errors;
#[path = "layers.rs"]
mod layers;
#[path = "layers_golden.rs"]
mod layers_golden;
#[path = "lint.rs"]
mod lint;
#[path = "lora.rs"]
mod lora;
#[path = "losses_golden.rs"]
mod losses_golden;
#[path = "module_trees.rs"]
mod module_trees;
#[path = "modules.rs"]
mod modules;
#[path = "names.rs"]
mod names;
#[path = "optimizer_kernels.rs"]
mod optimizer_kernels;
#[path = "optimizers.rs"]
mod optimizers;
#[path = "optimizers_golden.rs"]
mod optimizers_golden;
#[path = "plain_layers_golden.rs"]
mod plain_layers_golden;
#[path = "pooling.rs"]
mod pooling;
#[path = "programs.rs"]
mod programs;
#[path = "qq_linear.rs"]
mod qq_linear;
#[path = "quantized.rs"]
mod quantized;
#[path = "recurrent.rs"]
mod recurrent;
#[path = "sequence_layers.rs"]
mod sequence_layers;
#[path = "sequence_layers_golden.rs"]
mod sequence_layers_golden;
#[path = "training.rs"]
mod training;
#[path = "training_golden.rs"]
mod training_golden;
#[path = "upsample.rs"]
mod upsample;
