//! Which vector instructions run: chosen once, when the first kernel is called.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

/// The instruction set in use: `avx512`, `avx2`, `neon` or `scalar`.
pub fn instruction_set() -> &'static str {
    match arch() {
        Arch::Scalar => "scalar",
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Arch::V3(_) => "avx2",
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Arch::V4(_) => "avx512",
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => "neon",
        _ => "other",
    }
}

/// Whether products of `bf16` use the processor's matrix tiles (AMX): where it has them, the system gives permission, and
/// `MLX_KERNELS_SIMD` does not name an instruction set without them.
pub fn has_matrix_tiles() -> bool {
    super::amx::is_available()
}

/// The best instruction set of this machine, or a lesser one if `MLX_KERNELS_SIMD` names it (`avx512` without matrix tiles,
/// `avx2`, `scalar`).
pub(crate) fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(|| match std::env::var("MLX_KERNELS_SIMD").as_deref() {
        Ok("scalar") => Arch::Scalar,
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        Ok("avx2") => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        _ => Arch::new(),
    })
}

/// Whether `MLX_KERNELS_SIMD` leaves AVX-512 in use and does not name it, so that matrix tiles may be used beside it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn may_use_tiles() -> bool {
    let names_avx512 = std::env::var("MLX_KERNELS_SIMD").is_ok_and(|name| name == "avx512");
    matches!(arch(), Arch::V4(_)) && !names_avx512
}

/// Runs `op` compiled for the instruction set in use.
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    arch().dispatch(op)
}

/// Runs `op` compiled for AVX-512, which every processor with matrix tiles has; `None` where that is not in use.
///
/// What runs beside tiles only need not be compiled for anything else.
pub(crate) fn dispatch_beside_tiles<Op: WithSimd>(op: Op) -> Option<Op::Output> {
    match arch() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => Some(Simd::vectorize(simd, op)),
        _ => {
            drop(op);
            None
        }
    }
}

/// How many `f32` a register of the instruction set in use holds.
pub(crate) fn f32_lanes() -> usize {
    struct F32Lanes;

    impl WithSimd for F32Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }

    dispatch(F32Lanes)
}
