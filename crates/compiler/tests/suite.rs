//! The tests of this folder as one program: small enough to be carried to a machine with a GPU.
//!
//! `cargo xtask bundle --tests` and `cargo xtask test --device gpu` build it; `cargo test` runs each file by itself.
#![allow(dead_code, unused_macros)]

#[path = "autotune.rs"]
mod autotune;
#[path = "cpu_programs.rs"]
mod cpu_programs;
#[path = "cpu_programs_random.rs"]
mod cpu_programs_random;
#[path = "cuda_programs.rs"]
mod cuda_programs;
#[path = "elementwise_fusion.rs"]
mod elementwise_fusion;
#[path = "export.rs"]
mod export;
#[path = "jit.rs"]
mod jit;
#[path = "lint.rs"]
mod lint;
#[path = "lint_page.rs"]
mod lint_page;
#[path = "memory.rs"]
mod memory;
#[path = "peak_memory.rs"]
mod peak_memory;
#[path = "profile.rs"]
mod profile;
#[path = "random_graphs/main.rs"]
mod random_graphs;
#[path = "random_keys.rs"]
mod random_keys;
#[path = "refusals.rs"]
mod refusals;
#[path = "report.rs"]
mod report;
#[path = "shapeless.rs"]
mod shapeless;
#[path = "shapeless_operations.rs"]
mod shapeless_operations;
#[path = "sharding/main.rs"]
mod sharding;
#[path = "text.rs"]
mod text;
#[path = "transforms.rs"]
mod transforms;
