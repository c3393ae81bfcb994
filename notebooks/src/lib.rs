//! The notebooks of this folder as ordinary Rust functions, made from their cells by the build script.
//!
//! `cargo xtask notebooks` runs them in Jupyter's kernel, `cargo xtask notebooks --as-programs` as they are here.

/// What a notebook ends with.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unused,
    unused_qualifications
)]
mod programs {
    use super::Outcome;

    /// Runs a cell that shows an error.
    fn must_fail(number: usize, cell: impl FnOnce() -> Outcome) -> Outcome {
        match cell() {
            Ok(()) => Err(format!("cell {number}: wanted an error, got none").into()),
            Err(error) => {
                println!("as it should: {error}");
                Ok(())
            }
        }
    }

    include!(concat!(env!("OUT_DIR"), "/programs.rs"));
}

/// Returns the names of the notebooks.
pub fn names() -> impl Iterator<Item = &'static str> {
    programs::ALL.iter().map(|(name, _)| *name)
}

/// Runs all cells of a notebook.
///
/// # Errors
/// When there is no such notebook, or a cell gives an error.
///
/// # Panics
/// When a cell does.
pub fn run(name: &str) -> Outcome {
    match programs::ALL.iter().find(|(known, _)| *known == name) {
        Some((_, program)) => program(),
        None => Err(format!("no notebook {name}").into()),
    }
}
