//! Whose matrix products MLX uses on the CPU, and on how many threads they run.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::path::PathBuf;
use std::thread;

use libloading::Library;
use mlx_provision::environment::{self, value};
use mlx_provision::layout::Layout;

use crate::LoadError;
use crate::open::{Names, open, open_for_good};

/// Whose matrix products and decompositions MLX uses on the CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blas {
    /// OpenBLAS, bound before MLX's own.
    OpenBlas {
        /// Its library.
        path: PathBuf,
        /// What it says of itself: version, processor kernels, threads.
        config: String,
    },
    /// The one that came with MLX: reference BLAS in the wheels for Linux.
    Bundled,
    /// Apple's.
    Accelerate,
}

/// Binds OpenBLAS: its library, then the names that MLX imports, which win because they are loaded globally first.
pub(crate) fn preload(layout: &Layout, notes: &mut Vec<String>) -> Blas {
    let without = if cfg!(target_os = "macos") {
        Blas::Accelerate
    } else {
        Blas::Bundled
    };
    let (Some(openblas), Some(names)) = (&layout.openblas, &layout.blas) else {
        return without;
    };
    if value(environment::BLAS).is_some_and(|value| value == "bundled") {
        return without;
    }
    let asked = threads_asked_for();
    let opened = load_with_one_thread(|| open(openblas, Names::Local));
    let library = match opened {
        Ok(library) => library,
        Err(error) => {
            notes.push(format!("MLX's own slow BLAS is in use: {error}"));
            return without;
        }
    };
    start_threads(&library, asked, notes);
    let config = openblas_config(&library);
    std::mem::forget(library);
    if let Err(error) = open_for_good(names, Names::Global) {
        notes.push(error.to_string());
        return without;
    }
    Blas::OpenBlas {
        path: openblas.clone(),
        config,
    }
}

/// The variables that OpenBLAS reads for its number of threads, in its order.
const N_THREADS: [&str; 3] = [
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OMP_NUM_THREADS",
];

/// How long an idle thread looks for work, as a power of two of processor cycles.
///
/// By default they look for some 20 ms after each product, on cores that the kernels of this workspace need: Whisper's
/// encoder took a quarter longer.
const TIMEOUT: &str = "OPENBLAS_THREAD_TIMEOUT";

/// Loads OpenBLAS without threads of its own, and with threads that will sleep soon when they are idle, unless the user
/// wants something else.
fn load_with_one_thread(
    load: impl FnOnce() -> Result<Library, LoadError>,
) -> Result<Library, LoadError> {
    let timeout = std::env::var_os(TIMEOUT).unwrap_or_else(|| "14".into());
    with_variable(N_THREADS[0], "1".into(), || {
        with_variable(TIMEOUT, timeout, load)
    })
}

/// Runs `load` with a variable set that OpenBLAS reads when it is loaded, and only then.
fn with_variable<T>(name: &str, value: OsString, load: impl FnOnce() -> T) -> T {
    let before = std::env::var_os(name);
    // SAFETY: no code of this workspace reads the environment meanwhile but through the standard library, which locks it;
    // this happens once, while the first call into this crate loads the libraries.
    unsafe { std::env::set_var(name, value) };
    let loaded = load();
    // What the process starts later finds its environment as it was.
    match before {
        // SAFETY: as above.
        Some(before) => unsafe { std::env::set_var(name, before) },
        // SAFETY: as above.
        None => unsafe { std::env::remove_var(name) },
    }
    loaded
}

/// Returns the first positive number among the variables.
fn threads_asked_for() -> Option<usize> {
    let number = |name: &&str| std::env::var(name).ok()?.trim().parse::<usize>().ok();
    N_THREADS
        .iter()
        .filter_map(number)
        .find(|&threads| threads > 0)
}

/// Lets OpenBLAS make its threads, if the system gives that many: it ends the process when it cannot make one.
fn start_threads(openblas: &Library, asked: Option<usize>, notes: &mut Vec<String>) {
    type Count = unsafe extern "C" fn() -> c_int;
    type Set = unsafe extern "C" fn(c_int);
    // SAFETY: OpenBLAS declares both functions with these types.
    let functions = unsafe {
        (
            openblas.get::<Count>(b"scipy_openblas_get_num_procs"),
            openblas.get::<Set>(b"scipy_openblas_set_num_threads"),
        )
    };
    let (Ok(count), Ok(set)) = functions else {
        return;
    };
    // SAFETY: takes nothing.
    let processors = unsafe { count() };
    let asked = asked.and_then(|asked| c_int::try_from(asked).ok());
    let threads = asked.map_or(processors, |asked| asked.min(processors));
    if threads <= 1 {
        return;
    }
    if can_start(threads as usize) {
        // SAFETY: OpenBLAS has just been loaded, so that nobody computes with it yet.
        unsafe { set(threads) };
    } else {
        notes.push(format!(
            "OpenBLAS computes on one thread: the system does not give {threads}"
        ));
    }
}

/// Whether this process may have this many more threads, tried with some to spare: one that has ended is counted for a
/// moment longer.
fn can_start(threads: usize) -> bool {
    const SPARE: usize = 8;
    /// What the system gives for each of OpenBLAS's threads by default; none of it is touched here.
    const STACK: usize = 8 << 20;
    let mut tried = Vec::with_capacity(threads + SPARE);
    for _ in 0..threads + SPARE {
        match thread::Builder::new().stack_size(STACK).spawn(thread::park) {
            Ok(thread) => tried.push(thread),
            Err(_) => break,
        }
    }
    let are_enough = tried.len() == threads + SPARE;
    // A thread that is woken before it sleeps does not sleep at all.
    tried.iter().for_each(|thread| thread.thread().unpark());
    for thread in tried {
        // It has done nothing that can panic.
        let _ = thread.join();
    }
    are_enough
}

fn openblas_config(library: &Library) -> String {
    type Config = unsafe extern "C" fn() -> *const c_char;
    type Threads = unsafe extern "C" fn() -> c_int;
    // SAFETY: OpenBLAS declares both functions with these types.
    let functions = unsafe {
        (
            library.get::<Config>(b"scipy_openblas_get_config"),
            library.get::<Threads>(b"scipy_openblas_get_num_threads"),
        )
    };
    let (Ok(config), Ok(threads)) = functions else {
        return "OpenBLAS".to_owned();
    };
    // SAFETY: the first returns a constant string of the library, the second has no conditions.
    let (config, threads) = unsafe { (CStr::from_ptr(config()).to_string_lossy(), threads()) };
    format!("{}, {threads} threads", config.trim())
}
