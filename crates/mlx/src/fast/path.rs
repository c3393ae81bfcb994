//! Which path a fused call takes on this device: one kernel, MLX's composition, or a Rust function.

use std::cell::RefCell;
use std::fmt;

use super::attention::{AttentionOptions, scaled_dot_product_attention};
use super::{RopeOptions, cross_entropy, layer_norm, rms_norm, rope};
use crate::cpu::HOST_PREFIX;
use crate::error::Named;
use crate::ffi::inspect;
use crate::local::with_local;
use crate::{Array, Dtype, Error, Result, zeros};

/// What computes the result of a fused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// One kernel of the device.
    Fused,
    /// Several of MLX's plain operations: no kernel fits this device, shape or dtype.
    Composed,
    /// A Rust function on the CPU: a kernel of this workspace, or one made by [`host_kernel`](super::host_kernel).
    Host,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Path::Fused => "fused",
            Path::Composed => "composed",
            Path::Host => "host",
        })
    }
}

/// One of the fused functions of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kernel {
    /// [`rms_norm`].
    RmsNorm,
    /// [`layer_norm`].
    LayerNorm,
    /// [`rope`].
    Rope,
    /// [`scaled_dot_product_attention`].
    ScaledDotProductAttention,
    /// [`cross_entropy`].
    CrossEntropy,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Kernel; 5] = [
        Kernel::RmsNorm,
        Kernel::LayerNorm,
        Kernel::Rope,
        Kernel::ScaledDotProductAttention,
        Kernel::CrossEntropy,
    ];

    /// Returns the function's name.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::RmsNorm => "rms_norm",
            Kernel::LayerNorm => "layer_norm",
            Kernel::Rope => "rope",
            Kernel::ScaledDotProductAttention => "scaled_dot_product_attention",
            Kernel::CrossEntropy => "cross_entropy",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// MLX's primitives that are kernels of a device, made by this module's functions.
const FUSED: [&str; 6] = [
    "RMSNorm",
    "LayerNorm",
    "RoPE",
    "ScaledDotProductAttention",
    "CrossEntropy",
    "CustomKernel",
];

/// Returns what will compute `array`: of its last operation, not of those before. Nothing runs.
///
/// Of a traced array, what MLX would do on this thread's device. A call with an array mask may end in a plain
/// operation after the kernel; [`watch`] looks at the kernel itself.
///
/// # Errors
/// When the array could not be built, or has been computed already, so that MLX has forgotten how.
///
/// ```
/// use mlx::fast::{self, Path};
///
/// # fn main() -> mlx::Result<()> {
/// let y = fast::rms_norm(&mlx::array!([1.0, 2.0]), None, 1e-5);
/// let path = fast::path(&y)?;
/// # if mlx::Device::current()? == mlx::Device::Cpu && cfg!(target_os = "linux") {
/// assert_eq!(path, Path::Host);
/// # }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn path(array: &Array) -> Result<Path> {
    let name = inspect::primitive_name(array.typed()?).named("fast.path")?;
    if name.is_empty() {
        let message = "the array has been computed, ask before eval";
        return Err(Error::op("fast.path", message));
    }
    Ok(if FUSED.contains(&name.as_str()) {
        Path::Fused
    } else if name.starts_with(HOST_PREFIX) {
        Path::Host
    } else {
        Path::Composed
    })
}

/// Returns which path a typical call of `kernel` takes on this thread's device. Nothing runs.
///
/// Attention is asked with `force_fused`, which is MLX's own word on whether a kernel is there.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn probe(kernel: Kernel) -> Result<Path> {
    let x = zeros([1, 8, 128, 64], Dtype::Float32);
    let (result, taken) = watch(|| match kernel {
        Kernel::RmsNorm => rms_norm(&x, None, 1e-5),
        Kernel::LayerNorm => layer_norm(&x, None, None, 1e-5),
        Kernel::Rope => rope(&x, &RopeOptions::default()),
        Kernel::CrossEntropy => cross_entropy(&x, &zeros([1, 8, 128], Dtype::Int32)),
        Kernel::ScaledDotProductAttention => {
            let options = AttentionOptions {
                force_fused: true,
                ..Default::default()
            };
            let forced = scaled_dot_product_attention(&x, &x, &x, &options);
            match forced.error() {
                Some(Error::Library(_)) | None => forced,
                Some(_) => scaled_dot_product_attention(&x, &x, &x, &Default::default()),
            }
        }
    });
    if let Some(error) = result.error() {
        return Err(error.clone());
    }
    // One call, one path: a call that failed has been reported above.
    Ok(taken.last().map_or(Path::Composed, |&(_, path)| path))
}

thread_local! {
    static WATCHED: RefCell<Vec<Vec<(Kernel, Path)>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` and returns, besides its result, each fused call that it made on this thread and the path it took.
///
/// Calls that failed, and those answered without a kernel because they are empty, are not listed.
///
/// ```
/// use mlx::fast::{self, Kernel};
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([1.0, 2.0]);
/// let (y, calls) = fast::watch(|| fast::rms_norm(&x, None, 1e-5));
/// assert_eq!(calls.len(), 1);
/// assert_eq!(calls[0].0, Kernel::RmsNorm);
/// # y.eval()
/// # }
/// ```
pub fn watch<T>(work: impl FnOnce() -> T) -> (T, Vec<(Kernel, Path)>) {
    /// Ends the innermost watch, also when the work panics.
    struct Watch;
    impl Drop for Watch {
        fn drop(&mut self) {
            with_local(&WATCHED, |watched| watched.pop());
        }
    }
    with_local(&WATCHED, |watched| watched.push(Vec::new()));
    let watch = Watch;
    let result = work();
    let taken = with_local(&WATCHED, |watched| watched.last_mut().map(std::mem::take));
    drop(watch);
    (result, taken.unwrap_or_default())
}

/// Notes for whoever watches which path this result of a fused operation takes, and returns it.
pub(super) fn took(kernel: Kernel, result: Array) -> Array {
    with_local(&WATCHED, |watched| {
        if watched.is_empty() {
            return;
        }
        if let Ok(path) = path(&result) {
            watched
                .iter_mut()
                .for_each(|calls| calls.push((kernel, path)));
        }
    });
    result
}
