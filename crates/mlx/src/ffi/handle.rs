//! An owned array handle, and what can be asked of it without running anything.

use std::cell::OnceCell;

use mlx_sys as sys;

use super::call::{api, check, loaded, loaded_to_free};
use crate::dtype::Dtype;
use crate::error::NativeError;
use crate::shape::ArrayType;

/// An `mlx_array` owned by this value.
///
/// Not `Send` and not `Sync`: evaluation writes to the array's node without locks.
pub(crate) struct Handle {
    raw: sys::mlx_array,
    /// Why its computation failed, after which what it holds means nothing.
    failure: OnceCell<NativeError>,
}

/// The handle that stands for "no array" in C.
pub(crate) fn null_array() -> sys::mlx_array {
    sys::mlx_array {
        ctx: std::ptr::null_mut(),
    }
}

impl Handle {
    /// Takes ownership of a handle that a call has just made.
    pub(crate) fn from_raw(raw: sys::mlx_array) -> Self {
        Self {
            raw,
            failure: OnceCell::new(),
        }
    }

    /// Returns why the computation of this array failed, if it was tried and did.
    ///
    /// MLX forgets: the error comes once, from then on the array reads as if it had been computed.
    pub(crate) fn failure(&self) -> Option<&NativeError> {
        self.failure.get()
    }

    /// Remembers that the computation of this array failed.
    pub(crate) fn set_failure(&self, fault: &NativeError) {
        // One that failed before keeps its first reason.
        let _ = self.failure.set(fault.clone());
    }

    /// Returns the handle, borrowed for a call.
    pub(crate) fn raw(&self) -> sys::mlx_array {
        self.raw
    }

    /// Returns a second handle to the same array.
    pub(crate) fn duplicate(&self) -> Result<Self, NativeError> {
        Self::copy_of(self.raw)
    }

    /// Returns an owned handle to the array behind a borrowed one.
    pub(crate) fn copy_of(raw: sys::mlx_array) -> Result<Self, NativeError> {
        let api = api()?;
        let mut out = null_array();
        // SAFETY: `raw` is alive for the call; `out` is empty, so a new handle is allocated and owned by us.
        let status = unsafe { api.mlx_array_set(&mut out, raw) };
        check(api, status)?;
        Ok(Self::from_raw(out))
    }

    pub(crate) fn ndim(&self) -> usize {
        // SAFETY: the handle is alive and not null.
        unsafe { loaded().mlx_array_ndim(self.raw) }
    }

    pub(crate) fn size(&self) -> usize {
        // SAFETY: the handle is alive and not null.
        unsafe { loaded().mlx_array_size(self.raw) }
    }

    pub(crate) fn dtype(&self) -> Dtype {
        // SAFETY: the handle is alive and not null.
        Dtype::from_raw(unsafe { loaded().mlx_array_dtype(self.raw) })
    }

    /// Returns the shape, borrowed from the array.
    pub(crate) fn shape(&self) -> &[i32] {
        let ndim = self.ndim();
        if ndim == 0 {
            return &[];
        }
        // SAFETY: the handle is alive; the pointer stays valid while it is, which the borrow of `self` ensures.
        let data = unsafe { loaded().mlx_array_shape(self.raw) };
        // SAFETY: MLX keeps `ndim` ints there, and a shape never changes.
        unsafe { std::slice::from_raw_parts(data, ndim) }
    }

    /// Returns whether elements are stored in row-major order without gaps. Only meaningful after evaluation.
    pub(crate) fn is_row_contiguous(&self) -> Result<bool, NativeError> {
        let api = api()?;
        let mut out = false;
        // SAFETY: the handle is alive, `out` is a local bool.
        let status = unsafe { api._mlx_array_is_row_contiguous(&mut out, self.raw) };
        check(api, status)?;
        Ok(out)
    }

    /// Returns whether the values are there, without waiting.
    pub(crate) fn is_available(&self) -> Result<bool, NativeError> {
        let api = api()?;
        let mut out = false;
        // SAFETY: the handle is alive, `out` is a local bool.
        let status = unsafe { api._mlx_array_is_available(&mut out, self.raw) };
        check(api, status)?;
        Ok(out)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.raw.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the handle, and nothing uses it after this.
            // A failure to free cannot be acted on here.
            let _ = unsafe { api.mlx_array_free(self.raw) };
        }
    }
}

impl ArrayType {
    /// Returns shape and dtype of a handle.
    pub(crate) fn of(handle: &Handle) -> Self {
        Self {
            shape: handle.shape().to_vec(),
            dtype: handle.dtype(),
        }
    }
}
