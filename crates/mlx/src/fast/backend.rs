//! Which implementation a fused call uses on this device: one kernel, MLX's composition, or a Rust function.

use std::cell::RefCell;
use std::fmt;

use super::attention::{AttentionOptions, scaled_dot_product_attention_with};
use super::{RopeOptions, cross_entropy, layer_norm, rms_norm, rope};
use crate::cpu::HOST_PREFIX;
use crate::error::WithOp;
use crate::ffi::inspect;
use crate::local::with_local;
use crate::{Array, Dtype, Error, Result, zeros, zeros_with};

/// What computes the result of a fused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// One kernel of the device.
    Fused,
    /// Several of MLX's plain operations: no kernel fits this device, shape or dtype.
    Composed,
    /// A Rust function on the CPU: a kernel of this workspace, or one made by [`host_kernel`](super::host_kernel).
    Host,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Fused => "fused",
            Backend::Composed => "composed",
            Backend::Host => "host",
        })
    }
}

/// One of the fused functions of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FastOp {
    /// [`rms_norm`].
    RmsNorm,
    /// [`layer_norm`].
    LayerNorm,
    /// [`rope`].
    Rope,
    /// [`fast::scaled_dot_product_attention`](super::scaled_dot_product_attention).
    ScaledDotProductAttention,
    /// [`cross_entropy`].
    CrossEntropy,
}

impl FastOp {
    /// All of them.
    pub const ALL: [FastOp; 5] = [
        FastOp::RmsNorm,
        FastOp::LayerNorm,
        FastOp::Rope,
        FastOp::ScaledDotProductAttention,
        FastOp::CrossEntropy,
    ];

    /// Returns the function's name.
    pub fn name(self) -> &'static str {
        match self {
            FastOp::RmsNorm => "rms_norm",
            FastOp::LayerNorm => "layer_norm",
            FastOp::Rope => "rope",
            FastOp::ScaledDotProductAttention => "scaled_dot_product_attention",
            FastOp::CrossEntropy => "cross_entropy",
        }
    }
}

impl fmt::Display for FastOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Primitives that are kernels of a device, MLX's and those of CUDA kernels of our own, made by this module's functions.
const FUSED: [&str; 10] = [
    "RMSNorm",
    "LayerNorm",
    "RoPE",
    "ScaledDotProductAttention",
    "CrossEntropy",
    "CustomKernel",
    "Gelu",
    "GeluApprox",
    "Silu",
    "SwiGlu",
];

/// Returns what will compute `array`: of its last operation, not of those before. Nothing runs.
///
/// Of a traced array, what MLX would do on this thread's device. A call with an array mask may end in a plain
/// operation after the kernel; [`trace_backends`] reports the kernel itself.
///
/// # Errors
/// When the array could not be built, or has been computed already, so that MLX no longer knows how.
///
/// ```
/// use mlx::fast::{self, Backend};
///
/// # fn main() -> mlx::Result<()> {
/// let y = fast::rms_norm(&mlx::array!([1.0, 2.0]), None, 1e-5);
/// let backend = fast::backend(&y)?;
/// # if mlx::Device::current()? == mlx::Device::Cpu && cfg!(target_os = "linux") {
/// assert_eq!(backend, Backend::Host);
/// # }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn backend(array: &Array) -> Result<Backend> {
    let name = inspect::primitive_name(array.typed()?).with_op("fast.backend")?;
    if name.is_empty() {
        let message = "the array has been computed, ask before eval";
        return Err(Error::op("fast.backend", message));
    }
    Ok(if FUSED.contains(&name.as_str()) {
        Backend::Fused
    } else if name.starts_with(HOST_PREFIX) {
        Backend::Host
    } else {
        Backend::Composed
    })
}

/// Returns what computes a typical call of `op` on this thread's device. Nothing runs.
///
/// Attention is called with `force_fused`, by which MLX tells whether it has a kernel.
///
/// # Errors
/// When the native libraries could not be loaded.
#[track_caller]
pub fn probe(op: FastOp) -> Result<Backend> {
    let x = zeros([1, 8, 128, 64]);
    let (result, taken) = trace_backends(|| match op {
        FastOp::RmsNorm => rms_norm(&x, None, 1e-5),
        FastOp::LayerNorm => layer_norm(&x, None, None, 1e-5),
        FastOp::Rope => rope(&x, &RopeOptions::default()),
        FastOp::CrossEntropy => cross_entropy(&x, &zeros_with([1, 8, 128], Dtype::Int32)),
        FastOp::ScaledDotProductAttention => {
            let options = AttentionOptions {
                force_fused: true,
                ..Default::default()
            };
            let forced = scaled_dot_product_attention_with(&x, &x, &x, &options);
            match forced.error() {
                Some(Error::Library(_)) | None => forced,
                Some(_) => scaled_dot_product_attention_with(&x, &x, &x, &Default::default()),
            }
        }
    });
    if let Some(error) = result.error() {
        return Err(error.clone());
    }
    // One call, one backend: a call that failed has been reported above.
    Ok(taken
        .last()
        .map_or(Backend::Composed, |&(_, backend)| backend))
}

thread_local! {
    static TRACED: RefCell<Vec<Vec<(FastOp, Backend)>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` and returns, besides its result, each fused call that it made on this thread and what computes it.
///
/// Calls that failed, and those answered without a kernel because they are empty, are not listed.
///
/// ```
/// use mlx::fast::{self, FastOp};
///
/// # fn main() -> mlx::Result<()> {
/// let x = mlx::array!([1.0, 2.0]);
/// let (y, calls) = fast::trace_backends(|| fast::rms_norm(&x, None, 1e-5));
/// assert_eq!(calls.len(), 1);
/// assert_eq!(calls[0].0, FastOp::RmsNorm);
/// # y.eval()
/// # }
/// ```
pub fn trace_backends<T>(work: impl FnOnce() -> T) -> (T, Vec<(FastOp, Backend)>) {
    /// Ends the innermost trace, also when the work panics.
    struct Trace;
    impl Drop for Trace {
        fn drop(&mut self) {
            with_local(&TRACED, |traced| traced.pop());
        }
    }
    with_local(&TRACED, |traced| traced.push(Vec::new()));
    let trace = Trace;
    let result = work();
    let taken = with_local(&TRACED, |traced| traced.last_mut().map(std::mem::take));
    drop(trace);
    (result, taken.unwrap_or_default())
}

/// Records what computes this result of a fused operation, for [`trace_backends`], and returns it.
pub(super) fn record_backend(op: FastOp, result: Array) -> Array {
    with_local(&TRACED, |traced| {
        if traced.is_empty() {
            return;
        }
        if let Ok(backend) = backend(&result) {
            traced
                .iter_mut()
                .for_each(|calls| calls.push((op, backend)));
        }
    });
    result
}

/// Renamed to [`FastOp`].
#[deprecated(note = "renamed to FastOp")]
pub type Kernel = FastOp;

/// Renamed to [`Backend`].
#[deprecated(note = "renamed to Backend")]
pub type Path = Backend;

/// Renamed to [`backend`].
///
/// # Errors
/// As [`backend`].
#[deprecated(note = "renamed to backend")]
#[track_caller]
pub fn path(array: &Array) -> Result<Backend> {
    backend(array)
}

/// Renamed to [`trace_backends`].
#[deprecated(note = "renamed to trace_backends")]
pub fn watch<T>(work: impl FnOnce() -> T) -> (T, Vec<(FastOp, Backend)>) {
    trace_backends(work)
}
