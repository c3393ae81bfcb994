//! A handle that threads may share, because nothing writes to its array any more.

use std::sync::Arc;

use super::eval;
use super::handle::Handle;
use crate::error::NativeError;

/// An evaluated array, with shared ownership.
#[derive(Clone)]
pub(crate) struct SharedHandle {
    handle: Arc<EvaluatedHandle>,
}

struct EvaluatedHandle(Handle);

// SAFETY: `SharedHandle::new` evaluates the array and waits, after which MLX has dropped the node's primitive and
// event and only reads it. What threads do with it here is read shape and dtype, copy the handle (an atomic count)
// and free it (the same count); data is read through a handle of the reading thread's own.
unsafe impl Send for EvaluatedHandle {}
// SAFETY: as above: every use is a read or an atomic count.
unsafe impl Sync for EvaluatedHandle {}

impl SharedHandle {
    /// Evaluates and waits.
    pub(crate) fn new(handle: &Handle) -> Result<Self, NativeError> {
        eval::eval([handle])?;
        eval::wait(handle)?;
        if !handle.is_available()? {
            return Err(NativeError::from(
                "the array is not available after it was evaluated",
            ));
        }
        Ok(Self {
            handle: Arc::new(EvaluatedHandle(handle.duplicate()?)),
        })
    }

    /// Returns a handle of this thread's own.
    pub(crate) fn duplicate(&self) -> Result<Handle, NativeError> {
        self.handle.0.duplicate()
    }

    pub(crate) fn with<T>(&self, read: impl FnOnce(&Handle) -> T) -> T {
        read(&self.handle.0)
    }
}
