//! Elementwise regions on the CPU: the body of a region as one host kernel.
//!
//! [`translate`] makes a program of `mlx_kernels` from a body, if every operation in it has a step and every dtype a form;
//! [`kernel`] makes an operation of MLX of both: the program runs on the CPU, the body is replayed for gradients, `vmap`
//! and other devices.

mod kernel;
mod translate;

pub(crate) use kernel::kernel;
pub(crate) use translate::supports;

/// Whether host kernels may be used in this process: unless `MLX_HOST_KERNELS` is `0`.
pub(crate) fn host_kernels() -> bool {
    static ALLOWED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ALLOWED.get_or_init(|| std::env::var_os("MLX_HOST_KERNELS").is_none_or(|value| value != "0"))
}
