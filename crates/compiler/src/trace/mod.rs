//! Tracing: a function runs once on arrays without values, and what it does becomes a graph.

mod record;
mod subgraphs;
mod tape;
mod transform;

pub(crate) use record::{Recorded, record, record_rounds, record_with_keys};
pub(crate) use subgraphs::{append_node, open_tape, share_captures};
pub(crate) use tape::SizeRead;
