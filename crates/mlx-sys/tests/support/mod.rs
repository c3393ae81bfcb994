//! Arrays that free themselves and closures, for the tests of the raw functions.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::ffi::{CStr, CString, c_void};
use std::process::Command;

use mlx_sys as sys;

/// Returns the loaded library.
pub fn api() -> &'static sys::Api {
    sys::api().unwrap_or_else(|error| panic!("{error}"))
}

/// An array that frees itself.
pub struct Array(pub sys::mlx_array);

impl Array {
    pub fn empty() -> Self {
        Self(sys::mlx_array {
            ctx: std::ptr::null_mut(),
        })
    }

    pub fn vector(values: &[f32]) -> Self {
        let shape = [values.len() as i32];
        // SAFETY: the data is copied by the call.
        Self(unsafe {
            api().mlx_array_new_data(
                values.as_ptr().cast::<c_void>(),
                shape.as_ptr(),
                1,
                sys::mlx_dtype__MLX_FLOAT32,
            )
        })
    }

    pub fn integers(values: &[i32]) -> Self {
        let shape = [values.len() as i32];
        // SAFETY: the data is copied by the call.
        Self(unsafe {
            api().mlx_array_new_data(
                values.as_ptr().cast::<c_void>(),
                shape.as_ptr(),
                1,
                sys::mlx_dtype__MLX_INT32,
            )
        })
    }

    /// Evaluates, and returns the error's text when that fails.
    pub fn eval(&self) -> Result<(), String> {
        // SAFETY: the handle is alive.
        checked(unsafe { api().mlx_array_eval(self.0) })
    }

    /// Returns the values of an evaluated `float32` array that is row-contiguous.
    pub fn values(&self) -> Vec<f32> {
        self.eval().unwrap();
        // SAFETY: the array is evaluated and of this dtype; the data is copied while the handle lives.
        unsafe {
            let data = api().mlx_array_data_float32(self.0);
            std::slice::from_raw_parts(data, api().mlx_array_size(self.0)).to_vec()
        }
    }
}

impl Drop for Array {
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { api().mlx_array_free(self.0) };
    }
}

/// Turns a status into a result with the thread's error text, which is taken.
pub fn checked(status: i32) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    Err(take_error().unwrap_or_else(|| "no text".into()))
}

/// Takes the thread's error text.
pub fn take_error() -> Option<String> {
    // SAFETY: the text is copied before the slot is cleared.
    unsafe {
        let text = api().mlx_native_error();
        let copy = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        api().mlx_native_error_clear();
        copy
    }
}

/// Returns this thread's default stream on the CPU.
pub fn cpu() -> sys::mlx_stream {
    // SAFETY: no conditions; the small handle is left to the process.
    unsafe { api().mlx_default_cpu_stream_new() }
}

/// Returns a list of arrays, left to the process.
pub fn list(arrays: &[&Array]) -> sys::mlx_vector_array {
    // SAFETY: appending copies the handles.
    unsafe {
        let list = api().mlx_vector_array_new();
        for array in arrays {
            api().mlx_vector_array_append_value(list, array.0);
        }
        list
    }
}

/// Returns the element of a list.
pub fn item(list: sys::mlx_vector_array, at: usize) -> Array {
    let mut array = Array::empty();
    // SAFETY: the list is alive; the call copies the handle.
    checked(unsafe { api().mlx_vector_array_get(&raw mut array.0, list, at) }).unwrap();
    array
}

/// Returns a C string.
pub fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Returns whether this process was started by [`in_own_process`]: tests that are halves of others do nothing elsewhere.
pub fn is_own_process() -> bool {
    std::env::var_os("OWN_PROCESS").is_some()
}

/// Runs one test of this file in a process of its own, with further variables, and returns whether it ended well and
/// what it wrote.
pub fn in_own_process(test: &str, variables: &[(&str, &str)]) -> (bool, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .envs(variables.iter().copied())
        .env("OWN_PROCESS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text + &errors)
}
