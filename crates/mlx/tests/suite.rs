//! The tests of this folder as one program: small enough to be carried to a machine with a GPU.
//!
//! `cargo xtask bundle --tests` and `cargo xtask test --device gpu` build it; `cargo test` runs each file by itself.
#![allow(dead_code, unused_macros)]

#[path = "array.rs"]
mod array;
#[path = "compiled.rs"]
mod compiled;
#[path = "conv.rs"]
mod conv;
#[path = "core_names.rs"]
mod core_names;
#[path = "cpu_differential/main.rs"]
mod cpu_differential;
#[path = "cpu_kernels.rs"]
mod cpu_kernels;
#[path = "crashes.rs"]
mod crashes;
#[path = "custom_function.rs"]
mod custom_function;
#[path = "display.rs"]
mod display;
#[path = "distributed.rs"]
mod distributed;
#[path = "einsum_path.rs"]
mod einsum_path;
#[path = "fast_attention.rs"]
mod fast_attention;
#[path = "fast_attention_mask.rs"]
mod fast_attention_mask;
#[path = "fast_backend.rs"]
mod fast_backend;
#[path = "fast_cuda.rs"]
mod fast_cuda;
#[path = "fast_defects.rs"]
mod fast_defects;
#[path = "fast_golden.rs"]
mod fast_golden;
#[path = "fast_gpu_kernel.rs"]
mod fast_gpu_kernel;
#[path = "fast_host_kernel.rs"]
mod fast_host_kernel;
#[path = "fast_host_kernel_leak.rs"]
mod fast_host_kernel_leak;
#[path = "fast_int8.rs"]
mod fast_int8;
#[path = "fast_norm.rs"]
mod fast_norm;
#[path = "fast_quantized_attention.rs"]
mod fast_quantized_attention;
#[path = "fast_rope.rs"]
mod fast_rope;
#[path = "fast_trace.rs"]
mod fast_trace;
#[path = "from_python.rs"]
mod from_python;
#[path = "fuzz/main.rs"]
mod fuzz;
#[path = "gguf.rs"]
mod gguf;
#[path = "gguf_blocks.rs"]
mod gguf_blocks;
#[path = "gguf_load.rs"]
mod gguf_load;
#[path = "gguf_written.rs"]
mod gguf_written;
#[path = "guesses.rs"]
mod guesses;
#[path = "index.rs"]
mod index;
#[path = "io.rs"]
mod io;
#[path = "linalg_gradients.rs"]
mod linalg_gradients;
#[path = "linalg_kernels.rs"]
mod linalg_kernels;
#[path = "many_threads.rs"]
mod many_threads;
#[path = "memory.rs"]
mod memory;
#[path = "numbers.rs"]
mod numbers;
#[path = "oracle.rs"]
mod oracle;
#[path = "process.rs"]
mod process;
#[path = "promotion.rs"]
mod promotion;
#[path = "qqmm.rs"]
mod qqmm;
#[path = "refusals.rs"]
mod refusals;
#[path = "shared_device.rs"]
mod shared_device;
#[path = "stft.rs"]
mod stft;
#[path = "threads.rs"]
mod threads;
#[path = "trace.rs"]
mod trace;
#[path = "transforms.rs"]
mod transforms;
#[path = "transforms_conv.rs"]
mod transforms_conv;
#[path = "transforms_deep.rs"]
mod transforms_deep;
#[path = "transforms_errors.rs"]
mod transforms_errors;
#[path = "transforms_nested.rs"]
mod transforms_nested;
#[path = "transforms_ops.rs"]
mod transforms_ops;
#[path = "transforms_trace.rs"]
mod transforms_trace;
#[path = "tree.rs"]
mod tree;
