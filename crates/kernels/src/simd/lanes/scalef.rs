//! Products with powers of two by AVX-512's `vscalefps`, which takes the exponents as numbers.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "pulp's trait has no such instruction")
)]

use pulp::Simd;

use super::Lanes;

impl<S: Simd> Lanes<S> {
    /// Whether these registers have the instruction. Their maximum and minimum are the second operand if either is NaN.
    pub(super) const HAS_SCALEF: bool = cfg!(target_arch = "x86_64") && size_of::<S::f32s>() == 64;

    /// `self * 2^n` for whole `n`, rounded once; without the instruction, `self`.
    #[inline(always)]
    pub(super) fn scalef(self, n: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::HAS_SCALEF {
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
