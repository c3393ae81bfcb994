//! Whether compiled functions compile: a switch of the process, for finding out where a result comes from.

use std::sync::atomic::{AtomicBool, Ordering};

static ENABLED: AtomicBool = AtomicBool::new(true);

/// Makes functions of [`jit`](crate::jit()) compile again, after [`disable_compile`]: Python's `mx.enable_compile`.
pub fn enable_compile() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Makes calls of functions of [`jit`](crate::jit()) call the functions themselves: Python's `mx.disable_compile`.
///
/// It is for the whole process, and for calls; what has been compiled is kept. Stages (`trace`, `lower`, `compile`) work
/// as before.
///
/// ```
/// # fn main() -> Result<(), mlx_compiler::Error> {
/// use mlx_compiler::{disable_compile, enable_compile, jit};
/// let double = jit(|x: &mlx::Array| x * 2.0);
/// disable_compile();
/// assert_eq!(double(&mlx::array!(2.0))?.item::<f32>()?, 4.0);
/// assert_eq!(double.stats().misses, 0);
/// enable_compile();
/// double(&mlx::array!(2.0))?;
/// assert_eq!(double.stats().misses, 1);
/// # Ok(())
/// # }
/// ```
pub fn disable_compile() {
    ENABLED.store(false, Ordering::Relaxed);
}

pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}
