//! Rust functions as MLX primitives on the CPU.

use std::borrow::Cow;
use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mlx_kernels::StridedBytes;
use mlx_sys as sys;

use super::call::{api, check, loaded};
use super::closure::{Closure, panic_text, set_error};
use super::handle::Handle;
use super::shared::SharedHandle;
use super::vector::Vector;
use crate::dtype::{Dtype, Element};
use crate::error::NativeError;
use crate::shape::is_row_major;

mod element_bits;

pub(crate) use element_bits::ElementBits;

/// An input of a host kernel: elements in row-major order.
pub struct HostInput<'a> {
    buffer: &'a sys::mlx_native_buffer,
}

/// An output of a host kernel: elements in row-major order, to be written by the kernel.
pub struct HostOutput<'a> {
    buffer: &'a sys::mlx_native_buffer,
}

/// The type of an array and where its elements are, without the elements.
#[derive(Clone, Copy)]
pub(crate) struct Layout<'a> {
    dtype: Dtype,
    shape: &'a [i32],
    strides: &'a [i64],
    size: usize,
}

impl<'a> Layout<'a> {
    /// The layout of elements that are this far apart, in elements; no strides when they are not known.
    pub(crate) fn new(dtype: Dtype, shape: &'a [i32], strides: &'a [i64]) -> Self {
        // MLX has no negative sizes.
        let sizes = shape.iter().map(|&size| size.max(0) as usize);
        // More than memory has is not reached.
        let size = sizes.fold(1_usize, usize::saturating_mul);
        Self {
            dtype,
            shape,
            strides,
            size,
        }
    }

    pub(super) fn of(buffer: &'a sys::mlx_native_buffer) -> Self {
        let strides = if buffer.ndim == 0 || buffer.strides.is_null() {
            &[]
        } else {
            // SAFETY: the native library gives `ndim` numbers that live as long as the buffer's description.
            unsafe { std::slice::from_raw_parts(buffer.strides, buffer.ndim) }
        };
        Self {
            dtype: Dtype::from_raw(buffer.dtype),
            shape: shape_of(buffer),
            strides,
            size: buffer.size,
        }
    }

    pub(crate) fn dtype(self) -> Dtype {
        self.dtype
    }

