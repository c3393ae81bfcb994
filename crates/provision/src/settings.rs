//! Everything that staging depends on, read from the environment in one place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::environment::{self, value};
use crate::places::{self, StagingRoot};
use crate::{Platform, Progress};

/// Everything that staging depends on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything is staged.
    pub root: StagingRoot,
    /// The variable that forbids the network, if one does.
    pub offline: Option<&'static str>,
    /// An existing MLX to use instead of a wheel.
    pub mlx_dir: Option<PathBuf>,
    /// The backend asked for.
    pub backend: Option<String>,
    /// The machine to stage for.
    pub platform: Platform,
    /// The C++ sources of `mlx-sys`: the folder with their `CMakeLists.txt`.
    pub native_source: PathBuf,
    /// Where programs are searched, as in `PATH`.
    pub path: OsString,
    /// The Python asked for.
    pub python: Option<OsString>,
    /// The C++ compiler asked for.
    pub cxx: Option<OsString>,
    /// Further flags for it.
    pub cxxflags: OsString,
    /// The CMake asked for.
    pub cmake: Option<OsString>,
    /// Where libclang is said to be.
    pub libclang: Option<PathBuf>,
    /// The cargo to fetch with.
    pub cargo: OsString,
    /// Cargo's home, where fetched packages are stored.
    pub cargo_home: PathBuf,
    /// A program that calls [`crate::run_cmake_child_if_requested`] first, which runs CMake in a process of its own.
    pub child: Option<PathBuf>,
    /// How many compilers run at once.
    pub jobs: usize,
    /// Who is told how it goes.
    pub progress: Progress,
}

impl Settings {
    /// Reads the environment; `native_source` is the folder of the C++ sources in `mlx-sys`.
    #[must_use]
    pub fn from_env(native_source: &Path) -> Self {
        let cargo_home = cargo_home();
        Self {
            root: places::root(native_source, &cargo_home),
            offline: offline(),
            mlx_dir: places::from_workspace(environment::MLX_DIR, native_source),
            backend: value(environment::BACKEND).map(|name| name.to_string_lossy().into_owned()),
            platform: target_platform(),
            native_source: native_source.to_owned(),
            path: value("PATH").unwrap_or_default(),
            python: value(environment::PYTHON),
            cxx: value(environment::CXX),
            cxxflags: value(environment::CXXFLAGS).unwrap_or_default(),
            cmake: value(environment::CMAKE),
            libclang: value(environment::LIBCLANG_PATH).map(PathBuf::from),
            cargo: value("CARGO").unwrap_or_else(|| "cargo".into()),
            cargo_home,
            child: std::env::current_exe().ok(),
            jobs: jobs(),
            progress: Progress::new(),
        }
    }

    /// Returns the folder where files fetched by hand may be put.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.root.path.join("downloads")
    }
}

/// Returns the machine that cargo builds for, in a build script, and this machine elsewhere.
fn target_platform() -> Platform {
    let text = |name| value(name).and_then(|value| value.into_string().ok());
    match (text("CARGO_CFG_TARGET_OS"), text("CARGO_CFG_TARGET_ARCH")) {
        (Some(os), Some(arch)) => Platform::named(&os, &arch),
        _ => Platform::host(),
    }
}

/// Returns the variable that forbids the network, if one does.
fn offline() -> Option<&'static str> {
    [
        environment::OFFLINE,
        environment::CARGO_OFFLINE,
        environment::DOCS_RS,
    ]
    .into_iter()
    .find(|name| environment::flag(name) == Some(true))
}

fn cargo_home() -> PathBuf {
    value("CARGO_HOME").map_or_else(
        || PathBuf::from(value("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    )
}

fn jobs() -> usize {
    value("NUM_JOBS")
        .and_then(|jobs| jobs.into_string().ok()?.parse().ok())
        .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1)
}
