//! Kernels by the type of elements as a value: for callers that know it only when they run, and shall not compile each
//! kernel for each type themselves. Elements are bytes here, aligned to their type.

mod element_type;
mod moved;
mod reduced;

pub use element_type::NumberType;
pub use moved::{
    StridedBytes, concatenate_values, gather_values, pad_values, take_along_values, update_values,
};
pub use reduced::{FoldKind, ScanKind, arg_reduce_values, fold_values, scan_values};
