//! What happens once in a process, when the native library has been loaded and before anything else is asked of it.

use std::sync::mpsc::channel;

use mlx_provision::environment;
use mlx_sys as sys;
use mlx_sys::Api;

use super::call::{Fault, check};
use super::memory::{Get, Set, get_of, set_of};

/// Sets up what the process has one of. Nothing is lost when a part of it fails: MLX works as it comes.
///
/// Rust statics exist once for each cell of a notebook, so the native library says who is first in the process.
pub(super) fn set_up(api: &'static Api) {
    // SAFETY: takes nothing.
    if !unsafe { api.mlx_native_first() } {
        return;
    }
    let Ok(on_cpu) = works_on_cpu(api) else {
        return;
    };
    if on_cpu {
        spare_the_main_thread(api);
        never_run_a_compiler(api);
        // Before the kernels, which leave to MLX's operations what they do not take.
        let _ = super::cpu::widen(api);
        use_our_kernels(api);
    }
    // It makes arrays, and so the scheduler, whose main thread must not be this one.
    let _ = super::cpu::replace_gradients(api);
    if let Ok(limit) = get_of(api, Get::Limit)
        && let Some(bytes) = crate::memory::first_cache_limit(on_cpu, limit)
    {
        let _ = set_of(api, Set::Cache, bytes);
    }
}

/// Makes MLX's compile leave elementwise operations as they are: fusing them would run the user's C++ compiler.
fn never_run_a_compiler(api: &Api) {
    // MLX's own switch against compiling is any value of this variable, and setting a mode would override it.
    if std::env::var_os("MLX_DISABLE_COMPILE").is_none() {
        // SAFETY: takes a plain value; this is set before anything is compiled.
        let _ =
            unsafe { api.mlx_set_compile_mode(sys::mlx_compile_mode__MLX_COMPILE_MODE_NO_FUSE) };
    }
}

/// Lets the kernels of this workspace compute on the CPU, unless `MLX_HOST_KERNELS` switches them off.
fn use_our_kernels(api: &Api) {
    if environment::flag(environment::HOST_KERNELS) == Some(false) {
        return;
    }
    // Without them MLX's own code computes.
    let _ = super::cpu::install(api);
}

/// Makes a thread that nobody uses MLX's main thread, the one that first gives its CPU scheduler something to do.
///
/// An error on a stream's thread (a bad index, a singular matrix) is thrown at the main thread's next piece of work
/// too, and then one in ten times MLX counts a task that never ends; after ten of those every evaluation waits
/// for ever. Without work on the main thread, errors come only to those who wait for what failed.
fn spare_the_main_thread(api: &'static Api) {
    let (ready, is_ready) = channel::<()>();
    let stay = move || {
        // SAFETY: takes nothing, and waits for the stream of this thread, which has nothing to do.
        let _ = unsafe { api.mlx_synchronize_default() };
        drop(ready);
        loop {
            std::thread::park();
        }
    };
    let spare = std::thread::Builder::new()
        .name("mlx-main".to_owned())
        .stack_size(256 * 1024)
        .spawn(stay);
    if spare.is_ok() {
        // Ends when the thread lets go of its side.
        let _ = is_ready.recv();
    }
}

/// Returns whether the default device is the CPU.
fn works_on_cpu(api: &Api) -> Result<bool, Fault> {
    let mut device = sys::mlx_device {
        ctx: std::ptr::null_mut(),
    };
    // SAFETY: the slot is empty, so a new handle is made, which is freed below.
    let status = unsafe { api.mlx_get_default_device(&mut device) };
    check(api, status)?;
    let mut kind = sys::mlx_device_type__MLX_CPU;
    // SAFETY: the device is alive for the call, `kind` is ours.
    let status = unsafe { api.mlx_device_get_type(&mut kind, device) };
    let found = check(api, status).map(|()| kind == sys::mlx_device_type__MLX_CPU);
    // SAFETY: the device is ours and not used after this.
    let _ = unsafe { api.mlx_device_free(device) };
    found
}