    pub(crate) fn shape(self) -> &'a [i32] {
        self.shape
    }

    /// The distances between neighbours along each axis, in elements.
    pub(crate) fn strides(self) -> &'a [i64] {
        self.strides
    }

    /// The number of elements.
    pub(crate) fn size(self) -> usize {
        self.size
    }

    /// Whether elements are in row-major order without gaps.
    pub(crate) fn is_row_contiguous(self) -> bool {
        is_row_major(self.shape(), self.strides())
    }

    /// How many elements there are from the first to the last; none when one is before the first.
    fn extent(self) -> Option<usize> {
        let (before, extent) = self.reach()?;
        (before == 0).then_some(extent)
    }

    /// How many elements are before the first, and how many there are from the lowest to the highest.
    fn reach(self) -> Option<(usize, usize)> {
        if self.size() == 0 {
            return Some((0, 0));
        }
        let (mut before, mut after) = (0_i64, 0_i64);
        for (&size, &stride) in self.shape().iter().zip(self.strides()) {
            let last = stride.checked_mul(i64::from(size) - 1)?;
            if last < 0 {
                before = before.checked_sub(last)?;
            } else {
                after = after.checked_add(last)?;
            }
        }
        let extent = before.checked_add(after)?.checked_add(1)?;
        Some((usize::try_from(before).ok()?, usize::try_from(extent).ok()?))
    }
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

    pub(crate) fn layout(&self) -> Layout<'a> {
        Layout::of(self.buffer)
    }

    /// Returns the elements.
    ///
    /// # Errors
    /// When the input is of another dtype than `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T], String> {
        check_dtype::<T>(self.buffer)?;
        if !self.layout().is_row_contiguous() {
            return Err("elements are not in row-major order".to_owned());
        }
        if self.buffer.size == 0 {
            return Ok(&[]);
        }
        // SAFETY: of dtype `T` and row-contiguous (checked), and MLX keeps inputs alive and unwritten until the kernel
        // returns.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer.data.cast::<T>(), self.buffer.size) })
    }

    /// Returns everything from the first element to the last, whatever is between; none when an element is before
    /// the first one.
    pub(crate) fn as_strided<T: Element>(&self) -> Result<Option<&'a [T]>, String> {
        check_dtype::<T>(self.buffer)?;
        Ok(match self.layout().extent() {
            None => None,
            Some(0) => Some(&[]),
            Some(extent) => {
                // SAFETY: of dtype `T` (checked); all elements between belong to the array's buffer, as views beyond it
                // are refused (`validate`), and are not written until the kernel returns.
                Some(unsafe { std::slice::from_raw_parts(self.buffer.data.cast::<T>(), extent) })
            }
        })
    }

    /// Returns everything from the lowest element to the highest, whatever is between, and the index of the first element.
    pub(crate) fn as_strided_from_lowest<T: Element>(&self) -> Result<(&'a [T], usize), String> {
        check_dtype::<T>(self.buffer)?;
        let reach = self.layout().reach();
        let (before, extent) = reach.ok_or_else(|| "elements are too far apart".to_owned())?;
        if extent == 0 {
            return Ok((&[], 0));
        }
        let lowest = self.buffer.data.cast::<T>().wrapping_sub(before);
        // SAFETY: of dtype `T` (checked); all elements between belong to the array's buffer, as views beyond it are refused
        // (`validate`), and are not written until the kernel returns.
        let elements = unsafe { std::slice::from_raw_parts(lowest, extent) };
        Ok((elements, before))
    }

    /// Returns the elements in row-major order, copied where they are not: of a kernel that takes strides.
    #[doc(hidden)]
    pub fn to_contiguous<T: Element>(&self) -> Result<Cow<'a, [T]>, String> {
        check_dtype::<T>(self.buffer)?;
        if self.layout().is_row_contiguous() {
            return self.as_slice::<T>().map(Cow::Borrowed);
        }
        let size = self.buffer.size;
        let mut copy: Vec<T> = Vec::with_capacity(size);
        // SAFETY: there is room for `size` elements, and all bits 0 is an element of every dtype.
        unsafe { copy.as_mut_ptr().write_bytes(0, size) };
        // SAFETY: this many bytes, which were written above and are used only here.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(copy.as_mut_ptr().cast::<u8>(), size * size_of::<T>())
        };
        self.copy_contiguous(bytes)?;
        // SAFETY: all of them were written.
        unsafe { copy.set_len(size) };
        Ok(Cow::Owned(copy))
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
        // SAFETY: of dtype `T` (checked), row-contiguous, and every byte pattern is a valid element (`run_over` zeroes
        // outputs of `bool`, the one type for which that is not so, but for kernels that write bytes), and only this
        // kernel has it until it returns.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.buffer.data.cast::<T>(), self.buffer.size)
        })
    }
}

impl<'a> HostInput<'a> {
    /// As the native library describes it: `size` elements that are not written meanwhile.
    pub(crate) fn of(buffer: &'a sys::mlx_native_buffer) -> Self {
        Self { buffer }
    }

