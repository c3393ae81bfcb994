//! A handle that threads may share, because nothing writes to its array any more.

use std::sync::Arc;

use super::call::Fault;
use super::eval;
use super::handle::Handle;

/// An evaluated array, owned by whoever holds a clone of this.
#[derive(Clone)]
pub(crate) struct SharedHandle {
    handle: Arc<Available>,
}

struct Available(Handle);

// SAFETY: `SharedHandle::new` evaluates the array and waits, after which MLX has dropped the node's primitive and
// event and only reads it. What threads do with it here is read shape and dtype, copy the handle (an atomic count)
// and free it (the same count); data is read through a handle of the reading thread's own.
unsafe impl Send for Available {}
// SAFETY: as above: every use is a read or an atomic count.
unsafe impl Sync for Available {}

impl SharedHandle {
    /// Evaluates and waits.
    pub(crate) fn new(handle: &Handle) -> Result<Self, Fault> {
        eval::eval([handle])?;
        eval::wait(handle)?;
        if !handle.is_available()? {
            return Err(Fault::from(
                "the array is not available after it was evaluated",
            ));
        }
        Ok(Self {
            handle: Arc::new(Available(handle.duplicate()?)),
        })
    }

    /// Returns a handle of this thread's own.
    pub(crate) fn duplicate(&self) -> Result<Handle, Fault> {
        self.handle.0.duplicate()
    }

    pub(crate) fn with<T>(&self, read: impl FnOnce(&Handle) -> T) -> T {
        read(&self.handle.0)
    }
}
