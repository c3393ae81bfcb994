//! Sorting and selection along rows, in MLX's order: NaN last, both zeros equal, and equal elements as they came.

mod argsort;
mod key;
mod partition;
mod radix;
mod select;
mod sort;

pub use argsort::argsort;
pub(crate) use argsort::argsort_instance;
pub use key::Sortable;
pub use partition::{argpartition, partition};
pub(crate) use partition::{argpartition_instance, partition_instance};
pub use sort::sort;
pub(crate) use sort::sort_instance;
