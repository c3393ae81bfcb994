//! Elements and slices found by their indices.

mod gather;
mod index;
mod scatter;
mod take_along;

pub use gather::{Gather, gather};
pub use index::Index;
pub(crate) use index::resolved;
pub use scatter::{scatter, scatter_along, scatter_along_half, scatter_half};
pub use take_along::take_along;
