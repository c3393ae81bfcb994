//! Functions that MLX's compile traces once for each kind of input and then replays.

use std::cell::Cell;

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::closure::{Closure, LocalBody};
use super::inspect::next_id;
use super::program::Program;
use super::thread_bound::defer_drops;
use super::vector::Vector;
use crate::error::NativeError;

/// A compiled closure of this thread, and its entries in this thread's cache.
///
/// MLX keys the cache by a number, and two functions under one number get each other's results. `mlx_compile` takes an
/// address for it, which comes back; here it is a number that the process uses once.
pub(crate) struct CompiledFunction {
    /// What was compiled, for calls from inside of itself.
    plain: Closure,
    compiled: Closure,
    /// The compiled function on CUDA.
    program: Option<Program>,
    entries: Entries,
    is_running: Cell<bool>,
}

impl CompiledFunction {
    pub(crate) fn new(body: Box<LocalBody>) -> Result<Self, NativeError> {
        let api = api()?;
        let entries = Entries::new()?;
        let plain = Closure::local(body)?;
        let mut compiled = Closure::empty();
        let (slot, fun, none) = (compiled.slot(), plain.raw(), [0_u64; 0]);
        // SAFETY: the closure is alive for the call, the slot is empty, and no constants are read of an empty list.
        let status = unsafe {
            api.mlx_detail_compile(slot, fun, entries.id, false, none.as_ptr(), none.len())
        };
        check(api, status)?;
        Ok(Self {
            plain,
            program: Program::of(&compiled)?,
            compiled,
            entries,
            is_running: Cell::new(false),
        })
    }

    /// Runs the function, tracing it first if it has not seen inputs like these.
    pub(crate) fn call(&self, inputs: &Vector) -> Result<Vector, NativeError> {
        // MLX keeps a reference into its cache while it traces, which a call of the same function would leave dangling.
        if self.is_running.replace(true) {
            return self.plain.call(inputs);
        }
        let _running = RunningGuard(&self.is_running);
        match &self.program {
            Some(program) => program.call(inputs),
            None => self.compiled.call(inputs),
        }
    }

    /// Returns what runs where that is not MLX's replay, in words.
    pub(crate) fn program_report(&self) -> Result<Option<String>, NativeError> {
        let report = self.program.as_ref().map(Program::report).transpose()?;
        Ok(report.filter(|text| !text.is_empty()))
    }

    /// Returns the number under which MLX keeps what it traced.
    pub(crate) fn id(&self) -> usize {
        self.entries.id
    }
}

/// Resets the flag of a running function, also when it panicked.
struct RunningGuard<'a>(&'a Cell<bool>);

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What a thread's cache holds under one number, forgotten with this value.
struct Entries {
    id: usize,
    cache: sys::mlx_compile_cache,
}

impl Entries {
    fn new() -> Result<Self, NativeError> {
        let api = api()?;
        let id =
            usize::try_from(next_id()?).map_err(|_| NativeError::from("no numbers are left"))?;
        let ctx = std::ptr::null_mut();
        let mut cache = sys::mlx_compile_cache { ctx };
        // SAFETY: the slot is empty, so a new handle is made; it refers to the cache of this thread weakly.
        let status = unsafe { api.mlx_detail_compile_cache(&mut cache) };
        check(api, status)?;
        Ok(Self { id, cache })
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        let Some(api) = loaded_to_free() else {
            return;
        };
        // MLX drops the traced graphs under a lock, and with them closures that may have compiled functions in them.
        defer_drops(|| {
            // SAFETY: this value owns the cache's handle, which is alive; MLX checks whether the cache itself still is.
            let _ = unsafe { api.mlx_detail_compile_erase(self.cache, self.id) };
        });
        // SAFETY: this value owns the handle, and nothing uses it after this.
        let _ = unsafe { api.mlx_compile_cache_free(self.cache) };
    }
}
