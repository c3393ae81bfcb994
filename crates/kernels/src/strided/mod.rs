//! Arrays with strides: copies to row-major order, and the offsets of their rows.

mod copy;
mod row_offsets;

pub use copy::copy_strided;
pub(crate) use row_offsets::RowOffsets;
