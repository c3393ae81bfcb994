//! Which libraries belong together: `layout.txt` in a folder of built native files, and who points to the folder.

use std::io;
use std::path::{Path, PathBuf};

use crate::backend::Backend;

/// The file in a folder of built native files that lists its libraries.
pub const FILE: &str = "layout.txt";

/// A set of libraries that were built for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The build of MLX.
    pub backend: Backend,
    /// The library of MLX.
    pub mlx: PathBuf,
    /// The library of mlx-c and of our own functions.
    pub mlxc: PathBuf,
    /// The library whose BLAS functions `blas` forwards to.
    pub openblas: Option<PathBuf>,
    /// The BLAS names that MLX imports, forwarded to `openblas`.
    pub blas: Option<PathBuf>,
    /// The library that turns failed allocations into errors.
    pub guard: Option<PathBuf>,
    /// Metal's compiled kernels.
    pub metallib: Option<PathBuf>,
}

impl Layout {
    /// Reads the layout of a folder of built native files; `None` when there is none or it misses a part.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let path = |name: &str| field(name).map(|value| resolve(dir, value));
        Some(Self {
            backend: Backend::from_name(field("backend")?)?,
            mlx: path("mlx")?,
            mlxc: path("mlxc")?,
            openblas: path("openblas"),
            blas: path("blas"),
            guard: path("guard"),
            metallib: path("metallib"),
        })
    }

    /// Finds the libraries lying in one folder, as a program is shipped with them.
    #[must_use]
    pub fn flat(dir: &Path, backend: Backend) -> Option<Self> {
        let file = |name: &str| Some(dir.join(name)).filter(|path| path.is_file());
        Some(Self {
            backend,
            mlx: file(library("mlx").as_str())?,
            mlxc: file(library("mlxc").as_str())?,
            openblas: file(library("scipy_openblas").as_str()),
            blas: file(library("mlxblas").as_str()),
            guard: file(library("mlxguard").as_str()),
            metallib: file("mlx.metallib"),
        })
    }

    /// Returns the text of the layout file; relative paths are relative to its folder.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("backend {}\n", self.backend);
        let paths = [
            ("mlx", Some(&self.mlx)),
            ("mlxc", Some(&self.mlxc)),
            ("openblas", self.openblas.as_ref()),
            ("blas", self.blas.as_ref()),
            ("guard", self.guard.as_ref()),
            ("metallib", self.metallib.as_ref()),
        ];
        for (key, path) in paths {
            if let Some(path) = path {
                text.push_str(&format!("{key} {}\n", path.display()));
            }
        }
        text
    }
}

/// Returns `value` as seen from `dir`, without going down into `dir` and up again.
fn resolve(dir: &Path, value: &str) -> PathBuf {
    match (value.strip_prefix("../"), dir.parent()) {
        (Some(rest), Some(parent)) => parent.join(rest),
        _ => dir.join(value),
    }
}

/// Returns the file name of a shared library on this system.
#[must_use]
pub fn library(name: &str) -> String {
    library_on(name, std::env::consts::OS)
}

/// Returns the file name of a shared library on a system as Rust names it.
#[must_use]
pub fn library_on(name: &str, os: &str) -> String {
    match os {
        "macos" => format!("lib{name}.dylib"),
        _ => format!("lib{name}.so"),
    }
}

/// Returns the native folder that was staged last for a backend in `root`.
#[must_use]
pub fn current(root: &Path, backend: Backend) -> Option<PathBuf> {
    let name = std::fs::read_to_string(root.join(pointer(backend))).ok()?;
    Some(root.join(name.trim()))
}

/// Makes `native`, a folder in `root`, the one that [`current`] finds.
///
/// # Errors
/// When the pointer cannot be written.
pub fn set_current(root: &Path, backend: Backend, native: &str) -> io::Result<()> {
    let pointer = root.join(pointer(backend));
    if std::fs::read_to_string(&pointer).is_ok_and(|text| text.trim() == native) {
        return Ok(());
    }
    let fresh = root.join(format!(".current-{}-{}", backend, std::process::id()));
    std::fs::write(&fresh, format!("{native}\n"))?;
    std::fs::rename(&fresh, &pointer)
}

fn pointer(backend: Backend) -> String {
    format!("current-{backend}")
}
