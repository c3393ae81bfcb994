//! What a test needs of the device, in one table of reasons.

/// Leaves a test where the device that operations go to lacks what the test needs, and says why.
///
/// The reason is printed after `skipped: `, by which `cargo xtask suite` counts the test as skipped. A test that returns
/// a `Result` names the value to return. It is used in crates that depend on `mlx`.
///
/// | Need | Lacks it |
/// | --- | --- |
/// | `Float64` | a GPU: there are no doubles |
/// | `Float64 if dtype` | a GPU, when the dtype is `float64` |
/// | `CpuKernels` | a GPU: the test is of kernels that compute on the CPU |
/// | `ErrorsOfValues` | a GPU: what depends on computed values (an index, a matrix without inverse) is no error there |
/// | `ForkWithoutGpu` | a GPU: what CUDA has mapped is not the same after a fork, in the parent neither |
/// | `CpuMemory` | a GPU: its allocator has other limits and counters |
/// | `CudaKernels` | every device but an NVIDIA GPU on which this workspace's kernels compute |
/// | `Sources` | a machine without the sources of this workspace |
///
/// ```ignore
/// #[test]
/// fn doubles_keep_their_digits() -> mlx::Result<()> {
///     needs!(Float64, Ok(()));
///     Ok(())
/// }
/// ```
#[macro_export]
macro_rules! needs {
    (Float64 $(, $value:expr)?) => {
        $crate::needs!(@gpu "float64: GPUs have none" $(, $value)?)
    };
    (Float64 if $dtype:expr $(, $value:expr)?) => {
        if $dtype == mlx::Dtype::Float64 {
            $crate::needs!(Float64 $(, $value)?);
        }
    };
    (CpuKernels $(, $value:expr)?) => {
        $crate::needs!(@gpu "it is about kernels that compute on the CPU" $(, $value)?)
    };
    (ErrorsOfValues $(, $value:expr)?) => {
        $crate::needs!(@gpu "a GPU reports no errors of computed values" $(, $value)?)
    };
    (ForkWithoutGpu $(, $value:expr)?) => {
        $crate::needs!(@gpu "a process that uses CUDA must not be forked" $(, $value)?)
    };
    (CpuMemory $(, $value:expr)?) => {
        $crate::needs!(@gpu "it is about the memory of the CPU" $(, $value)?)
    };
    (CudaKernels $(, $value:expr)?) => {
        if !mlx::Device::current().is_ok_and(|device| device == mlx::Device::Gpu)
            || !cfg!(target_os = "linux")
            || std::env::var("MLX_CUDA_KERNELS").is_ok_and(|switch| switch == "0")
        {
            eprintln!("skipped: it is about kernels that compute on an NVIDIA GPU");
            return $($value)?;
        }
    };
    (Sources $(, $value:expr)?) => {
        if !std::path::Path::new("src/lib.rs").is_file() {
            eprintln!("skipped: it reads the sources of this workspace");
            return $($value)?;
        }
    };
    (@gpu $reason:literal $(, $value:expr)?) => {
        if mlx::Device::current().is_ok_and(|device| device == mlx::Device::Gpu) {
            eprintln!(concat!("skipped: ", $reason));
            return $($value)?;
        }
    };
}
