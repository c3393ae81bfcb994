//! Rust functions as MLX primitives on the CPU.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mlx_sys as sys;

use super::call::{Fault, api, check, loaded};
use super::closure::{Closure, panic_text, set_error};
use super::handle::Handle;
use super::vector::Vector;
use crate::{Dtype, Element};

/// An input of a host kernel: elements in row-major order.
pub struct HostInput<'a> {
    buffer: &'a sys::mlx_native_buffer,
}

/// An output of a host kernel: elements in row-major order, to be written by the kernel.
pub struct HostOutput<'a> {
    buffer: &'a sys::mlx_native_buffer,
}

/// What a host kernel does: reads inputs, writes outputs, or says why not.
///
/// Runs on MLX's stream thread. What an output holds before it is written is unspecified.
pub(crate) type Kernel =
    dyn Fn(&[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String> + Send + Sync;

impl<'a> HostInput<'a> {
    /// Returns the element type.
    pub fn dtype(&self) -> Dtype {
        Dtype::from_raw(self.buffer.dtype)
    }

    /// Returns the shape.
    pub fn shape(&self) -> &'a [i32] {
        shape_of(self.buffer)
    }

    /// Returns the elements.
    ///
    /// # Errors
    /// When the input is of another dtype than `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], String> {
        check_dtype::<T>(self.buffer)?;
        if self.buffer.size == 0 {
            return Ok(&[]);
        }
        // SAFETY: of dtype `T` (checked), row-contiguous (asked for in `apply`), and MLX keeps inputs alive and
        // unwritten until the kernel returns.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer.data.cast::<T>(), self.buffer.size) })
    }
}

impl HostOutput<'_> {
    /// Returns the element type.
    pub fn dtype(&self) -> Dtype {
        Dtype::from_raw(self.buffer.dtype)
    }

    /// Returns the shape.
    pub fn shape(&self) -> &[i32] {
        shape_of(self.buffer)
    }

    /// Returns the elements, to be written.
    ///
    /// # Errors
    /// When the output is of another dtype than `T`.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], String> {
        check_dtype::<T>(self.buffer)?;
        if self.buffer.size == 0 {
            return Ok(&mut []);
        }
        // SAFETY: of dtype `T` (checked), row-contiguous, and every byte pattern is a valid element (`run` zeroes
        // outputs of `bool`, the one type for which that is not so), and only this kernel has it until it returns.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.buffer.data.cast::<T>(), self.buffer.size)
        })
    }
}

impl HostOutput<'_> {
    /// Returns the bytes of the elements, to be written. Bytes of a `bool` must end up 0 or 1.
    pub(crate) fn as_mut_bytes(&mut self) -> &mut [u8] {
        let len = self.buffer.size * self.dtype().size();
        if len == 0 {
            return &mut [];
        }
        // SAFETY: row-contiguous with `size` elements of this dtype, and only this kernel has it until it returns.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.data.cast::<u8>(), len) }
    }
}

fn check_dtype<T: Element>(buffer: &sys::mlx_native_buffer) -> Result<(), String> {
    let dtype = Dtype::from_raw(buffer.dtype);
    if dtype == T::DTYPE {
        Ok(())
    } else {
        Err(format!("elements are {dtype}, asked for {}", T::DTYPE))
    }
}

fn shape_of(buffer: &sys::mlx_native_buffer) -> &[i32] {
    if buffer.ndim == 0 {
        return &[];
    }
    // SAFETY: the native library gives `ndim` ints that live as long as the buffer's description.
    unsafe { std::slice::from_raw_parts(buffer.shape, buffer.ndim) }
}

/// One application of a host kernel.
pub(crate) struct HostCall<'a> {
    pub(crate) name: &'a CStr,
    pub(crate) outputs: &'a [(Vec<i32>, Dtype)],
    pub(crate) kernel: Arc<Kernel>,
    /// Whether the kernel writes its outputs also when it fails; otherwise they become NaN, or zeros where there is
    /// none. What reads them may already be queued.
    pub(crate) defines_outputs: bool,
    /// The same in MLX's own operations: gradients and vmap go through it.
    pub(crate) composed: Option<Closure>,
    /// Equal and not zero: may be merged with another application on the same inputs.
    pub(crate) identity: u64,
}

