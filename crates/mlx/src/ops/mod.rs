//! The operations of Python's `mlx.core`, as methods where the first argument is an array.
//!
//! A file is a family; each function is one line that binds an [`Op`](crate::Op).

mod binary;
mod conv;
mod create;
mod dtypes;
mod einsum_path;
mod functions;
mod join;
mod operators;
mod pad;
mod product;
mod quantized;
mod reduce;
mod scan;
mod shape;
mod sort;
mod unary;

pub use binary::{CloseOptions, where_};
pub use conv::{ConvGeneralOptions, ConvOptions, ConvTransposeOptions, ConvolveMode};
pub(crate) use create::iota_with;
pub use create::{
    ArangeBounds, LinspaceOptions, arange, arange_with, array, bartlett, blackman, eye, eye_with,
    full, full_like, full_like_with, full_with, hamming, hanning, identity, identity_with, iota,
    linspace, linspace_with, ones, ones_like, ones_like_with, ones_with, tri, tri_with, zeros,
    zeros_like, zeros_like_with, zeros_with,
};
pub use dtypes::{
    DtypeLike, FloatInfo, IntegerInfo, broadcast_shapes, can_cast, finfo, iinfo, result_type,
};
pub use einsum_path::einsum_path;
pub use functions::*;
pub use join::{broadcast_arrays, concat, concatenate, meshgrid, meshgrid_with, stack};
pub use pad::PadWidth;
pub use product::{BlockMasks, GatherOptions, TensordotAxes, addmm, addmm_with, einsum};
pub use quantized::{Quantization, Quantized, dequantize, quantize, quantized_matmul};
pub use scan::CumulativeOptions;
pub use shape::Sections;
