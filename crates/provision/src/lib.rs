//! Fetches, checks, stages and builds the native files (first rough form: finds what is already staged).

use std::io;
use std::path::{Path, PathBuf};

/// What is staged, and where.
pub struct Staged {
    /// The folder that holds everything.
    pub root: PathBuf,
    /// The folder of the built native library.
    pub native: PathBuf,
    /// The source of mlx-c.
    pub mlxc: PathBuf,
    /// The folder of libclang.
    pub libclang: PathBuf,
}

/// Finds the staged files.
///
/// # Errors
/// When one is missing.
pub fn stage(manifest: &Path) -> io::Result<Staged> {
    let root = std::env::var_os("MLX_BUILD_DIR")
        .map_or_else(|| manifest.join("../../build"), PathBuf::from);
    let find = |prefix: &str| {
        std::fs::read_dir(&root)?
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path())
            .ok_or_else(|| {
                io::Error::other(format!("{prefix} is not staged in {}", root.display()))
            })
    };
    Ok(Staged {
        native: find("native-")?,
        mlxc: find("mlx-c-")?,
        libclang: find("libclang-")?.join("libclang-18.1.1.data/platlib/clang/native"),
        root,
    })
}
