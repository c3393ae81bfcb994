//! Registers of `f32` that are loaded from half precision and stored to it: by the processor's instructions where
//! AVX-512 is in use, by shifts elsewhere. Stores round to the nearest, ties to even.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::f16_to_f32::{bf16_to_f32, f16_to_f32, f16_to_f32_by_shifts};
use super::f32_to_f16::{Bf16, F16, Format};
use super::lanes::Lanes;
use crate::simd;

/// The most `f32` of a register.
pub(crate) const MAX_LANES: usize = 16;

/// A half-precision type.
pub(crate) trait HalfLanes: Copy + Default {
    /// Loads as many values as a register has lanes.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S>;
    /// Stores a register.
    fn store<S: Simd>(value: Lanes<S>, to: &mut [Self]);

    /// Writes all values as `f32`, where registers have no form for that.
    fn widen_each(values: &[Self], out: &mut [f32]);

    /// Loads the first lanes; the others are 0.
    #[inline(always)]
    fn load_part<S: Simd>(simd: S, from: &[Self]) -> Lanes<S> {
        let mut all = [Self::default(); MAX_LANES];
        for (all, from) in all.iter_mut().zip(from) {
            *all = *from;
        }
        Self::load(simd, &all[..S::F32_LANES])
    }

    /// Stores the first lanes.
    #[inline(always)]
    fn store_part<S: Simd>(value: Lanes<S>, to: &mut [Self]) {
        let mut all = [Self::default(); MAX_LANES];
        Self::store(value, &mut all[..S::F32_LANES]);
        for (to, all) in to.iter_mut().zip(&all) {
            *to = *all;
        }
    }
}

/// Writes `values` as `f32`; both slices have the same length.
pub(crate) fn widen<T: HalfLanes>(values: &[T], out: &mut [f32]) {
    simd::dispatch(Widen { values, out });
}

struct Widen<'a, T> {
    values: &'a [T],
    out: &'a mut [f32],
}

impl<T: HalfLanes> WithSimd for Widen<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if size_of::<S::f32s>() != 64 {
            T::widen_each(self.values, self.out);
            return;
        }
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        let (values, tail) = self.values.split_at(out.len() * S::F32_LANES);
        for (out, values) in out.iter_mut().zip(values.chunks_exact(S::F32_LANES)) {
            *out = T::load(simd, values).value;
        }
        if !out_tail.is_empty() {
            simd.partial_store_f32s(out_tail, T::load_part(simd, tail).value);
        }
    }
}

impl HalfLanes for f16 {
    #[inline(always)]
    fn widen_each(values: &[Self], out: &mut [f32]) {
        f16_to_f32(values, out);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S> {
        #[cfg(target_arch = "x86_64")]
        if size_of::<S::f32s>() == 64
            && let Some(from) = from.first_chunk()
        {
            return Lanes::new(simd, x86::f16_to_f32::<S>(from));
        }
        load_each(simd, from, f16_to_f32_by_shifts)
    }

    #[inline(always)]
    fn store<S: Simd>(value: Lanes<S>, to: &mut [Self]) {
        #[cfg(target_arch = "x86_64")]
        if size_of::<S::f32s>() == 64
            && let Some(to) = to.first_chunk_mut()
        {
            *to = x86::f32_to_f16::<S>(value.value);
            return;
        }
        store_each::<S, F16>(value, to);
    }
}

impl HalfLanes for bf16 {
    #[inline(always)]
    fn widen_each(values: &[Self], out: &mut [f32]) {
        bf16_to_f32(values, out);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, from: &[Self]) -> Lanes<S> {
        #[cfg(target_arch = "x86_64")]
        if size_of::<S::f32s>() == 64
            && let Some(from) = from.first_chunk()
        {
            return Lanes::new(simd, x86::bf16_to_f32::<S>(from));
        }
        load_each(simd, from, |x| f32::from_bits(u32::from(x.to_bits()) << 16))
    }

    #[inline(always)]
    fn store<S: Simd>(value: Lanes<S>, to: &mut [Self]) {
        #[cfg(target_arch = "x86_64")]
        if size_of::<S::f32s>() == 64
            && let Some(to) = to.first_chunk_mut()
        {
            *to = x86::f32_to_bf16::<S>(value);
            return;
        }
        store_each::<S, Bf16>(value, to);
    }
}

#[inline(always)]
fn load_each<S: Simd, T: Copy>(simd: S, from: &[T], convert: impl Fn(T) -> f32) -> Lanes<S> {
    let mut values = [0.0; MAX_LANES];
    for (value, from) in values[..S::F32_LANES].iter_mut().zip(from) {
        *value = convert(*from);
    }
    Lanes::new(simd, simd.partial_load_f32s(&values[..S::F32_LANES]))
}

#[inline(always)]
fn store_each<S: Simd, F: Format>(value: Lanes<S>, to: &mut [F::Half]) {
    let mut values = [0.0; MAX_LANES];
    value
        .simd
        .partial_store_f32s(&mut values[..S::F32_LANES], value.value);
    for (to, value) in to.iter_mut().zip(&values[..S::F32_LANES]) {
        *to = F::from_f32(*value);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "pulp has no conversion of half precision")]