    pub(super) fn buffer(&self) -> &'a sys::mlx_native_buffer {
        self.buffer
    }

    /// Whether the output holds the elements of this input already: an update writes over what nothing else needs, and
    /// then has no other access to it.
    pub(crate) fn is_in_output(&self) -> bool {
        self.buffer.data.is_null()
    }

    pub(super) fn size_in_bytes(&self) -> usize {
        self.buffer.size * self.dtype().size()
    }

    /// Returns the bytes of the elements in row-major order, copied where they are not.
    pub(crate) fn contiguous_bytes(&self) -> Result<Cow<'a, [u8]>, String> {
        let len = self.size_in_bytes();
        if len == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        if self.layout().is_row_contiguous() {
            // SAFETY: this many bytes of elements that are alive and unwritten until the kernel returns.
            return Ok(Cow::Borrowed(unsafe {
                std::slice::from_raw_parts(self.buffer.data.cast::<u8>(), len)
            }));
        }
        let mut copy = vec![0; len];
        self.copy_contiguous(&mut copy)?;
        Ok(Cow::Owned(copy))
    }

    /// Writes the bytes of the elements in row-major order to `out`, which must be as long.
    pub(crate) fn copy_contiguous(&self, out: &mut [u8]) -> Result<(), String> {
        let strided = self.strided()?;
        strided
            .values()
            .copy_to(out)
            .map_err(|error| error.to_string())
    }

    /// The elements where they are, as bytes.
    pub(crate) fn strided(&self) -> Result<HostStrided<'a>, String> {
        let layout = self.layout();
        let too_far = || "elements are too far apart".to_owned();
        let (before, extent) = layout.reach().ok_or_else(too_far)?;
        let strides = layout.strides().iter();
        let strides: Result<Vec<isize>, _> = strides.map(|&s| isize::try_from(s)).collect();
        let shape = layout.shape().iter();
        let shape: Result<Vec<usize>, _> = shape.map(|&n| usize::try_from(n)).collect();
        let (Ok(strides), Ok(shape)) = (strides, shape) else {
            return Err(too_far());
        };
        let element = self.dtype().size();
        let bytes = if extent == 0 {
            &[][..]
        } else {
            let data = self.buffer.data.cast::<u8>();
            // SAFETY: from the lowest element to the highest, whole elements; all between belong to the array's buffer, as
            // views beyond it are refused (`workaround::view`), and are not written until the kernel returns.
            unsafe {
                std::slice::from_raw_parts(data.wrapping_sub(before * element), extent * element)
            }
        };
        Ok(HostStrided {
            bytes,
            element,
            start: before,
            shape,
            strides,
        })
    }
}

impl<'a> HostInput<'a> {
    /// Everything from the lowest element to the highest, as bytes.
    pub(crate) fn strided_bytes(&self) -> Result<&'a [u8], String> {
        self.strided().map(|strided| strided.bytes)
    }
}

/// The bytes of an input from its lowest element to its highest, and where elements are.
pub(crate) struct HostStrided<'a> {
    bytes: &'a [u8],
    element: usize,
    start: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
}

impl HostStrided<'_> {
    /// As kernels take them.
    pub(crate) fn values(&self) -> StridedBytes<'_> {
        StridedBytes {
            bytes: self.bytes,
            element: self.element,
            start: self.start,
            shape: &self.shape,
            strides: &self.strides,
        }
    }
}

impl<'a> HostOutput<'a> {
    /// As the native library describes it: `size` elements in row-major order that only the kernel uses meanwhile.
    pub(super) fn of(buffer: &'a sys::mlx_native_buffer) -> Self {
        Self { buffer }
    }

    pub(super) fn buffer(&self) -> &'a sys::mlx_native_buffer {
        self.buffer
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
    /// Whether inputs come with any strides; otherwise they are made row-contiguous first.
    pub(crate) takes_strides: bool,
    /// The input that each output starts as; empty when all start with anything.
    pub(crate) origins: &'a [Option<usize>],
    /// Evaluated inputs that the kernel sees after the others, and the composed form does not.
    pub(crate) captured: &'a [SharedHandle],
    /// Equal and not zero: may be merged with another application on the same inputs.
    pub(crate) identity: u64,
}

