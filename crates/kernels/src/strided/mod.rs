//! Arrays with strides: copies to row-major order, and the offsets of their rows.

mod block;
mod copy;
mod reverse;
mod row_offsets;
mod tile;

pub use copy::copy_strided;
pub(crate) use row_offsets::RowOffsets;
