//! The default random key of this thread, and what a function that is being traced takes its keys from.

use std::any::Any;
use std::ffi::c_void;
use std::ptr;

use mlx_sys::Api;

use super::call::api;
use crate::error::NativeError;

/// What gives keys while a function is traced: it fills a slot, whose type is the caller's business.
pub(crate) type KeySource<'a> = &'a dyn Fn(&mut dyn Any);

/// Returns the default key of this thread, if it has one.
pub(crate) fn get() -> Result<Option<u64>, NativeError> {
    let (api, mut key) = (api()?, 0);
    // SAFETY: writes one number to a local variable.
    let is_set = unsafe { api.mlx_native_random_key(&mut key) };
    Ok(is_set.then_some(key))
}

/// Sets the default key of this thread.
pub(crate) fn set(key: u64) -> Result<(), NativeError> {
    // SAFETY: takes a plain number.
    unsafe { api()?.mlx_native_random_key_set(key) };
    Ok(())
}

/// Runs `work` with `source` as what this thread takes its keys from, or with none.
pub(crate) fn with_source<T>(
    source: Option<KeySource<'_>>,
    work: impl FnOnce() -> T,
) -> Result<T, NativeError> {
    let api = api()?;
    let pointer = source.as_ref().map_or(ptr::null_mut(), |source| {
        ptr::from_ref(source).cast_mut().cast::<c_void>()
    });
    // SAFETY: only stores the pointer, which is read by `fill` while this frame, and with it `source`, is alive.
    let before = unsafe { api.mlx_native_key_source_swap(pointer) };
    let _restore = Restore { api, before };
    Ok(work())
}

/// Lets the source of this thread fill a slot; returns whether there is one.
pub(crate) fn fill(slot: &mut dyn Any) -> Result<bool, NativeError> {
    // SAFETY: returns a pointer that this thread has stored.
    let pointer = unsafe { api()?.mlx_native_key_source() };
    if pointer.is_null() {
        return Ok(false);
    }
    // SAFETY: `with_source` on this thread has stored the address of a `KeySource` that its frame keeps alive, and takes
    // the address back before it returns.
    let source = unsafe { *pointer.cast::<KeySource<'_>>() };
    source(slot);
    Ok(true)
}

/// Puts the source back as it was, also when the work panics.
struct Restore {
    api: &'static Api,
    before: *mut c_void,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: only stores the pointer that was there before, whose frame is further out.
        let _ = unsafe { self.api.mlx_native_key_source_swap(self.before) };
    }
}
