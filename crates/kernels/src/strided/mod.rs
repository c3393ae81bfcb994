//! Arrays with strides: copies to row-major order, joined and padded arrays, and the offsets of their rows.

mod block;
mod concatenate;
mod copy;
mod merge;
mod pad;
mod reverse;
mod row_offsets;
mod tile;
mod update;
mod view;

pub(crate) use block::Block;
pub use concatenate::concatenate;
pub use copy::copy_strided;
pub(crate) use copy::{check_reach, row_major};
pub(crate) use merge::merge_axes;
pub use pad::pad;
pub(crate) use row_offsets::RowOffsets;
pub(crate) use tile::transpose;
pub(crate) use update::combine_block;
pub use update::{Combinable, Combine, SliceTarget, Term, update_slice};
pub(crate) use view::Rows;
pub use view::StridedView;
