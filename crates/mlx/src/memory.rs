//! How much memory MLX holds and may hold.
//!
//! Buffers that are no longer used go to a cache and are handed out again. On the CPU MLX keeps only 32 MiB of
//! them, and fetches larger ones from the system for every operation, which costs 3 to 6 times the work itself on
//! large arrays; this crate raises the limit to a quarter of the memory when the library is loaded.

use crate::ffi::memory as native;
use crate::{Error, Result};

/// Numbers of bytes: in use, kept for reuse, most ever in use, and the limit that evaluation tries to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Held by arrays.
    pub active: usize,
    /// Kept for reuse.
    pub cache: usize,
    /// The most that arrays have held since the start or [`reset_peak`].
    pub peak: usize,
    /// What evaluation tries to stay below.
    pub limit: usize,
}

/// Returns how much memory MLX uses.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn usage() -> Result<Usage> {
    let read = |get| native::get(get).map_err(|fault| Error::from_fault("memory", fault));
    Ok(Usage {
        active: read(native::Get::Active)?,
        cache: read(native::Get::Cache)?,
        peak: read(native::Get::Peak)?,
        limit: read(native::Get::Limit)?,
    })
}

/// Sets the number of bytes kept for reuse and returns the one before.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn set_cache_limit(bytes: usize) -> Result<usize> {
    native::set(native::Set::Cache, bytes).map_err(|fault| Error::from_fault("memory", fault))
}

/// Sets the number of bytes that evaluation tries to stay below, and above which a single result is refused.
/// Returns the one before.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn set_memory_limit(bytes: usize) -> Result<usize> {
    native::set(native::Set::Memory, bytes).map_err(|fault| Error::from_fault("memory", fault))
}

/// Sets the number of bytes that stay resident on the GPU (Metal only) and returns the one before.
///
/// # Errors
/// When the device does not allow it.
#[track_caller]
pub fn set_wired_limit(bytes: usize) -> Result<usize> {
    native::set(native::Set::Wired, bytes).map_err(|fault| Error::from_fault("memory", fault))
}

/// Gives all cached buffers back to the system.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn clear_cache() -> Result<()> {
    native::clear_cache().map_err(|fault| Error::from_fault("memory", fault))
}

/// Starts counting the peak anew.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn reset_peak() -> Result<()> {
    native::reset_peak().map_err(|fault| Error::from_fault("memory", fault))
}
