//! Why MLX could not be loaded, and what to do about it.

use std::path::{Path, PathBuf};

/// The command that stages the native files again, for the one who built this program: a checkout of the workspace has one
/// of its own; where this crate is a dependency, its build script does it.
pub const SET_UP: &str = env!("MLX_SYS_SET_UP");

/// Why MLX could not be loaded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No place holds the libraries.
    #[error(
        "no MLX libraries found{}; looked in:{}\nrun `{SET_UP}`, or point MLX_LIB_DIR at a folder that has them",
        for_backend(backend),
        list(tried)
    )]
    NotFound {
        /// The value of `MLX_BACKEND`.
        backend: Option<String>,
        /// The places, in the order they were tried.
        tried: Vec<PathBuf>,
    },
    /// `MLX_BACKEND` is no backend.
    #[error("MLX_BACKEND={name} is unknown; it may be cpu, metal, cuda12 or cuda13")]
    Backend {
        /// Its value.
        name: String,
    },
    /// The dynamic loader refused a library.
    #[error("cannot load {}: {reason}; {}", path.display(), fix(path, reason))]
    Open {
        /// The library.
        path: PathBuf,
        /// The dynamic loader's own words.
        reason: String,
    },
    /// A library lacks a function of the bindings.
    #[error(
        "{} does not match the bindings of this program: {reason}; run `{SET_UP}` and build the program again",
        path.display()
    )]
    Symbol {
        /// The library.
        path: PathBuf,
        /// The dynamic loader's own words.
        reason: String,
    },
    /// Parts of different versions came together.
    #[error(
        "{} has {what} {got}, but this program was built for {wanted}; run `{SET_UP}` and build the program again",
        path.display()
    )]
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

// `fn main() -> Result<()>` and `unwrap` show `Debug`: it is the text for people.
impl std::fmt::Debug for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

fn for_backend(backend: &Option<String>) -> String {
    match backend {
        Some(name) => format!(" for MLX_BACKEND={name}"),
        None => String::new(),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| format!("\n  {}", path.display()))
        .collect()
}

/// Returns what helps against the dynamic loader's most common reasons.
fn fix(path: &Path, reason: &str) -> String {
    let is_nvidia = [
        "libcuda",
        "libcublas",
        "libcudnn",
        "libcufft",
        "libnvrtc",
        "libnccl",
    ]
    .iter()
    .any(|name| reason.contains(name));
    if reason.contains("GLIBC_") || reason.contains("GLIBCXX_") {
        "MLX's wheel needs a newer Linux (glibc 2.35, as in Ubuntu 22.04 and Debian 12)".into()
    } else if is_nvidia {
        "install NVIDIA's driver and libraries and point MLX_CUDA_DIR at them, or set MLX_BACKEND=cpu"
            .into()
    } else if path.is_file() {
        format!("run `{SET_UP}` to stage it again")
    } else {
        format!("it is gone: run `{SET_UP}`, or correct the variable that names it")
    }
}
