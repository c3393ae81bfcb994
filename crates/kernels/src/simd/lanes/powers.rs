//! Products with powers of two, by the instruction of AVX-512 that takes the exponents as numbers.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "pulp's trait has no such product")
)]

use pulp::Simd;

use super::Lanes;

impl<S: Simd> Lanes<S> {
    /// Whether these registers have the instruction. They take the second of two numbers for the larger or smaller one if
    /// either is not a number.
    pub(super) const SCALES: bool = cfg!(target_arch = "x86_64") && size_of::<S::f32s>() == 64;

    /// `self * 2^n` for whole `n`, rounded once; without the instruction, `self`.
    #[inline(always)]
    pub(super) fn times_power_of_two(self, n: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::SCALES {
            use pulp::bytemuck::cast;
            // SAFETY: on x86-64, a register of 64 bytes comes only with a proof of AVX-512.
            let product =
                unsafe { std::arch::x86_64::_mm512_scalef_ps(cast(self.value), cast(n.value)) };
            return Self::new(self.simd, cast(product));
        }
        let _ = n;
        self
    }
}
