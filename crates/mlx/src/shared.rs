//! Values that can go to other threads: computed, waited for, never written again.

use crate::error::WithOp;
use crate::ffi::{self, Handle};
use crate::{Array, ArrayType, Result};

/// An evaluated array that any thread may read: weights shared between workers.
///
/// `Send` and `Sync`, unlike [`Array`]: MLX writes to an array's node only until it is evaluated and waited for,
/// which [`Array::share`] does first; from then on only the atomic reference counts change.
pub struct SharedArray {
    handle: ffi::shared::SharedHandle,
}

impl Array {
    /// Computes this array, waits for it, and returns it in a form that other threads may use.
    ///
    /// # Errors
    /// When it could not be computed, or is being traced.
    #[track_caller]
    pub fn share(&self) -> Result<SharedArray> {
        let handle = self.handle("share")?;
        let handle = ffi::shared::SharedHandle::new(handle).with_op("share")?;
        Ok(SharedArray { handle })
    }
}

impl SharedArray {
    /// Returns this thread's array of the same values; nothing is copied.
    #[track_caller]
    pub fn array(&self) -> Array {
        let duplicate = self.handle.duplicate().with_op("array");
        Array::from_result(duplicate.map(Array::from_handle))
    }

    pub(crate) fn handle(&self) -> ffi::shared::SharedHandle {
        self.handle.clone()
    }

    /// Returns shape and dtype.
    pub fn array_type(&self) -> ArrayType {
        self.handle.with(|handle: &Handle| ArrayType::of(handle))
    }
}

impl Clone for SharedArray {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
        }
    }
}

impl std::fmt::Debug for SharedArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SharedArray({})", self.array_type())
    }
}
