//! The cost of a call of a compiled closure in the C library alone: the floor under the bench `overhead`.
//!
//! It is part of the tests because nothing else outside the fence of `mlx` may call the C library.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

use mlx_sys as sys;

/// `2x + 1` as a closure that MLX compiled, and its input.
pub struct Raw {
    api: &'static sys::Api,
    closure: sys::mlx_closure,
    input: sys::mlx_vector_array,
}

impl Raw {
    /// Compiles the closure; `x` holds one number.
    pub fn new() -> Result<Self, String> {
        let api = sys::api().map_err(|error| error.to_string())?;
        // SAFETY: `double` fills its result, reads one array of a borrowed vector, and needs no payload.
        let plain = unsafe { api.mlx_closure_new_func_payload(Some(double), null_mut(), None) };
        let mut closure = sys::mlx_closure { ctx: null_mut() };
        // A number far from those that `mlx` gives out in this process.
        let id = usize::MAX / 3;
        // SAFETY: the slot is empty, the closure is alive, and no constants are read of an empty list.
        let status = unsafe {
            api.mlx_detail_compile(&mut closure, plain, id, false, [0_u64; 0].as_ptr(), 0)
        };
        // SAFETY: this value owns the handle; what was compiled keeps its own copy.
        unsafe { api.mlx_closure_free(plain) };
        if status != 0 {
            return Err("compile failed".to_owned());
        }
        // SAFETY: makes a new array out of a number.
        let one = unsafe { api.mlx_array_new_float32(1.0) };
        // SAFETY: the array is alive and is shared with the vector.
        let input = unsafe { api.mlx_vector_array_new_value(one) };
        // SAFETY: this value owns the handle.
        unsafe { api.mlx_array_free(one) };
        let raw = Self {
            api,
            closure,
            input,
        };
        // The first call traces.
        raw.apply();
        Ok(raw)
    }

    /// Calls the closure and drops its result, which is not computed.
    pub fn apply(&self) -> c_int {
        let mut outputs = sys::mlx_vector_array { ctx: null_mut() };
        // SAFETY: closure and input are alive, and a new vector is put into the empty slot.
        let status = unsafe {
            self.api
                .mlx_closure_apply(&mut outputs, self.closure, self.input)
        };
        // SAFETY: this value owns the vector, or it is empty when the call failed.
        unsafe { self.api.mlx_vector_array_free(outputs) };
        status
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: this value owns the handle, which is not used again.
        unsafe { self.api.mlx_closure_free(self.closure) };
        // SAFETY: this value owns the handle, which is not used again.
        unsafe { self.api.mlx_vector_array_free(self.input) };
    }
}

/// `2x + 1` in three calls; sums instead of products, which need no second array.
unsafe extern "C" fn double(
    result: *mut sys::mlx_vector_array,
    inputs: sys::mlx_vector_array,
    _: *mut c_void,
) -> c_int {
    let Ok(api) = sys::api() else { return 1 };
    // SAFETY: makes a handle for the default stream of this thread.
    let stream = unsafe { api.mlx_default_cpu_stream_new() };
    // SAFETY: makes a new array out of a number.
    let one = unsafe { api.mlx_array_new_float32(1.0) };
    let empty = || sys::mlx_array { ctx: null_mut() };
    let (mut x, mut twice, mut sum) = (empty(), empty(), empty());
    // SAFETY: the vector is borrowed from the caller and has one array; the slot is empty.
    let mut status = unsafe { api.mlx_vector_array_get(&mut x, inputs, 0) };
    // SAFETY: both arrays and the stream are alive, the slot is empty.
    status |= unsafe { api.mlx_add(&mut twice, x, x, stream) };
    // SAFETY: as above.
    status |= unsafe { api.mlx_add(&mut sum, twice, one, stream) };
    // SAFETY: the caller owns the slot behind `result`; the array is shared with the vector.
    status |= unsafe { api.mlx_vector_array_set_value(result, sum) };
    for array in [one, x, twice, sum] {
        // SAFETY: this value owns the handle, or it is empty when a call failed.
        unsafe { api.mlx_array_free(array) };
    }
    // SAFETY: this value owns the handle.
    unsafe { api.mlx_stream_free(stream) };
    status
}
