//! Where work runs and in what order: devices, streams, and scopes that choose them.

use std::fmt;
use std::rc::Rc;

use crate::error::WithOp;
use crate::ffi::device_info::{self, InfoValue};
use crate::ffi::stream::{self, StreamHandle};
use crate::{Error, Result};

/// What MLX says of a device: see [`device_info`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its name, `Apple M3 Max` for example.
    pub device_name: Option<String>,
    /// Its architecture, `arm64` or `applegpu_g15s` for example.
    pub architecture: Option<String>,
    /// The bytes of its memory.
    pub memory_size: Option<usize>,
    /// The bytes that MLX recommends to use at most, for [`set_wired_limit`](crate::memory::set_wired_limit).
    pub max_recommended_working_set_size: Option<usize>,
    /// The most bytes that one array may take.
    pub max_buffer_length: Option<usize>,
}

/// Returns what MLX knows of a device; what its backend does not say is `None`.
///
/// # Errors
/// When there is no such device.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let cpu = mlx::device_info(mlx::Device::Cpu)?;
/// assert!(cpu.architecture.is_some());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn device_info(device: Device) -> Result<DeviceInfo> {
    let mut values = device_info::info(device == Device::Gpu).with_op("device_info")?;
    let mut text = |key: &str| match values.remove(key) {
        Some(InfoValue::Text(text)) => Some(text),
        _ => None,
    };
    let (device_name, architecture) = (text("device_name"), text("architecture"));
    let mut number = |key: &str| match values.remove(key) {
        Some(InfoValue::Number(number)) => Some(number),
        _ => None,
    };
    Ok(DeviceInfo {
        device_name,
        architecture,
        memory_size: number("memory_size").or_else(|| number("total_memory")),
        max_recommended_working_set_size: number("max_recommended_working_set_size"),
        max_buffer_length: number("max_buffer_length"),
    })
}

/// Returns how many devices of a kind MLX knows.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn device_count(device: Device) -> Result<usize> {
    device_info::count(device == Device::Gpu).with_op("device_count")
}

/// Returns the device this thread's operations go to: [`Device::current`].
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn default_device() -> Result<Device> {
    Device::current()
}

/// Returns the stream that a device's operations go to on this thread: [`Stream::default_of`].
///
/// # Errors
/// When the device is not there.
#[track_caller]
pub fn default_stream(device: Device) -> Result<Stream> {
    Stream::default_of(device)
}

/// Sets the device that operations of all threads go to where no [`with_device`] or [`with_stream`] says otherwise.
///
/// # Errors
/// When the device is not there.
#[track_caller]
pub fn set_default_device(device: Device) -> Result<()> {
    if !device.is_available()? {
        let text = format!("wanted a device of this machine, got {device}");
        return Err(Error::op("set_default_device", text));
    }
    device_info::set_default(device == Device::Gpu).with_op("set_default_device")
}

/// A kind of processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// The GPU of the backend in use: Metal or CUDA.
    Gpu,
}

impl Device {
    /// [`Device::Cpu`], as a call.
    pub const fn cpu() -> Self {
        Self::Cpu
    }

    /// [`Device::Gpu`], as a call.
    pub const fn gpu() -> Self {
        Self::Gpu
    }

    /// Returns whether this machine and the loaded MLX have such a device.
    ///
    /// # Errors
    /// When the native libraries could not be loaded.
    #[track_caller]
    pub fn is_available(self) -> Result<bool> {
        stream::is_available(self == Device::Gpu).with_op("device")
    }

    /// Returns the device this thread's operations go to.
    ///
    /// # Errors
    /// When the native libraries could not be loaded.
    #[track_caller]
    pub fn current() -> Result<Self> {
        let stream = stream::current().with_op("device")?;
        Ok(if stream::is_gpu(stream) {
            Device::Gpu
        } else {
            Device::Cpu
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
        })
    }
}

/// An order of work on a device. Belongs to the thread that made it, so it is neither `Send` nor `Sync`.
///
/// Each new stream keeps a thread (CPU) or a queue (GPU) for the life of the process, so make few; scopes never
/// make one.
///
/// ```compile_fail,E0277
/// let stream = mlx::Stream::new(mlx::Device::Cpu).unwrap();
/// std::thread::spawn(move || stream.synchronize()); // the trait `Send` is not implemented
/// ```
#[derive(Clone)]
pub struct Stream {
    handle: Rc<StreamHandle>,
}

impl Stream {
    /// Returns a new stream.
    ///
    /// # Errors
    /// When the device is not there.
    #[track_caller]
    pub fn new(device: Device) -> Result<Self> {
        Self::wrap(StreamHandle::new(device == Device::Gpu))
    }

    /// Returns this thread's default stream of a device.
    ///
    /// # Errors
    /// When the device is not there.
    #[track_caller]
    pub fn default_of(device: Device) -> Result<Self> {
        Self::wrap(StreamHandle::default_of(device == Device::Gpu))
    }

    /// Returns the stream this thread's operations go to.
    ///
    /// # Errors
    /// When the native libraries could not be loaded.
    #[track_caller]
    pub fn current() -> Result<Self> {
        Self::wrap(StreamHandle::current())
    }

    #[track_caller]
    fn wrap(handle: std::result::Result<StreamHandle, crate::ffi::NativeError>) -> Result<Self> {
        let handle = handle.with_op("stream")?;
        Ok(Self {
            handle: Rc::new(handle),
        })
    }

    /// Returns the device this stream works on.
    pub fn device(&self) -> Device {
        if self.handle.is_gpu() {
            Device::Gpu
        } else {
            Device::Cpu
        }
    }

    /// Returns MLX's number of this stream.
    ///
    /// # Errors
    /// When MLX does not know it any more.
    #[track_caller]
    pub fn index(&self) -> Result<i32> {
        self.handle.index().with_op("stream")
    }

    /// Waits until everything given to this stream is done.
    ///
    /// # Errors
    /// When something on it failed.
    #[track_caller]
    pub fn synchronize(&self) -> Result<()> {
        self.handle.synchronize().with_op("synchronize")
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.handle.index().unwrap_or(-1);
        write!(f, "Stream({}, {index})", self.device())
    }
}

/// Runs `work` with this thread's operations going to `stream`.
///
/// # Errors
/// When the stream is not usable; otherwise whatever `work` returns is in `Ok`.
#[track_caller]
pub fn with_stream<T>(stream: &Stream, work: impl FnOnce() -> T) -> Result<T> {
    stream.handle.push().with_op("with_stream")?;
    let _scope = Scope;
    Ok(work())
}

/// Runs `work` with this thread's operations going to its default stream of `device`.
///
/// # Errors
/// When the device is not there; otherwise whatever `work` returns is in `Ok`.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// let y = mlx::with_device(mlx::Device::Cpu, || mlx::Array::new([1.0_f32, 2.0]).exp())?;
/// # y.eval()
/// # }
/// ```
#[track_caller]
pub fn with_device<T>(device: Device, work: impl FnOnce() -> T) -> Result<T> {
    with_stream(&Stream::default_of(device)?, work)
}

/// Ends the innermost scope, also when the work panics.
struct Scope;

impl Drop for Scope {
    fn drop(&mut self) {
        stream::pop();
    }
}
