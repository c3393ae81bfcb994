//! The memory counters and limits.

use mlx_sys::Api;

use super::call::{api, check};
use super::handle::Handle;
use super::vector::Vector;
use crate::error::NativeError;

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

pub(crate) fn get(what: Get) -> Result<usize, NativeError> {
    get_of(api()?, what)
}

pub(crate) fn get_of(api: &Api, what: Get) -> Result<usize, NativeError> {
    let mut out = 0;
    // SAFETY: each of these writes one local number.
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

pub(crate) fn set(what: Set, bytes: usize) -> Result<usize, NativeError> {
    set_of(api()?, what, bytes)
}

pub(crate) fn set_of(api: &Api, what: Set, bytes: usize) -> Result<usize, NativeError> {
    let mut before = 0;
    // SAFETY: each of these takes a number and writes a local one.
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

pub(crate) fn clear_cache() -> Result<(), NativeError> {
    let api = api()?;
    // SAFETY: takes nothing; MLX waits for its streams itself.
    let status = unsafe { api.mlx_clear_cache() };
    check(api, status)
}

pub(crate) fn reset_peak() -> Result<(), NativeError> {
    let api = api()?;
    // SAFETY: takes nothing.
    let status = unsafe { api.mlx_reset_peak_memory() };
    check(api, status)
}

/// Returns the arrays with the small and evaluated ones in one buffer.
pub(crate) fn compact<'a>(
    arrays: impl IntoIterator<Item = &'a Handle>,
) -> Result<Vec<Handle>, NativeError> {
    let api = api()?;
    let arrays = Vector::of_handles(arrays)?;
    let mut moved = Vector::new()?;
    // SAFETY: both lists live to the end of the call, which reads one and fills the other.
    let status = unsafe { api.mlx_native_compact(moved.slot(), arrays.raw()) };
    check(api, status)?;
    moved.handles()
}
