//! Whether kernels of the CPU backend run here.

use mlx::Device;

/// Whether groups of operations become kernels: on the CPU, unless `MLX_HOST_KERNELS` switches them off.
pub fn are_used() -> bool {
    mlx::cpu::are_kernels_enabled() && matches!(Device::current(), Ok(Device::Cpu))
}
