//! Stores that bypass the cache, for outputs too large to be found there again.
//!
//! A plain store of a line that is not in the cache reads it first; a kernel bound by memory then moves half as much again.
//! Unsafe code stands only here and in one call of `widen`.

use pulp::{Simd, WithSimd};

/// Outputs of at least this many bytes are written past the cache.
const LARGE: usize = 24 << 20;

/// Whether an output of `bytes` bytes should be written past the cache.
pub(crate) fn pays(bytes: usize) -> bool {
    bytes >= LARGE && cfg!(target_arch = "x86_64")
}

/// How many elements come before the first that starts a whole register.
#[inline(always)]
pub(crate) fn head<S: Simd>(out: &[f32]) -> usize {
    out.as_ptr()
        .align_offset(size_of::<S::f32s>())
        .min(out.len())
}

/// Stores a register past the cache if `PAST` and the place is aligned to it, and plainly if not.
///
/// Call [`finish`] before another thread reads what was stored.
#[inline(always)]
pub(crate) fn store<S: Simd, const PAST: bool>(target: &mut S::f32s, value: S::f32s) {
    #[cfg(target_arch = "x86_64")]
    if PAST && x86::store::<S>(target, value) {
        return;
    }
    *target = value;
}

/// Asks for what lies so many `f32` further, if something does: it will be read soon.
#[inline(always)]
pub(crate) fn ahead<T>(place: &T, further: usize) {
    #[cfg(target_arch = "x86_64")]
    x86::ahead(place, further);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (place, further);
}

/// Copies past the cache; both slices have one length. Call [`finish`] after.
pub(crate) fn copy(from: &[f32], to: &mut [f32]) {
    super::dispatch(Copy { from, to });
}

struct Copy<'a> {
    from: &'a [f32],
    to: &'a mut [f32],
}

impl WithSimd for Copy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let head = head::<S>(self.to).min(self.from.len());
        let (from_head, from) = self.from.split_at(head);
        let (to_head, to) = self.to.split_at_mut(head);
        let (from, from_tail) = S::as_simd_f32s(from);
        let (to, to_tail) = S::as_mut_simd_f32s(to);
        for (to, from) in to.iter_mut().zip(from) {
            store::<S, true>(to, *from);
        }
        to_head.copy_from_slice(from_head);
        to_tail.copy_from_slice(from_tail);
    }
}

/// Orders the stores of this thread before whatever it does next.
pub(crate) fn finish() {
    #[cfg(target_arch = "x86_64")]
    x86::fence();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "non-temporal stores take a pointer")]

    use std::arch::x86_64::{
        __m256, __m512, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_stream_ps, _mm512_stream_ps,
    };

    use pulp::Simd;

    pub(super) fn fence() {
        // SAFETY: every x86-64 processor has SSE, and the fence touches no memory.
        unsafe { _mm_sfence() };
    }

    #[inline(always)]
    pub(super) fn ahead<T>(place: &T, further: usize) {
        let place = std::ptr::from_ref(place)
            .cast::<f32>()
            .wrapping_add(further);
        // SAFETY: a prefetch is a hint: nothing is read for the program, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }

    /// Whether it was stored: if there is an instruction for this register and the place is aligned.
    #[inline(always)]
    pub(super) fn store<S: Simd>(target: &mut S::f32s, value: S::f32s) -> bool {
        let place: *mut S::f32s = target;
        if !place.addr().is_multiple_of(size_of::<S::f32s>()) {
            return false;
        }
        match size_of::<S::f32s>() {
            32 => {
                let value: __m256 = pulp::bytemuck::cast(value);
                // SAFETY: a register of 32 bytes comes only with a proof of AVX; the place is borrowed, as large, and aligned.
                unsafe { _mm256_stream_ps(place.cast(), value) };
            }
            64 => {
                let value: __m512 = pulp::bytemuck::cast(value);
                // SAFETY: a register of 64 bytes comes only with a proof of AVX-512; the place is borrowed, as large, and aligned.
                unsafe { _mm512_stream_ps(place.cast(), value) };
            }
            _ => return false,
        }
        true
    }
}
