//! Control flow that a graph can hold: `cond`, `while_loop`, `scan`.

mod checks;
mod cond;
mod scan;
mod while_loop;

pub use cond::cond;
pub use scan::{ScanOptions, scan};
pub use while_loop::while_loop;
