//! Where native files are staged: the environment's choice, the checkout's `build/`, or the user's cache.

use std::path::{Path, PathBuf};

use crate::environment;

/// The folder that holds everything staged, and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagingRoot {
    /// The folder; it may not exist yet.
    pub path: PathBuf,
    /// Why this one, for people.
    pub why: &'static str,
}

/// The folder that holds everything staged.
#[deprecated(note = "renamed to StagingRoot")]
pub type Root = StagingRoot;

/// Returns the place for a crate whose manifest is in `manifest_dir`.
///
/// A checkout of this workspace has its own `build/`; a checkout that cargo made of a git dependency does not count,
/// because cargo deletes those.
#[must_use]
pub fn root(manifest_dir: &Path, cargo_home: &Path) -> StagingRoot {
    if let Some(path) = from_workspace(environment::BUILD_DIR, manifest_dir) {
        return StagingRoot {
            path,
            why: "MLX_BUILD_DIR says so",
        };
    }
    match workspace(manifest_dir).filter(|dir| !dir.starts_with(cargo_home)) {
        Some(dir) => StagingRoot {
            path: dir.join("build"),
            why: "the checkout's own",
        },
        None => StagingRoot {
            path: user_cache(),
            why: "the user's cache, outside of a checkout",
        },
    }
}

/// Returns the path in a variable; a relative one counts from the workspace, because build scripts run elsewhere.
#[must_use]
pub fn from_workspace(name: &str, manifest_dir: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(environment::value(name)?);
    if path.is_absolute() {
        return Some(path);
    }
    let base = workspace(manifest_dir).or_else(|| std::env::current_dir().ok());
    Some(base.unwrap_or_default().join(path))
}

/// Returns the root of the workspace checkout that contains `dir`, if there is one.
#[must_use]
pub fn workspace(dir: &Path) -> Option<PathBuf> {
    dir.ancestors()
        .find(|dir| {
            dir.join("crates/provision/pins.txt").is_file() && dir.join("crates/mlx-sys").is_dir()
        })
        .map(Path::to_owned)
}

/// Returns this user's cache folder for native files.
#[must_use]
pub fn user_cache() -> PathBuf {
    let home = || environment::value("HOME").map(PathBuf::from);
    let base = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Caches"))
    } else {
        environment::value("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| home().map(|home| home.join(".cache")))
    };
    base.unwrap_or_else(std::env::temp_dir).join("mlx-rust")
}
