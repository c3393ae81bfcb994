//! Elements in and out: copies into new arrays, slices of evaluated ones.

use std::ffi::{c_int, c_void};

use super::call::{api, take_error};
use super::handle::Handle;
use crate::dtype::{Dtype, Element};
use crate::error::NativeError;

/// Returns a new array with a copy of `data`, whose length is the product of `shape`.
pub(crate) fn from_slice<T: Element>(data: &[T], shape: &[i32]) -> Result<Handle, NativeError> {
    let api = api()?;
    let elements: i64 = shape.iter().map(|&n| i64::from(n)).product();
    if usize::try_from(elements) != Ok(data.len()) {
        return Err(NativeError(format!(
            "shape {shape:?} has {elements} elements, got {}",
            data.len()
        )));
    }
    let ndim =
        c_int::try_from(shape.len()).map_err(|_| NativeError::from("too many dimensions"))?;
    // SAFETY: `data` holds as many elements of this dtype as `shape` says (checked above); C copies them.
    let raw = unsafe {
        api.mlx_array_new_data(
            data.as_ptr().cast::<c_void>(),
            shape.as_ptr(),
            ndim,
            T::DTYPE.raw(),
        )
    };
    if raw.ctx.is_null() {
        return Err(take_error(api));
    }
    Ok(Handle::from_raw(raw))
}

/// Returns the elements of an evaluated, row-contiguous array of this very dtype.
pub(crate) fn as_slice<T: Element>(handle: &Handle) -> Result<&[T], NativeError> {
    if handle.dtype() != T::DTYPE {
        return Err(NativeError(format!(
            "elements are {}, not {}",
            handle.dtype(),
            T::DTYPE
        )));
    }
    let Some(data) = first_element(handle)? else {
        return Ok(&[]);
    };
    if T::DTYPE == Dtype::Bool {
        // SAFETY: `size` elements of one byte are stored there (see below), and any byte is a `u8`.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), handle.size()) };
        if bytes.iter().any(|&byte| byte > 1) {
            return Err(NativeError::from(
                "an element is neither 0 nor 1, which no bool can be",
            ));
        }
    }
    // SAFETY: evaluated, of dtype `T` and row-contiguous (checked above), so `size` elements are stored there, aligned
    // as MLX's allocator does (8 bytes, enough for every element). They stay put and unwritten while the handle
    // lives: MLX reuses a buffer only when nothing else holds the array.
    Ok(unsafe { std::slice::from_raw_parts(data.cast::<T>(), handle.size()) })
}

/// Returns the bytes of an evaluated, row-contiguous array.
pub(crate) fn bytes(handle: &Handle) -> Result<&[u8], NativeError> {
    let Some(data) = first_element(handle)? else {
        return Ok(&[]);
    };
    let len = handle.size() * handle.dtype().size();
    // SAFETY: evaluated and row-contiguous (checked in `first_element`), so `size` elements are stored there without gaps,
    // and stay put and unwritten while the handle lives.
    Ok(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// Returns the address of the first element of an evaluated, row-contiguous array, or nothing when it has none.
fn first_element(handle: &Handle) -> Result<Option<*const c_void>, NativeError> {
    let api = api()?;
    if handle.size() == 0 {
        return Ok(None);
    }
    if !handle.is_available()? {
        return Err(NativeError::from("the array is not evaluated"));
    }
    if !handle.is_row_contiguous()? {
        return Err(NativeError::from("the array is not row-contiguous"));
    }
    // SAFETY: the handle is alive and evaluated (checked above).
    let data = unsafe { api.mlx_native_data(handle.raw()) };
    if data.is_null() {
        return Err(take_error(api));
    }
    Ok(Some(data))
}
