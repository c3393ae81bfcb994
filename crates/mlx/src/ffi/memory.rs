//! The memory counters and limits.

use mlx_sys as sys;
use mlx_sys::Api;

use super::call::{Fault, api, check};

/// A counter.
#[derive(Clone, Copy)]
pub(crate) enum Get {
    Active,
    Cache,
    Peak,
    Limit,
}

/// A limit.
#[derive(Clone, Copy)]
pub(crate) enum Set {
    Cache,
    Memory,
    Wired,
}

pub(crate) fn get(what: Get) -> Result<usize, Fault> {
    get_of(api()?, what)
}

fn get_of(api: &Api, what: Get) -> Result<usize, Fault> {
    let mut out = 0;
    // SAFETY: each of these writes one number of ours.
    let status = unsafe {
        match what {
            Get::Active => api.mlx_get_active_memory(&mut out),
            Get::Cache => api.mlx_get_cache_memory(&mut out),
            Get::Peak => api.mlx_get_peak_memory(&mut out),
            Get::Limit => api.mlx_get_memory_limit(&mut out),
        }
    };
    check(api, status)?;
    Ok(out)
}

pub(crate) fn set(what: Set, bytes: usize) -> Result<usize, Fault> {
    set_of(api()?, what, bytes)
}

fn set_of(api: &Api, what: Set, bytes: usize) -> Result<usize, Fault> {
    let mut before = 0;
    // SAFETY: each of these takes a number and writes one number of ours.
    let status = unsafe {
        match what {
            Set::Cache => api.mlx_set_cache_limit(&mut before, bytes),
            Set::Memory => api.mlx_set_memory_limit(&mut before, bytes),
            Set::Wired => api.mlx_set_wired_limit(&mut before, bytes),
        }
    };
    check(api, status)?;
    Ok(before)
}

/// Sets the cache limit that a process starts with; called once the library is loaded, before anything else.
///
/// Rust statics exist once for each cell of a notebook, so the native library says who is first in the process.
pub(super) fn set_up(api: &Api) {
    // SAFETY: takes nothing.
    if !unsafe { api.mlx_native_first() } {
        return;
    }
    // Nothing is lost when a limit cannot be read or set: MLX's own stays.
    let (Ok(on_cpu), Ok(limit)) = (works_on_cpu(api), get_of(api, Get::Limit)) else {
        return;
    };
    if let Some(bytes) = crate::memory::first_cache_limit(on_cpu, limit) {
        let _ = set_of(api, Set::Cache, bytes);
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

pub(crate) fn clear_cache() -> Result<(), Fault> {
    let api = api()?;
    // SAFETY: takes nothing; MLX waits for its streams itself.
    let status = unsafe { api.mlx_clear_cache() };
    check(api, status)
}

pub(crate) fn reset_peak() -> Result<(), Fault> {
    let api = api()?;
    // SAFETY: takes nothing.
    let status = unsafe { api.mlx_reset_peak_memory() };
    check(api, status)
}