/// Builds the (lazy) application of a kernel to `inputs` on the CPU stream `stream`.
pub(crate) fn apply(
    call: HostCall<'_>,
    inputs: &[sys::mlx_array],
    stream: sys::mlx_stream,
) -> Result<Vec<Handle>, Fault> {
    let api = api()?;
    let shapes: Vec<i32> = call
        .outputs
        .iter()
        .flat_map(|(shape, _)| shape.iter().copied())
        .collect();
    let ndims: Vec<usize> = call.outputs.iter().map(|(shape, _)| shape.len()).collect();
    let dtypes: Vec<sys::mlx_dtype> = call.outputs.iter().map(|(_, dtype)| dtype.raw()).collect();
    let inputs = Vector::of(inputs)?;
    let mut results = Vector::new()?;
    let payload = Payload {
        kernel: call.kernel,
        defines_outputs: call.defines_outputs,
    };
    let payload = Box::into_raw(Box::new(payload)).cast::<c_void>();
    let composed = call.composed.as_ref().map_or(
        sys::mlx_closure {
            ctx: std::ptr::null_mut(),
        },
        Closure::raw,
    );
    // SAFETY: all lists live to the end of the call, with `n_outputs` entries as told; `payload` is a
    // `Box<Payload>` that `run` reads and `drop_kernel` frees exactly once, also when the call fails.
    let status = unsafe {
        api.mlx_native_host_kernel(
            results.slot(),
            call.name.as_ptr(),
            inputs.raw(),
            shapes.as_ptr(),
            ndims.as_ptr(),
            dtypes.as_ptr(),
            call.outputs.len(),
            Some(run),
            payload,
            Some(drop_kernel),
            composed,
            true,
            call.identity,
            stream,
        )
    };
    check(api, status)?;
    results.handles()
}

/// What the native library keeps for us.
struct Payload {
    kernel: Arc<Kernel>,
    defines_outputs: bool,
}

unsafe extern "C" fn run(
    payload: *mut c_void,
    inputs: *const sys::mlx_native_buffer,
    n_inputs: usize,
    outputs: *const sys::mlx_native_buffer,
    n_outputs: usize,
) -> c_int {
    // SAFETY: MLX passes the payload of `apply`, alive while the primitive is.
    let payload = unsafe { &*payload.cast::<Payload>() };
    // SAFETY: the native library passes this many descriptions, alive for the call.
    let (inputs, outputs) = unsafe { (slice(inputs, n_inputs), slice(outputs, n_outputs)) };
    for output in outputs
        .iter()
        .filter(|output| output.dtype == Dtype::Bool.raw() && output.size > 0)
    {
        // SAFETY: the output has `size` bytes of bool; fresh memory may hold bytes that are no `bool`.
        unsafe { std::ptr::write_bytes(output.data.cast::<u8>(), 0, output.size) };
    }
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let inputs: Vec<HostInput<'_>> = inputs.iter().map(|buffer| HostInput { buffer }).collect();
        let mut outputs: Vec<HostOutput<'_>> =
            outputs.iter().map(|buffer| HostOutput { buffer }).collect();
        (payload.kernel)(&inputs, &mut outputs)
    }));
    let text = match ran {
        Ok(Ok(())) => return 0,
        Ok(Err(text)) => text,
        // This is MLX's thread: the panic cannot resume here, so its text reaches whoever evaluates.
        Err(panic) => panic_text(panic.as_ref()),
    };
    // MLX takes the outputs for computed, whatever we say, and may hand them to somebody who did not see the error.
    if !payload.defines_outputs {
        outputs.iter().for_each(spoil);
    }
    set_error(&text);
    OUTPUTS_DEFINED
}

/// Tells the native library that the outputs of a failed run hold what they should.
#[allow(clippy::cast_possible_wrap)]
const OUTPUTS_DEFINED: c_int = sys::MLX_NATIVE_OUTPUTS_DEFINED as c_int;

/// Fills the output of a failed run with NaN, or zeros where there is none.
fn spoil(output: &sys::mlx_native_buffer) {
    let dtype = Dtype::from_raw(output.dtype);
    if output.size > 0 {
        // All bits set is a NaN in every floating dtype.
        let byte = if dtype.is_inexact() { 0xFF } else { 0 };
        // SAFETY: the output has `size` elements of this dtype, which nobody else looks at until the run has ended.
        unsafe {
            std::ptr::write_bytes(output.data.cast::<u8>(), byte, output.size * dtype.size())
        };
    }
}

/// The slice at `data`, which may be null when it is empty.
///
/// # Safety
/// `data` points to `len` values that live for `'a`.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(data, len) }
}

unsafe extern "C" fn drop_kernel(payload: *mut c_void) {
    // SAFETY: called once, with the payload of `apply`.
    let kernel = unsafe { Box::from_raw(payload.cast::<Payload>()) };
    // A panic in a captured value's `Drop` must not reach C; there is nobody to tell.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(kernel)));
}

/// Returns how many host kernels have run in this process.
pub(crate) fn runs() -> u64 {
    // SAFETY: reads a counter.
    api().map_or(0, |_| unsafe { loaded().mlx_native_host_kernel_runs() })
}

/// Returns how many host kernels of this name have run in this process.
pub(crate) fn runs_of(name: &CStr) -> u64 {
    // SAFETY: the name is alive for the call.
    api().map_or(0, |_| unsafe {
        loaded().mlx_native_host_kernel_runs_of(name.as_ptr())
    })
}

#[cfg(test)]
mod tests;
