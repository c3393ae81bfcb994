//! Loads the libraries once for the process.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::layout::Layout;
use crate::open::{Names, open};
use crate::{Api, LoadError};

/// What was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `cpu`, `metal`, `cuda12` or `cuda13`.
    pub backend: String,
    /// The library of MLX.
    pub mlx: PathBuf,
    /// The library of mlx-c and our own functions.
    pub mlxc: PathBuf,
    /// The BLAS library that was bound before MLX's own, if any.
    pub openblas: Option<PathBuf>,
}

struct State {
    api: Api,
    loaded: Loaded,
}

fn state() -> Result<&'static State, &'static LoadError> {
    static STATE: OnceLock<Result<State, LoadError>> = OnceLock::new();
    STATE.get_or_init(load).as_ref()
}

/// Returns every C function, loading the libraries on the first call.
///
/// # Errors
/// When a library is missing, does not load or is of another version: the same error at every call.
pub fn api() -> Result<&'static Api, &'static LoadError> {
    state().map(|state| &state.api)
}

/// Returns what was loaded.
///
/// # Errors
/// As [`api`].
pub fn loaded() -> Result<&'static Loaded, &'static LoadError> {
    state().map(|state| &state.loaded)
}

fn load() -> Result<State, LoadError> {
    let tried = vec![PathBuf::from(env!("MLX_SYS_NATIVE"))];
    let layout = tried.iter().find_map(|dir| Layout::staged(Path::new(dir)));
    let layout = layout.ok_or(LoadError::NotFound { tried })?;
    for path in [&layout.openblas, &layout.blas].into_iter().flatten() {
        std::mem::forget(open(path, Names::Global)?);
    }
    std::mem::forget(open(&layout.mlx, Names::Local)?);
    let library = open(&layout.mlxc, Names::Local)?;
    // SAFETY: the functions have the types of the headers that the library was built with.
    let api = unsafe { Api::from_library(library) }.map_err(|error| LoadError::Symbol {
        path: layout.mlxc.clone(),
        reason: error.to_string(),
    })?;
    Ok(State {
        api,
        loaded: Loaded {
            backend: layout.backend,
            mlx: layout.mlx,
            mlxc: layout.mlxc,
            openblas: layout.openblas,
        },
    })
}
