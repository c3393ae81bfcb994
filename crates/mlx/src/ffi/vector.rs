//! An owned list of arrays, as C takes and gives it.

use mlx_sys as sys;

use super::call::{api, check, loaded_to_free};
use super::handle::{Handle, null_array};
use crate::error::NativeError;

/// An `mlx_vector_array` owned by this value.
pub(crate) struct Vector {
    raw: sys::mlx_vector_array,
}

impl Vector {
    /// Returns an empty list.
    pub(crate) fn new() -> Result<Self, NativeError> {
        // SAFETY: takes nothing; the new list is owned by the returned value.
        let raw = unsafe { api()?.mlx_vector_array_new() };
        Ok(Self { raw })
    }

    /// Returns an empty place for a call to make a list in.
    pub(crate) fn empty() -> Self {
        let ctx = std::ptr::null_mut();
        Self {
            raw: sys::mlx_vector_array { ctx },
        }
    }

    /// Returns a list that shares the arrays behind `handles`.
    pub(crate) fn of(handles: &[sys::mlx_array]) -> Result<Self, NativeError> {
        let api = api()?;
        // SAFETY: the slice is alive for the call, and C copies the handles (counting references).
        let raw = unsafe { api.mlx_vector_array_new_data(handles.as_ptr(), handles.len()) };
        Ok(Self { raw })
    }

    /// Returns a list that shares these arrays.
    pub(crate) fn of_handles<'a>(
        handles: impl IntoIterator<Item = &'a Handle>,
    ) -> Result<Self, NativeError> {
        let raws: Vec<sys::mlx_array> = handles.into_iter().map(Handle::raw).collect();
        Self::of(&raws)
    }

    /// Returns the list, borrowed for a call.
    pub(crate) fn raw(&self) -> sys::mlx_vector_array {
        self.raw
    }

    /// Returns the place a call writes its results to.
    pub(crate) fn slot(&mut self) -> *mut sys::mlx_vector_array {
        &raw mut self.raw
    }

    /// Returns owned handles to the arrays in the list.
    pub(crate) fn handles(&self) -> Result<Vec<Handle>, NativeError> {
        handles_in(self.raw)
    }
}

/// Returns owned handles to the arrays of a list that somebody else owns.
pub(crate) fn handles_in(raw: sys::mlx_vector_array) -> Result<Vec<Handle>, NativeError> {
    let api = api()?;
    // SAFETY: the list is alive for the call.
    let len = unsafe { api.mlx_vector_array_size(raw) };
    (0..len)
        .map(|index| {
            let mut out = null_array();
            // SAFETY: `index` is within the list; `out` is empty, so a new handle is made and owned by us.
            let status = unsafe { api.mlx_vector_array_get(&mut out, raw, index) };
            check(api, status)?;
            Ok(Handle::from_raw(out))
        })
        .collect()
}

impl Drop for Vector {
    fn drop(&mut self) {
        if !self.raw.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the list, and nothing uses it after this.
            let _ = unsafe { api.mlx_vector_array_free(self.raw) };
        }
    }
}
