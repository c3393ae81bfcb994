//! Vector instructions: which are in use, registers of `f32`, half precision, streaming stores and prefetches.

pub(crate) mod amx;
pub(crate) mod amx_split;
mod dispatch;
pub(crate) mod dot_half;
pub(crate) mod f16_to_f32;
pub(crate) mod f32_to_f16;
pub(crate) mod half_lanes;
pub(crate) mod lanes;
pub(crate) mod magnitudes;
mod prefetch;
pub(crate) mod streaming_store;
pub(crate) mod transpose;
pub(crate) mod wide_math;

pub(crate) use dispatch::{arch, dispatch, dispatch_beside_tiles, f32_lanes};
pub use dispatch::{has_matrix_tiles, instruction_set};
pub(crate) use prefetch::prefetch;
