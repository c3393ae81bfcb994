//! Elements and slices found by their indices.

mod gather;
mod index;
mod take_along;

pub use gather::{Gather, gather};
pub use index::Index;
pub use take_along::take_along;
