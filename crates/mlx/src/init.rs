//! What is set up once in a process, when the native library has been loaded and before anything else is asked of it.

use mlx_provision::environment;
use mlx_sys::Api;

use crate::ffi::memory::{Get, Set, get_of, set_of};
use crate::ffi::{cpu, process};

/// Sets up what the process has one of. A part that fails leaves MLX as it is.
///
/// Nothing before [`park_mlx_main_thread`](process::park_mlx_main_thread) may make an array or a stream: the first thread
/// that gives MLX's scheduler work is its main thread.
pub(crate) fn set_up(api: &'static Api) {
    if !process::is_first(api) {
        return;
    }
    if environment::value(environment::DEVICE).is_some_and(|device| device == "cpu") {
        // A build for a GPU computes on the CPU too.
        let _ = process::make_cpu_default(api);
    }
    let Ok(on_cpu) = process::default_is_cpu(api) else {
        return;
    };
    if on_cpu {
        process::park_mlx_main_thread(api);
        // MLX's own switch against compiling is any value of this variable, and setting a mode would override it.
        if std::env::var_os("MLX_DISABLE_COMPILE").is_none() {
            process::disable_cpu_jit(api);
        }
        // Before the kernels, which leave to MLX's operations what they do not compute.
        let _ = cpu::widen(api);
        if crate::cpu::are_kernels_enabled() {
            // Without the backend, MLX's own code computes.
            let _ = cpu::install::<crate::cpu::Cpu>(api);
        }
    }
    // It makes arrays, so that it comes after the main thread is chosen.
    let _ = cpu::replace_gradients(api);
    if let Ok(limit) = get_of(api, Get::Limit)
        && let Some(bytes) = crate::memory::first_cache_limit(on_cpu, limit)
    {
        let _ = set_of(api, Set::Cache, bytes);
    }
}
