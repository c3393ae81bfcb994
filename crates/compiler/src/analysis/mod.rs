//! What is known of a graph before it runs.

pub(crate) mod memory;
