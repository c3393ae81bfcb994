//! How much further from the exact result a device may be than the CPU: one table for all tests.

/// Returns what a test's tolerance is multiplied by on the device that operations go to: see [`slack`](crate::slack()).
///
/// ```ignore
/// assert!(worst < 1e-5 * slack!());
/// ```
#[macro_export]
macro_rules! slack {
    () => {
        $crate::slack(mlx::Device::current().is_ok_and(|device| device == mlx::Device::Gpu))
    };
}

/// Returns what a test's tolerance is multiplied by, on a GPU or on the CPU.
///
/// | Device | Factor | Why |
/// | --- | --- | --- |
/// | CPU | 1 | tolerances are written for it |
/// | GPU | 16 | sums in another order, and functions that are right to some units in the last place |
/// | GPU with TF32 (`MLX_ENABLE_TF32` is not 0) | 2048 | factors of products have 10 bits in the place of 23 |
///
/// `cargo xtask suite` switches TF32 off.
pub fn slack(is_gpu: bool) -> f64 {
    let has_tf32 = std::env::var("MLX_ENABLE_TF32").map_or(true, |value| value != "0");
    match is_gpu {
        true if has_tf32 => 2048.0,
        true => 16.0,
        false => 1.0,
    }
}
