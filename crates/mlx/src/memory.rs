//! How much memory MLX holds and may hold.
//!
//! Buffers that are no longer used go to a cache and are handed out again. On the CPU MLX keeps only 32 MiB of
//! them, and fetches larger ones from the system for every operation, which costs 3 to 6 times the work itself on
//! large arrays; this crate raises the limit to a quarter of the memory (of the machine, or of the container where that
//! is less) when the library is loaded. The environment variable `MLX_CACHE_LIMIT` sets another number of bytes, on any
//! device; a value that is no number is ignored.

use crate::error::WithOp;
use crate::ffi::memory as native;
use crate::{Array, ArrayList, Result};

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
    Ok(Usage {
        active: native::get(native::Get::Active).with_op("memory")?,
        cache: native::get(native::Get::Cache).with_op("memory")?,
        peak: native::get(native::Get::Peak).with_op("memory")?,
        limit: native::get(native::Get::Limit).with_op("memory")?,
    })
}

/// Returns the bytes that arrays hold, 0 before MLX is loaded: Python's `mx.get_active_memory`.
pub fn get_active_memory() -> usize {
    native::get(native::Get::Active).unwrap_or(0)
}

/// Returns the most bytes that arrays have held since the start or [`reset_peak_memory`], 0 before MLX is loaded.
pub fn get_peak_memory() -> usize {
    native::get(native::Get::Peak).unwrap_or(0)
}

/// Returns the bytes that are kept for reuse, 0 before MLX is loaded.
pub fn get_cache_memory() -> usize {
    native::get(native::Get::Cache).unwrap_or(0)
}

/// Starts counting the peak anew: [`reset_peak`] under Python's name.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn reset_peak_memory() -> Result<()> {
    reset_peak()
}

/// Returns the arrays with their elements side by side in one buffer, which lives as long as any of them.
///
/// For weights that are read one after the other: where the system has huge pages, one buffer of a few MiB is allocated in them,
/// and small ones of its own do not. They are evaluated first. Arrays with gaps stay as they are, and on a GPU all do.
///
/// # Errors
/// When an array could not be computed, or is being traced, or there is no memory.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let weights = [mlx::array!([1.0, 2.0]), mlx::array!([3.0])];
/// let moved = mlx::memory::compact(&weights)?;
/// assert_eq!(moved[1].to_vec::<f32>()?, [3.0]);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn compact(arrays: impl ArrayList) -> Result<Vec<Array>> {
    let arrays = arrays.into_arrays();
    crate::eval(&arrays)?;
    let handles = arrays.iter().map(|array| array.handle("compact"));
    let handles: Vec<_> = handles.collect::<Result<_>>()?;
    let moved = native::compact(handles.iter().map(AsRef::as_ref)).with_op("compact")?;
    Ok(moved.into_iter().map(Array::from_handle).collect())
}

/// Sets the number of bytes kept for reuse and returns the one before.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn set_cache_limit(bytes: usize) -> Result<usize> {
    native::set(native::Set::Cache, bytes).with_op("memory")
}

/// Sets the number of bytes that evaluation tries to stay below, and above which a single result is refused.
/// Returns the one before.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn set_memory_limit(bytes: usize) -> Result<usize> {
    native::set(native::Set::Memory, bytes).with_op("memory")
}

/// Sets the number of bytes that stay resident on the GPU (Metal only) and returns the one before.
///
/// # Errors
/// When the device does not allow it.
#[track_caller]
pub fn set_wired_limit(bytes: usize) -> Result<usize> {
    native::set(native::Set::Wired, bytes).with_op("memory")
}

/// Returns the cache limit a process starts with, or nothing for MLX's own; MLX limits its memory to 0.8 of all.
pub(crate) fn first_cache_limit(on_cpu: bool, memory_limit: usize) -> Option<usize> {
    let asked = std::env::var("MLX_CACHE_LIMIT").ok();
    if let Some(bytes) = asked.and_then(|text| text.trim().parse().ok()) {
        return Some(bytes);
    }
    let memory = (memory_limit / 4).saturating_mul(5);
    on_cpu.then(|| memory.min(container_memory().unwrap_or(memory)) / 4)
}

/// Returns the memory this container may use, where it is limited: MLX counts that of the whole machine.
fn container_memory() -> Option<usize> {
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = |file: &&str| std::fs::read_to_string(file).ok()?.trim().parse().ok();
    files.iter().find_map(limit)
}

/// Gives all cached buffers back to the system.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn clear_cache() -> Result<()> {
    native::clear_cache().with_op("memory")
}

/// Starts counting the peak anew.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn reset_peak() -> Result<()> {
    native::reset_peak().with_op("memory")
}
