//! Instructions of AVX-512 that other registers lack: `vscalefps`, which multiplies with powers of two, and `vrcp14ps`, an
//! approximate reciprocal.

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
    /// `self / divisor` for finite numbers whose quotient and reciprocal are normal, within 1 ulp: a division keeps the
    /// registers' only divider busy for as long as ten other instructions.
    #[inline(always)]
    pub(super) fn divide_fast(self, divisor: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if Self::HAS_SCALEF {
            use pulp::bytemuck::cast;
            // SAFETY: on x86-64, a register of 64 bytes comes only with a proof of AVX-512.
            let near = unsafe { std::arch::x86_64::_mm512_rcp14_ps(cast(divisor.value)) };
            let near = Self::new(self.simd, cast(near));
            let quotient = self * near;
            // What the product lacks: the error of the reciprocal is squared.
            let rest = quotient.mul_add(-divisor, self);
            return rest.mul_add(near, quotient);
        }
        self / divisor
    }
}
