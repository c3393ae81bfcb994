//! Whose matrix products MLX uses on the CPU, and on which threads they run.

use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;

use libloading::Library;
use mlx_provision::environment::{self, value};
use mlx_provision::layout::Layout;

use crate::LoadError;
use crate::open::{Names, open};

/// Whose matrix products and decompositions MLX uses on the CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blas {
    /// OpenBLAS, bound before MLX's own.
    OpenBlas {
        /// Its library.
        path: PathBuf,
        /// What it says of itself: version, processor kernels.
        config: String,
    },
    /// The one that came with MLX: reference BLAS in the wheels for Linux.
    Bundled,
    /// Apple's.
    Accelerate,
}

/// Binds OpenBLAS: our names for it, which win over MLX's own because they are loaded globally before, and the library.
pub(crate) fn preload(layout: &Layout, notes: &mut Vec<String>) -> (Blas, Option<Products>) {
    let without = if cfg!(target_os = "macos") {
        Blas::Accelerate
    } else {
        Blas::Bundled
    };
    let (Some(openblas), Some(names)) = (&layout.openblas, &layout.blas) else {
        return (without, None);
    };
    if value(environment::BLAS).is_some_and(|value| value == "bundled") {
        return (without, None);
    }
    let asked = threads_asked_for();
    let opened = on_one_thread(|| {
        // The names first: OpenBLAS's own calls of products are bound to them then. They bring OpenBLAS along, unless it
        // lies elsewhere than where they were built for.
        let early = open(names, Names::Global);
        let library = open(openblas, Names::Local)?;
        let names = early.or_else(|_| open(names, Names::Global))?;
        Ok((names, library))
    });
    match opened {
        Ok((names, library)) => {
            let config = openblas_config(&library);
            let products = Products::of(&names, asked);
            // Both stay until the end of the process.
            std::mem::forget((names, library));
            let path = openblas.clone();
            (Blas::OpenBlas { path, config }, products)
        }
        Err::<_, LoadError>(error) => {
            notes.push(format!("MLX's own slow BLAS is in use: {error}"));
            (without, None)
        }
    }
}

/// The variables that OpenBLAS reads for its number of threads, in its order.
const THREADS: [&str; 3] = [
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OMP_NUM_THREADS",
];

fn threads_asked_for() -> Option<usize> {
    let number = |name: &&str| std::env::var(name).ok()?.trim().parse::<usize>().ok();
    THREADS
        .iter()
        .filter_map(number)
        .find(|&threads| threads > 0)
}

/// Runs `load` with OpenBLAS told to make no threads of its own: see `native/blas/products.cpp`.
///
/// OpenBLAS reads the variable when it is loaded, and only then.
fn on_one_thread<T>(load: impl FnOnce() -> T) -> T {
    let before = std::env::var_os(THREADS[0]);
    // SAFETY: nothing of ours reads the environment meanwhile but through the standard library, which locks it; this
    // happens once, while the first call into this crate loads the libraries.
    unsafe { std::env::set_var(THREADS[0], "1") };
    let loaded = load();
    // What the process starts later finds its environment as it was.
    match before {
        // SAFETY: as above.
        Some(before) => unsafe { std::env::set_var(THREADS[0], before) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(THREADS[0]) },
    }
    loaded
}

/// A part of a matrix product: `piece(job, number)` computes it.
pub type Piece = unsafe extern "C" fn(job: *mut c_void, number: usize);

/// Calls a piece once for each number below the third argument, and returns when all calls have returned. The last
/// argument is a rough time of all on one thread, in nanoseconds.
pub type Share = unsafe extern "C" fn(Piece, *mut c_void, usize, f64);

/// Where matrix products are told who computes their parts.
pub(crate) struct Products {
    set_share: unsafe extern "C" fn(usize, Option<Share>),
    /// The number of threads that the user has asked OpenBLAS for.
    asked: Option<usize>,
}

impl Products {
    fn of(names: &Library, asked: Option<usize>) -> Option<Self> {
        type SetShare = unsafe extern "C" fn(usize, Option<Share>);
        // SAFETY: `native/blas/share.h` declares the function with this type.
        let set_share = unsafe { names.get::<SetShare>(b"mlx_blas_set_share") }.ok()?;
        Some(Self {
            set_share: *set_share,
            asked,
        })
    }

    pub(crate) fn share(&self, threads: usize, share: Share) {
        let threads = self.asked.map_or(threads, |asked| asked.min(threads));
        // SAFETY: the library stays loaded; it calls `share` as its type says, on threads that multiply matrices.
        unsafe { (self.set_share)(threads, Some(share)) };
    }
}

fn openblas_config(library: &Library) -> String {
    type Config = unsafe extern "C" fn() -> *const c_char;
    // SAFETY: OpenBLAS declares the function with this type.
    let Ok(config) = (unsafe { library.get::<Config>(b"scipy_openblas_get_config") }) else {
        return "OpenBLAS".to_owned();
    };
    // SAFETY: takes nothing, and returns a constant string of the library.
    let config = unsafe { CStr::from_ptr(config()) };
    config.to_string_lossy().trim().to_owned()
}
