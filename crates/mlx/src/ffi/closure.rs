//! Rust closures that C calls back: no panic crosses, none is lost.

use crate::error::NativeError;
use crate::local::with_local;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx_sys as sys;

use super::call::{api, check, loaded, loaded_to_free};
use super::handle::Handle;
use super::thread_bound::ThreadBound;
use super::vector::{Vector, handles_in};

/// What a closure over arrays does.
pub(crate) type Body = dyn Fn(Vec<Handle>) -> Result<Vec<Handle>, NativeError> + Send + Sync;

/// What a closure does that belongs to the thread that made it: it may capture arrays.
pub(crate) type LocalBody = dyn Fn(Vec<Handle>) -> Result<Vector, NativeError>;

/// An `mlx_closure` owned by this value.
pub(crate) struct Closure {
    raw: sys::mlx_closure,
}

impl Closure {
    /// Returns a closure that runs `body`.
    ///
    /// MLX may keep it for the life of a graph and drop it on another thread: `body` is `Send`.
    pub(crate) fn new(body: Box<Body>) -> Result<Self, NativeError> {
        let api = api()?;
        let payload = Box::into_raw(Box::new(body)).cast::<c_void>();
        // SAFETY: `payload` is a `Box<Box<Body>>` that `run` reads and `drop_body` frees exactly once.
        let raw = unsafe { api.mlx_closure_new_func_payload(Some(run), payload, Some(drop_body)) };
        Ok(Self { raw })
    }

    /// Returns a closure that runs `body` on this thread only, and whose captured values are dropped by it.
    pub(crate) fn local(body: Box<LocalBody>) -> Result<Self, NativeError> {
        let api = api()?;
        let payload = thread_bound(body)?;
        // SAFETY: `payload` is a `ThreadBound` that `run_local` reads and `drop_local` frees exactly once.
        let raw =
            unsafe { api.mlx_closure_new_func_payload(Some(run_local), payload, Some(drop_local)) };
        Ok(Self { raw })
    }

    /// Returns an empty place for a call to write a closure to.
    pub(crate) fn empty() -> Self {
        let ctx = std::ptr::null_mut();
        Self {
            raw: sys::mlx_closure { ctx },
        }
    }

    /// Returns the place a call writes a closure to.
    pub(crate) fn slot(&mut self) -> *mut sys::mlx_closure {
        &raw mut self.raw
    }

    /// Returns the closure, borrowed for a call.
    pub(crate) fn raw(&self) -> sys::mlx_closure {
        self.raw
    }

    /// Runs the closure.
    pub(crate) fn call(&self, inputs: &Vector) -> Result<Vector, NativeError> {
        let api = api()?;
        let mut results = Vector::empty();
        // SAFETY: closure and list are alive for the call; the slot is empty, so a new list is made for us.
        let status = unsafe { api.mlx_closure_apply(results.slot(), self.raw, inputs.raw()) };
        check(api, status)?;
        Ok(results)
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        if !self.raw.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the handle; MLX counts further uses of the closure itself.
            let _ = unsafe { api.mlx_closure_free(self.raw) };
        }
    }
}

/// Returns what C keeps for a function of this thread: a `Box<ThreadBound<T>>`.
pub(super) fn thread_bound<T: 'static>(body: T) -> Result<*mut c_void, NativeError> {
    let body = ThreadBound::new(body).ok_or(NativeError::from("this thread is ending"))?;
    Ok(Box::into_raw(Box::new(body)).cast::<c_void>())
}

unsafe extern "C" fn run(
    results: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: MLX passes the payload of `Closure::new`, alive as long as the closure is.
        let body = unsafe { &*payload.cast::<Box<Body>>() };
        give(results, &Vector::of_handles(&body(handles_in(inputs)?)?)?)
    })
}

unsafe extern "C" fn run_local(
    results: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: MLX passes the payload of `Closure::local`, alive as long as the closure is.
        let body = unsafe { &*payload.cast::<ThreadBound<Box<LocalBody>>>() };
        let body = body.get().ok_or(NativeError::from(STRANGER))?;
        give(results, &body(handles_in(inputs)?)?)
    })
}

pub(super) const STRANGER: &str = "a function ran on another thread than the one that made it";

/// Writes a list to a slot of MLX's.
pub(super) fn give(
    results: *mut sys::mlx_vector_array,
    outputs: &Vector,
) -> Result<(), NativeError> {
    // SAFETY: `results` is MLX's slot; assigning copies the list, and `outputs` is freed by its `Drop`.
    let status = unsafe { loaded().mlx_vector_array_set(results, outputs.raw()) };
    check(loaded(), status)
}

unsafe extern "C" fn drop_body(payload: *mut c_void) {
    // SAFETY: MLX calls this once, with the payload of `Closure::new`.
    let body = unsafe { Box::from_raw(payload.cast::<Box<Body>>()) };
    // A panic in a captured value's `Drop` must not reach C; there is no caller to return it to.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(body)));
}

unsafe extern "C" fn drop_local(payload: *mut c_void) {
    // SAFETY: MLX calls this once, with the payload of `Closure::local`.
    let body = unsafe { Box::from_raw(payload.cast::<ThreadBound<Box<LocalBody>>>()) };
    // As in `drop_body`.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(body)));
}

thread_local! {
    static PANIC: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// Runs a callback's work: an error becomes the thread's error text and a status, a panic is parked.
pub(crate) fn guarded(work: impl FnOnce() -> Result<(), NativeError>) -> c_int {
    let text = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return 0,
        Ok(Err(NativeError(text))) => text,
        Err(panic) => {
            let text = panic_text(panic.as_ref());
            with_local(&PANIC, |slot| *slot = Some(panic));
            text
        }
    };
    set_error(&text);
    1
}

/// Puts a text into the native error slot of this thread, if it is empty.
pub(crate) fn set_error(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the text is alive for the call, and C copies it.
    unsafe { loaded().mlx_native_error_set(text.as_ptr()) };
}

/// Takes the panic that a callback on this thread has parked.
pub(crate) fn take_panic() -> Option<Box<dyn Any + Send>> {
    with_local(&PANIC, Option::take)
}

/// Returns what a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("no message"))
}

#[cfg(test)]
mod tests;
