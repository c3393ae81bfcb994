//! Loading the libraries, once for the process.

use std::ffi::{CString, c_char, c_int};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::Library;
use mlx_provision::backend::Backend;
use mlx_provision::environment::{self, value};
use mlx_provision::layout::Layout;

use crate::blas::{self, Blas};
use crate::budgets::{self, Budgets};
use crate::open::{Names, open, open_for_good};
use crate::search::{Found, Places};
pub use crate::versions::Versions;
use crate::{Api, LoadError, cuda, versions};

/// What was loaded, and from where.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The build of MLX.
    pub backend: Backend,
    /// The place where the libraries were found, for people.
    pub place: &'static str,
    /// MLX's library.
    pub mlx: PathBuf,
    /// The library of mlx-c and our own functions.
    pub mlxc: PathBuf,
    /// The versions of both.
    pub versions: Versions,
    /// The BLAS in use.
    pub blas: Blas,
    /// The library that turns failed allocations into errors.
    pub guard: Option<PathBuf>,
    /// Metal's compiled kernels.
    pub metallib: Option<PathBuf>,
    /// NVIDIA's libraries that were loaded before MLX.
    pub cuda: Vec<PathBuf>,
    /// How much MLX gathers in one CUDA graph.
    pub budgets: Option<Budgets>,
    /// What did not go as wanted and is no error, for people.
    pub notes: Vec<String>,
}

struct State {
    api: Api,
    loaded: Loaded,
}

/// Returns every C function, loading the libraries on the first call.
///
/// # Errors
/// When a library is missing, does not load or is of another version: the same error at every call.
pub fn api() -> Result<&'static Api, &'static LoadError> {
    state().map(|state| &state.api)
}

/// Returns what was loaded, loading the libraries on the first call.
///
/// # Errors
/// As [`api`].
pub fn loaded() -> Result<&'static Loaded, &'static LoadError> {
    state().map(|state| &state.loaded)
}

fn state() -> Result<&'static State, &'static LoadError> {
    static STATE: OnceLock<Result<State, LoadError>> = OnceLock::new();
    STATE.get_or_init(load).as_ref()
}

fn load() -> Result<State, LoadError> {
    let Found { layout, place } = Places::of_process().find()?;
    let mut notes = Vec::new();
    let cuda = preload_cuda(&layout, &mut notes);
    let budgets = budgets::set(layout.backend);
    let blas = blas::preload(&layout, &mut notes);
    let guard = preload_guard(&layout, &mut notes);
    preload_beside(&layout.mlx);
    open_for_good(&layout.mlx, Names::Local)?;
    let library = open(&layout.mlxc, Names::Local)?;
    let versions = versions::check(&library, &layout.mlxc, &layout.mlx)?;
    if let Some(metallib) = &layout.metallib {
        set_metallib(&library, metallib, &mut notes);
    }
    // SAFETY: the library was built from the headers that the bindings were made of: the versions say so.
    let api = unsafe { Api::from_library(library) }.map_err(|error| LoadError::Symbol {
        path: layout.mlxc.clone(),
        reason: error.to_string(),
    })?;
    let loaded = Loaded {
        backend: layout.backend,
        place,
        mlx: layout.mlx,
        mlxc: layout.mlxc,
        versions,
        blas,
        guard,
        metallib: layout.metallib,
        cuda,
        budgets,
        notes,
    };
    Ok(State { api, loaded })
}

fn preload_cuda(layout: &Layout, notes: &mut Vec<String>) -> Vec<PathBuf> {
    let cuda_dir = value(environment::CUDA_DIR).map(PathBuf::from);
    let mut loaded = cuda::libraries(layout.backend, &layout.mlx, cuda_dir.as_deref());
    loaded.retain(|path| noted(open_for_good(path, Names::Global), notes));
    loaded
}

fn preload_guard(layout: &Layout, notes: &mut Vec<String>) -> Option<PathBuf> {
    let guard = layout.guard.as_ref()?;
    noted(open_for_good(guard, Names::Global), notes).then(|| guard.clone())
}

/// Loads the libraries that MLX's wheel brings along when they lie in the same folder, where MLX does not look.
fn preload_beside(mlx: &Path) {
    let Some(entries) = mlx.parent().and_then(|dir| std::fs::read_dir(dir).ok()) else {
        return;
    };
    let files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    // Each after those it needs.
    for start in ["libquadmath-", "libgfortran-", "libblas-", "liblapack-"] {
        for file in &files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(start) {
                // MLX's own failure to load says what is missing, should it matter.
                let _ = open_for_good(file, Names::Local);
            }
        }
    }
}

fn set_metallib(library: &Library, metallib: &Path, notes: &mut Vec<String>) {
    let Ok(path) = CString::new(metallib.as_os_str().as_encoded_bytes()) else {
        return;
    };
    type Set = unsafe extern "C" fn(*const c_char) -> c_int;
    // SAFETY: mlx-c's `metal.h` declares the function with this type; it copies the path.
    let status = unsafe {
        library
            .get::<Set>(b"mlx_metal_set_metallib_path")
            .map(|set| set(path.as_ptr()))
    };
    if !matches!(status, Ok(0)) {
        notes.push(format!("MLX did not accept {}", metallib.display()));
    }
}

/// Keeps an error that is not one for the caller.
fn noted(result: Result<(), LoadError>, notes: &mut Vec<String>) -> bool {
    if let Err(error) = &result {
        notes.push(error.to_string());
    }
    result.is_ok()
}
