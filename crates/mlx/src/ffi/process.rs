//! What a process has one of: MLX's main thread, its compiler, its default device. `crate::init` decides about them.

use std::sync::mpsc::channel;

use mlx_sys as sys;
use mlx_sys::Api;

use super::call::{Fault, check};

/// Returns true to the first caller in the process.
///
/// Rust statics exist once for each cell of a notebook, so the native library keeps this.
pub(crate) fn is_first(api: &Api) -> bool {
    // SAFETY: takes nothing.
    unsafe { api.mlx_native_first() }
}

/// Makes MLX's compile leave elementwise operations as they are: fusing them would run the user's C++ compiler.
pub(crate) fn disable_cpu_jit(api: &Api) {
    // SAFETY: takes a plain value; this is set before anything is compiled.
    let _ = unsafe { api.mlx_set_compile_mode(sys::mlx_compile_mode__MLX_COMPILE_MODE_NO_FUSE) };
}

/// Makes a thread without work MLX's main thread: the one that first gives its CPU scheduler something to do.
///
/// An error on a stream's thread (a bad index, a singular matrix) is thrown at the main thread's next piece of work
/// too, and then one in ten times MLX counts a task that never ends; after ten of those every evaluation waits
/// forever. Without work on the main thread, errors come only to those who wait for what failed.
pub(crate) fn park_mlx_main_thread(api: &'static Api) {
    let (ready, is_ready) = channel::<()>();
    let park = move || {
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
        .spawn(park);
    if spare.is_ok() {
        // Ends when the thread drops its side.
        let _ = is_ready.recv();
    }
}

/// Makes the CPU the default device, where streams of threads that choose none are made.
pub(crate) fn make_cpu_default(api: &Api) -> Result<(), Fault> {
    // SAFETY: takes plain values and returns a new handle, which is freed below.
    let device = unsafe { api.mlx_device_new_type(sys::mlx_device_type__MLX_CPU, 0) };
    // SAFETY: the device is alive for the call, which copies it.
    let status = unsafe { api.mlx_set_default_device(device) };
    let done = check(api, status);
    // SAFETY: this function owns the handle, which is not used after this.
    let _ = unsafe { api.mlx_device_free(device) };
    done
}

/// Returns whether the default device is the CPU.
pub(crate) fn default_is_cpu(api: &Api) -> Result<bool, Fault> {
    let mut device = sys::mlx_device {
        ctx: std::ptr::null_mut(),
    };
    // SAFETY: the slot is empty, so a new handle is made, which is freed below.
    let status = unsafe { api.mlx_get_default_device(&mut device) };
    check(api, status)?;
    let mut kind = sys::mlx_device_type__MLX_CPU;
    // SAFETY: the device is alive for the call; `kind` is written before return.
    let status = unsafe { api.mlx_device_get_type(&mut kind, device) };
    let found = check(api, status).map(|()| kind == sys::mlx_device_type__MLX_CPU);
    // SAFETY: the device is owned here and not used after this.
    let _ = unsafe { api.mlx_device_free(device) };
    found
}