    use std::arch::x86_64::{
        __m256i, __m512i, _mm512_cvtepi32_epi16, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
        _mm512_cvtps_ph,
    };

    use half::{bf16, f16};
    use pulp::Simd;
    use pulp::bytemuck::cast;

    use super::Lanes;

    #[inline(always)]
    pub(super) fn f16_to_f32<S: Simd>(from: &[f16; 16]) -> S::f32s {
        let from: __m256i = cast(from.map(f16::to_bits));
        // SAFETY: a register of 64 bytes comes only with a proof of AVX-512F, which has the instruction.
        cast(unsafe { _mm512_cvtph_ps(from) })
    }

    #[inline(always)]
    pub(super) fn f32_to_f16<S: Simd>(value: S::f32s) -> [f16; 16] {
        const NEAREST: i32 = 8;
        // SAFETY: a register of 64 bytes comes only with a proof of AVX-512F, which has the instruction.
        let bits = unsafe { _mm512_cvtps_ph::<NEAREST>(cast(value)) };
        let bits: [u16; 16] = cast(bits);
        bits.map(f16::from_bits)
    }

    #[inline(always)]
    pub(super) fn bf16_to_f32<S: Simd>(simd_from: &[bf16; 16]) -> S::f32s {
        let from: __m256i = cast(simd_from.map(bf16::to_bits));
        // SAFETY: a register of 64 bytes comes only with a proof of AVX-512F, which has the instruction.
        let bits = unsafe { _mm512_cvtepu16_epi32(from) };
        let bits: [u32; 16] = cast(bits);
        cast(bits.map(|bits| bits << 16))
    }

    #[inline(always)]
    pub(super) fn f32_to_bf16<S: Simd>(value: Lanes<S>) -> [bf16; 16] {
        let s = value.simd;
        let bits = value.bits();
        let high = s.wrapping_dyn_shr_u32s(bits, s.splat_u32s(16));
        let odd = s.and_u32s(high, s.splat_u32s(1));
        let sum = s.add_u32s(bits, s.add_u32s(odd, s.splat_u32s(0x7fff)));
        let rounded = s.wrapping_dyn_shr_u32s(sum, s.splat_u32s(16));
        // Quiet, with the high bits of the payload.
        let nan = s.or_u32s(high, s.splat_u32s(0x40));
        let half = s.select_u32s(value.equal(value), rounded, nan);
        let half: __m512i = cast(half);
        // SAFETY: a register of 64 bytes comes only with a proof of AVX-512F, which has the instruction.
        let half = unsafe { _mm512_cvtepi32_epi16(half) };
        let half: [u16; 16] = cast(half);
        half.map(bf16::from_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads all halves in order and stores them again.
    struct Round<'a, T>(&'a [T], &'a mut [f32], &'a mut [T]);

    impl<T: HalfLanes> WithSimd for Round<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let n = S::F32_LANES;
            let single = self.1.chunks_exact_mut(n).zip(self.2.chunks_exact_mut(n));
            for (from, (single, back)) in self.0.chunks_exact(n).zip(single) {
                let value = T::load(simd, from);
                simd.partial_store_f32s(single, value.value);
                T::store(value, back);
            }
        }
    }

    #[test]
    fn every_half_is_loaded_and_stored_as_the_crate_half_does() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let (mut single, mut back) = (vec![0.0; 1 << 16], vec![f16::ZERO; 1 << 16]);
        simd::dispatch(Round(&halves, &mut single, &mut back));
        for ((half, single), back) in halves.iter().zip(single).zip(back) {
            let is_same = half.to_f32().to_bits() == single.to_bits() && *half == back;
            assert!(is_same || half.is_nan() && single.is_nan() && back.is_nan());
        }
        let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let (mut single, mut back) = (vec![0.0; 1 << 16], vec![bf16::ZERO; 1 << 16]);
        simd::dispatch(Round(&brains, &mut single, &mut back));
        for ((half, single), back) in brains.iter().zip(single).zip(back) {
            let is_same = half.to_f32().to_bits() == single.to_bits() && *half == back;
            assert!(is_same || half.is_nan() && single.is_nan() && back.is_nan());
        }
    }
}
