//! How much work MLX's CUDA backend gathers in one graph before it launches it.
//!
//! MLX reads both limits from the environment when it makes its first stream. Its own defaults follow the chip; where
//! another pair was measured to be faster, it is set here before MLX is loaded, unless the user has set either.

use std::ffi::{c_int, c_uint};
use std::path::Path;

use mlx_provision::backend::Backend;
use mlx_provision::environment::{MAX_MB_PER_BUFFER, MAX_OPS_PER_BUFFER, value};

use crate::open::{Names, open};

/// The limits of one CUDA graph, and who has set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Kernels in a graph; `None` is MLX's choice.
    pub operations: Option<String>,
    /// Elements (in spite of its name) that kernels of a graph read, in 2^20; `None` is MLX's choice.
    pub megabytes: Option<String>,
    /// Who has set them, for people.
    pub why: &'static str,
}

/// The measured pair for a compute capability.
///
/// 9.0 (H200, decoding with 0.6 billion weights, tokens a second, eager and compiled): 20 operations 193 and 152; MLX's
/// defaults, 100 and 1000, 134 to 161 and 78 to 107. Without a limit of elements, large operations without an order
/// between them run at the same time, and a product of 512 x 4096 x 14336 takes 0.137 ms, not 0.109.
fn measured(capability: (c_int, c_int)) -> Option<(&'static str, &'static str)> {
    (capability == (9, 0)).then_some(("20", "1000"))
}

/// Sets the limits for the first GPU; `None` for a build without CUDA.
pub(crate) fn set(backend: Backend) -> Option<Budgets> {
    if !backend.is_cuda() {
        return None;
    }
    let given = |name| value(name).map(|text| text.to_string_lossy().into_owned());
    let (operations, megabytes) = (given(MAX_OPS_PER_BUFFER), given(MAX_MB_PER_BUFFER));
    let why = match (&operations, &megabytes) {
        (None, None) => match capability().and_then(measured) {
            Some((operations, megabytes)) => {
                // SAFETY: this is called once, while the libraries are loaded, under Rust's lock of the environment; MLX,
                // the only reader in C++, is not loaded yet.
                unsafe {
                    std::env::set_var(MAX_OPS_PER_BUFFER, operations);
                    std::env::set_var(MAX_MB_PER_BUFFER, megabytes);
                }
                return Some(Budgets {
                    operations: Some(operations.to_owned()),
                    megabytes: Some(megabytes.to_owned()),
                    why: "measured for this chip",
                });
            }
            None => "MLX's own for this chip",
        },
        _ => "from the environment",
    };
    Some(Budgets {
        operations,
        megabytes,
        why,
    })
}

/// The compute capability of the first GPU, from NVIDIA's driver.
fn capability() -> Option<(c_int, c_int)> {
    const MAJOR: c_int = 75;
    const MINOR: c_int = 76;
    type Init = unsafe extern "C" fn(c_uint) -> c_int;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let driver = open(Path::new("libcuda.so.1"), Names::Local).ok()?;
    // SAFETY: the driver's interface declares both functions so; `value` is a local int, device 0 the first.
    unsafe {
        let init = driver.get::<Init>(b"cuInit").ok()?;
        let attribute = driver.get::<Attribute>(b"cuDeviceGetAttribute").ok()?;
        let read = |which| {
            let mut value = 0;
            (attribute(&raw mut value, which, 0) == 0).then_some(value)
        };
        if init(0) != 0 {
            return None;
        }
        Some((read(MAJOR)?, read(MINOR)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cuda_has_budgets() {
        assert_eq!(set(Backend::Cpu), None);
        assert_eq!(set(Backend::Metal), None);
    }

    #[test]
    fn other_chips_keep_what_mlx_has_chosen() {
        assert_eq!(measured((9, 0)), Some(("20", "1000")));
        assert_eq!(measured((8, 0)), None);
        assert_eq!(measured((12, 0)), None);
    }
}
