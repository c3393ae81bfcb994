//! Sorting and selection along rows, in MLX's order: NaN last, both zeros equal, and equal elements as they came.

mod argsort;
mod key;
mod partition;
mod radix;
mod select;
mod sort;

pub use argsort::argsort;
pub use key::Sortable;
pub use partition::{argpartition, partition};
pub use sort::sort;
