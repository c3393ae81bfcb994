//! Streams and devices: owned handles, and the stream this thread works on.

use std::ffi::c_int;

use mlx_sys as sys;

use super::call::{api, check, loaded, loaded_to_free};
use crate::error::NativeError;
use crate::op::{AttrValue, Op, OpFlags};

/// An `mlx_stream` owned by this value.
pub(crate) struct StreamHandle {
    raw: sys::mlx_stream,
}

/// An `mlx_device` that lives for one call.
pub(super) struct DeviceHandle(sys::mlx_device);

impl DeviceHandle {
    pub(super) fn raw(&self) -> sys::mlx_device {
        self.0
    }
}

impl Drop for DeviceHandle {
    fn drop(&mut self) {
        if let Some(api) = loaded_to_free() {
            // SAFETY: this value owns the device, and nothing uses it after this.
            let _ = unsafe { api.mlx_device_free(self.0) };
        }
    }
}

pub(super) fn device(gpu: bool) -> Result<DeviceHandle, NativeError> {
    let kind = if gpu {
        sys::mlx_device_type__MLX_GPU
    } else {
        sys::mlx_device_type__MLX_CPU
    };
    // SAFETY: takes plain values; the new device is owned by the returned value.
    Ok(DeviceHandle(unsafe { api()?.mlx_device_new_type(kind, 0) }))
}

impl StreamHandle {
    /// Returns a new stream, which keeps a thread (CPU, given to others when this thread has ended) or a queue (GPU).
    pub(crate) fn new(gpu: bool) -> Result<Self, NativeError> {
        let (api, device) = (api()?, device(gpu)?);
        let mut raw = sys::mlx_stream {
            ctx: std::ptr::null_mut(),
        };
        // SAFETY: the device is alive for the call; the slot is empty, so a new handle is made and owned by us.
        let status = unsafe { api.mlx_native_stream_new(&mut raw, device.0) };
        check(api, status)?;
        Ok(Self { raw })
    }

    /// Returns this thread's default stream of a device.
    pub(crate) fn default_of(gpu: bool) -> Result<Self, NativeError> {
        let (api, device) = (api()?, device(gpu)?);
        let mut raw = sys::mlx_stream {
            ctx: std::ptr::null_mut(),
        };
        // SAFETY: the device is alive for the call; the slot is empty, so a new handle is made and owned by us.
        let status = unsafe { api.mlx_get_default_stream(&mut raw, device.0) };
        check(api, status)?;
        Ok(Self { raw })
    }

    /// Returns a handle of our own to the stream that this thread's operations go to.
    pub(crate) fn current() -> Result<Self, NativeError> {
        let (api, current) = (api()?, current()?);
        let mut raw = sys::mlx_stream {
            ctx: std::ptr::null_mut(),
        };
        // SAFETY: `current` is alive until the scope changes, which only this thread does; the slot is empty.
        let status = unsafe { api.mlx_stream_set(&mut raw, current) };
        check(api, status)?;
        Ok(Self { raw })
    }

    pub(crate) fn raw(&self) -> sys::mlx_stream {
        self.raw
    }

    pub(crate) fn is_gpu(&self) -> bool {
        is_gpu(self.raw)
    }

    pub(crate) fn index(&self) -> Result<i32, NativeError> {
        let api = api()?;
        let mut out: c_int = 0;
        // SAFETY: the stream is alive, `out` is a local int.
        let status = unsafe { api.mlx_stream_get_index(&mut out, self.raw) };
        check(api, status)?;
        Ok(out)
    }

    /// Waits until everything given to this stream is done.
    pub(crate) fn synchronize(&self) -> Result<(), NativeError> {
        let api = api()?;
        // SAFETY: the stream is alive for the call.
        let status = unsafe { api.mlx_native_synchronize(self.raw) };
        check(api, status)
    }

    /// Makes this the stream of this thread until the matching [`pop`].
    pub(crate) fn push(&self) -> Result<(), NativeError> {
        let api = api()?;
        // SAFETY: the stream is alive for the call, and C keeps a copy of its own.
        let status = unsafe { api.mlx_native_stream_push(self.raw) };
        check(api, status)
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        if !self.raw.ctx.is_null()
            && let Some(api) = loaded_to_free()
        {
            // SAFETY: this value owns the handle; the stream itself belongs to MLX and stays.
            let _ = unsafe { api.mlx_stream_free(self.raw) };
        }
    }
}

/// Ends the innermost scope of this thread.
pub(crate) fn pop() {
    // SAFETY: only takes the innermost scope off this thread's stack; nothing happens when there is none.
    unsafe { loaded().mlx_native_stream_pop() };
}

/// Returns the stream that operations of this thread go to, borrowed until the scope changes.
pub(crate) fn current() -> Result<sys::mlx_stream, NativeError> {
    let api = api()?;
    // SAFETY: takes nothing; the handle belongs to the native library's thread-local storage.
    let raw = unsafe { api.mlx_native_stream() };
    if raw.ctx.is_null() {
        return Err(super::call::take_error(api));
    }
    Ok(raw)
}

/// The stream that an operation goes to.
pub(crate) enum StreamOf {
    /// That of the thread, borrowed.
    Current(sys::mlx_stream),
    /// The CPU's default, for what runs nowhere else.
    Cpu(StreamHandle),
}

impl StreamOf {
    /// Returns this thread's stream, or the CPU's when that one is a GPU's and the operation is computed on the CPU only.
    pub(crate) fn op(op: &Op) -> Result<Self, NativeError> {
        let current = current()?;
        let is_norm_of_singular_values = match op {
            Op::Norm { ord, axes, .. } => axes.len() == 2 && ord.abs() == 2.0,
            Op::NormMatrix { ord, .. } => ord.to_string() == "nuc",
            _ => false,
        };
        let only_cpu = op.flags().contains(OpFlags::CPU_ONLY)
            || is_norm_of_singular_values
            || op.is_rounded_range()
            || (op.flags().contains(OpFlags::COMMUNICATES) && !communicates_on_gpu(op));
        if only_cpu && is_gpu(current) {
            return StreamHandle::default_of(false).map(Self::Cpu);
        }
        Ok(Self::Current(current))
    }

    pub(crate) fn raw(&self) -> sys::mlx_stream {
        match self {
            Self::Current(raw) => *raw,
            Self::Cpu(stream) => stream.raw(),
        }
    }
}

/// Returns whether the group of a communication is of a backend that works on a GPU's stream.
fn communicates_on_gpu(op: &Op) -> bool {
    let group = op.attrs().into_iter().find(|(name, _)| *name == "group");
    matches!(group, Some((_, AttrValue::Text(name))) if name.starts_with("nccl"))
}

/// Returns whether a stream runs on a GPU.
pub(crate) fn is_gpu(stream: sys::mlx_stream) -> bool {
    // SAFETY: the stream is alive for the call.
    unsafe { loaded().mlx_native_stream_is_gpu(stream) }
}

/// Returns whether a stream runs on an NVIDIA GPU.
pub(crate) fn is_cuda(stream: sys::mlx_stream) -> bool {
    is_gpu(stream) && sys::loaded().is_ok_and(|loaded| loaded.backend.is_cuda())
}

/// Returns whether a device of this kind is there.
pub(crate) fn is_available(gpu: bool) -> Result<bool, NativeError> {
    let (api, device) = (api()?, device(gpu)?);
    let mut out = false;
    // SAFETY: the device is alive for the call, `out` is a local bool.
    let status = unsafe { api.mlx_device_is_available(&mut out, device.0) };
    check(api, status)?;
    Ok(out)
}