/// Builds the (lazy) application of a kernel to `inputs` on the CPU stream `stream`.
pub(crate) fn apply(
    call: HostCall<'_>,
    inputs: &[sys::mlx_array],
    stream: sys::mlx_stream,
) -> Result<Vec<Handle>, NativeError> {
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
    let origin = |origin: &Option<usize>| origin.and_then(|index| c_int::try_from(index).ok());
    let origins: Vec<c_int> = call
        .origins
        .iter()
        .map(|from| origin(from).unwrap_or(-1))
        .collect();
    let captured: Vec<Handle> = call
        .captured
        .iter()
        .map(SharedHandle::duplicate)
        .collect::<Result<_, _>>()?;
    let captured = match captured.as_slice() {
        [] => None,
        some => Some(Vector::of_handles(some)?),
    };
    let is_free = origins.len() != call.outputs.len() || origins.is_empty();
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
            !call.takes_strides,
            if is_free {
                std::ptr::null()
            } else {
                origins.as_ptr()
            },
            captured.as_ref().map_or(
                sys::mlx_vector_array {
                    ctx: std::ptr::null_mut(),
                },
                Vector::raw,
            ),
            call.identity,
            stream,
        )
    };
    check(api, status)?;
    results.handles()
}

/// What the native library keeps of a kernel.
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
    run_over(
        inputs,
        outputs,
        (payload.defines_outputs, false),
        |inputs, outputs| (payload.kernel)(inputs, outputs),
    )
}

/// Runs a function over buffers and returns what the native library wants to hear.
///
/// Outputs of a function that fails become NaN, or zeros where there is none, unless it `defines_outputs` all the same. One
/// that `writes_bytes` never sees a `bool`, and writes every byte if it does not fail: others find zeros there.
pub(super) fn run_over(
    inputs: &[sys::mlx_native_buffer],
    outputs: &[sys::mlx_native_buffer],
    (defines_outputs, writes_bytes): (bool, bool),
    function: impl FnOnce(&[HostInput<'_>], &mut [HostOutput<'_>]) -> Result<(), String>,
) -> c_int {
    for output in outputs
        .iter()
        .filter(|output| output.dtype == Dtype::Bool.raw() && output.size > 0 && !writes_bytes)
    {
        // SAFETY: the output has `size` bytes of bool; fresh memory may hold bytes that are no `bool`.
        unsafe { std::ptr::write_bytes(output.data.cast::<u8>(), 0, output.size) };
    }
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let inputs: Vec<HostInput<'_>> = inputs.iter().map(HostInput::of).collect();
        let mut outputs: Vec<HostOutput<'_>> = outputs.iter().map(HostOutput::of).collect();
        function(&inputs, &mut outputs)
    }));
    let text = match ran {
        Ok(Ok(())) => return 0,
        Ok(Err(text)) => text,
        // This is MLX's thread: the panic cannot resume here, so its text becomes the error of the evaluation.
        Err(panic) => panic_text(panic.as_ref()),
    };
    // MLX takes the outputs for computed all the same, and other operations may read them.
    if !defines_outputs {
        outputs.iter().for_each(poison);
    }
    set_error(&text);
    OUTPUTS_DEFINED
}

/// Tells the native library that the outputs of a failed run hold what they should.
#[allow(clippy::cast_possible_wrap)]
const OUTPUTS_DEFINED: c_int = sys::MLX_NATIVE_OUTPUTS_DEFINED as c_int;

/// Fills the output of a failed run with NaN, or zeros where there is none.
fn poison(output: &sys::mlx_native_buffer) {
    let dtype = Dtype::from_raw(output.dtype);
    if output.size > 0 {
        // All bits set is a NaN in every floating dtype.
        let byte = if dtype.is_inexact() { 0xFF } else { 0 };
        // SAFETY: the output has `size` elements of this dtype, which are not read until the run has ended.
        unsafe {
            std::ptr::write_bytes(output.data.cast::<u8>(), byte, output.size * dtype.size())
        };
    }
}

/// The slice at `data`, which may be null when it is empty.
///
/// # Safety
/// `data` points to `len` values that live for `'a`.
pub(super) unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        return &[];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts(data, len) }
}

unsafe extern "C" fn drop_kernel(payload: *mut c_void) {
    // SAFETY: called once, with the payload of `apply`.
    let kernel = unsafe { Box::from_raw(payload.cast::<Payload>()) };
    // A panic in a captured value's `Drop` must not reach C; it cannot be reported.
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
