//! Which files a set of native libraries consists of.

use std::path::{Path, PathBuf};

/// A set of libraries that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) backend: String,
    pub(crate) mlx: PathBuf,
    pub(crate) mlxc: PathBuf,
    pub(crate) openblas: Option<PathBuf>,
    pub(crate) blas: Option<PathBuf>,
}

impl Layout {
    /// Reads `layout.txt` of a staged native folder; `None` when a part is missing.
    pub(crate) fn staged(dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(dir.join("layout.txt")).ok()?;
        let field = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let path = |name: &str| field(name).map(|value| dir.join(value));
        Some(Self {
            backend: field("backend")?.to_owned(),
            mlx: path("mlx")?,
            mlxc: path("mlxc")?,
            openblas: path("openblas"),
            blas: path("blas"),
        })
    }
}
