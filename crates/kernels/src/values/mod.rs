//! Kernels by the type of elements as a value: for callers that know it only when they run, and shall not compile each
//! kernel for each type themselves. Elements are bytes here, aligned to their type.

mod by_type;
mod moved;
mod reduced;

pub use moved::{
    IndexedSlices, StridedBytes, concatenate_values, gather_values, pad_values,
    scatter_along_values, scatter_values, take_along_values, update_values, write_with_strides,
};
pub use reduced::{FoldKind, ScanKind, arg_reduce_values, fold_values, scan_values};
