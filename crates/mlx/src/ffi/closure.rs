//! Rust closures that C calls back: no panic crosses, none is lost.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx_sys as sys;

use super::call::{Fault, api, loaded};
use super::handle::Handle;
use super::vector::{Vector, handles_in};

/// What a closure over arrays does.
pub(crate) type Body = dyn Fn(Vec<Handle>) -> Result<Vec<Handle>, Fault> + Send + Sync;

/// An `mlx_closure` owned by this value.
pub(crate) struct Closure {
    raw: sys::mlx_closure,
}

impl Closure {
    /// Returns a closure that runs `body`.
    ///
    /// MLX may keep it for the life of a graph and drop it on another thread: `body` is `Send`.
    pub(crate) fn new(body: Box<Body>) -> Result<Self, Fault> {
        let api = api()?;
        let payload = Box::into_raw(Box::new(body)).cast::<c_void>();
        // SAFETY: `payload` is a `Box<Box<Body>>` that `run` reads and `drop_body` frees exactly once.
        let raw = unsafe { api.mlx_closure_new_func_payload(Some(run), payload, Some(drop_body)) };
        Ok(Self { raw })
    }

    /// Returns the closure, borrowed for a call.
    pub(crate) fn raw(&self) -> sys::mlx_closure {
        self.raw
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        // SAFETY: this value owns the handle; MLX counts further uses of the closure itself.
        let _ = unsafe { loaded().mlx_closure_free(self.raw) };
    }
}

unsafe extern "C" fn run(
    results: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guarded(|| {
        // SAFETY: MLX passes the payload of `Closure::new`, alive as long as the closure is.
        let body = unsafe { &*payload.cast::<Box<Body>>() };
        let outputs = Vector::of_handles(&body(handles_in(inputs)?)?)?;
        // SAFETY: `results` is MLX's slot; assigning copies the list, ours is freed by its `Drop`.
        let status = unsafe { loaded().mlx_vector_array_set(results, outputs.raw()) };
        super::call::check(loaded(), status)
    })
}

unsafe extern "C" fn drop_body(payload: *mut c_void) {
    // SAFETY: MLX calls this once, with the payload of `Closure::new`.
    let body = unsafe { Box::from_raw(payload.cast::<Box<Body>>()) };
    // A panic in a captured value's `Drop` must not reach C; there is nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(body)));
}

thread_local! {
    static PANIC: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// Runs a callback's work: an error becomes the thread's error text and a status, a panic is parked.
pub(crate) fn guarded(work: impl FnOnce() -> Result<(), Fault>) -> c_int {
    let text = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return 0,
        Ok(Err(Fault(text))) => text,
        Err(panic) => {
            let text = panic_text(panic.as_ref());
            PANIC.with(|slot| *slot.borrow_mut() = Some(panic));
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
    PANIC.with(|slot| slot.borrow_mut().take())
}

/// Returns what a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", said.unwrap_or("no message"))
}
