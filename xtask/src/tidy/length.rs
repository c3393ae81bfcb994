//! No file is longer than 600 lines.

use super::{Complaint, Source};

const LONGEST: usize = 600;

/// Complains of a file with more than 600 lines.
pub fn check(source: &Source) -> Vec<Complaint> {
    let lines = source.text.lines().count();
    if lines <= LONGEST {
        return Vec::new();
    }
    vec![Complaint::new(
        source,
        0,
        format!("has {lines} lines, wanted at most {LONGEST}: split it by verb"),
    )]
}
