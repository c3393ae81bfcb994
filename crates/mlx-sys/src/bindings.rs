//! What bindgen makes of the headers of mlx-c and `native/include/mlx_native.h`.
#![allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    rustdoc::all,
    unsafe_op_in_unsafe_fn,
    unused_qualifications
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
