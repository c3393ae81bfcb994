//! Why MLX could not be loaded, and what to do about it.

use std::path::PathBuf;

/// Why MLX could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No place holds the libraries.
    #[error(
        "no MLX libraries found; looked in {}; run `cargo xtask setup`, or point MLX_LIB_DIR at them",
        list(tried)
    )]
    NotFound {
        /// The places, in the order they were tried.
        tried: Vec<PathBuf>,
    },
    /// The dynamic loader refused a library.
    #[error("cannot load {}: {reason}; run `cargo xtask setup` to stage it again", path.display())]
    Open {
        /// The library.
        path: PathBuf,
        /// The dynamic loader's own words.
        reason: String,
    },
    /// A library lacks a function of the bindings.
    #[error("{} does not match the bindings: {reason}; run `cargo xtask setup` and rebuild", path.display())]
    Symbol {
        /// The library.
        path: PathBuf,
        /// The dynamic loader's own words.
        reason: String,
    },
    /// Parts of different versions came together.
    #[error("{what} is version {got}, but this program was built for {wanted} ({}); run `cargo xtask setup` and rebuild", path.display())]
    Version {
        /// The part.
        what: &'static str,
        /// The version this program needs.
        wanted: String,
        /// The version that was found.
        got: String,
        /// The library that said so.
        path: PathBuf,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
