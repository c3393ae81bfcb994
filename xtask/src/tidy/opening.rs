//! Every file says in its first line which question it answers, and nothing is left unfinished.

use super::{Complaint, Source};

/// Complains of a first line that is not `//!`, and of holes left in the code.
pub fn check(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let first = source.text.lines().next().unwrap_or_default();
    if !first.starts_with("//!") {
        complaints.push(Complaint::new(
            source,
            1,
            "wanted a first line `//!` that says what the file answers",
        ));
    }
    // Built from parts, so that this file does not complain of itself.
    let holes = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        // With a reason it is a part of another test, which runs it in a process of its own.
        concat!("#[ig", "nore]"),
    ];
    for (number, line) in source.text.lines().enumerate() {
        if let Some(hole) = holes.iter().find(|hole| line.contains(*hole)) {
            complaints.push(Complaint::new(
                source,
                number + 1,
                format!("`{hole}` is unfinished work"),
            ));
        }
    }
    complaints
}
