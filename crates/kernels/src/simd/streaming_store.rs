//! Streaming (non-temporal) stores, which bypass the cache, for outputs too large to be found there again.
//!
//! A plain store of a line that is not in the cache reads it first; a kernel bound by memory then moves half as much again.

use pulp::{Simd, WithSimd};

/// Outputs of at least this many bytes are written with streaming stores.
///
/// Below, a result is found in the last cache by what reads it. Measured with 16 MiB on two threads: a copy takes 0.52 ms, and
/// 0.62 with plain stores; with the sum of the result after it 1.18, and 0.94.
const MIN_BYTES: usize = 24 << 20;

/// Whether an output of `bytes` bytes should be written with streaming stores.
pub(crate) fn should_stream(bytes: usize) -> bool {
    bytes >= MIN_BYTES && cfg!(target_arch = "x86_64")
}

/// How many elements come before the first one that is aligned to a whole register.
#[inline(always)]
pub(crate) fn alignment_prefix<S: Simd>(out: &[f32]) -> usize {
    out.as_ptr()
        .align_offset(size_of::<S::f32s>())
        .min(out.len())
}

/// Stores a register with a streaming store if `STREAM` and the target is aligned to it, and plainly if not.
///
/// Call [`sfence`] before another thread reads what was stored.
#[inline(always)]
pub(crate) fn store<S: Simd, const STREAM: bool>(target: &mut S::f32s, value: S::f32s) {
    #[cfg(target_arch = "x86_64")]
    if STREAM && x86::store::<S>(target, value) {
        return;
    }
    *target = value;
}

/// Copies with streaming stores; both slices have the same length. Call [`sfence`] after.
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
        let prefix = alignment_prefix::<S>(self.to).min(self.from.len());
        let (from_head, from) = self.from.split_at(prefix);
        let (to_head, to) = self.to.split_at_mut(prefix);
        let (from, from_tail) = S::as_simd_f32s(from);
        let (to, to_tail) = S::as_mut_simd_f32s(to);
        for (to, from) in to.iter_mut().zip(from) {
            store::<S, true>(to, *from);
        }
        to_head.copy_from_slice(from_head);
        to_tail.copy_from_slice(from_tail);
    }
}

/// Orders the stores of this thread before all that follow.
pub(crate) fn sfence() {
    #[cfg(target_arch = "x86_64")]
    x86::sfence();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "streaming stores take a pointer")]

    use std::arch::x86_64::{__m256, __m512, _mm_sfence, _mm256_stream_ps, _mm512_stream_ps};

    use pulp::Simd;

    pub(super) fn sfence() {
        // SAFETY: every x86-64 processor has SSE, and the fence touches no memory.
        unsafe { _mm_sfence() };
    }

    /// Stores and returns true, if there is an instruction for this register and the target is aligned.
    #[inline(always)]
    pub(super) fn store<S: Simd>(target: &mut S::f32s, value: S::f32s) -> bool {
        let target: *mut S::f32s = target;
        if !target.addr().is_multiple_of(size_of::<S::f32s>()) {
            return false;
        }
        match size_of::<S::f32s>() {
            32 => {
                let value: __m256 = pulp::bytemuck::cast(value);
                // SAFETY: a register of 32 bytes comes only with a proof of AVX; the target is borrowed, as large, and aligned.
                unsafe { _mm256_stream_ps(target.cast(), value) };
            }
            64 => {
                let value: __m512 = pulp::bytemuck::cast(value);
                // SAFETY: a register of 64 bytes comes only with a proof of AVX-512; the target is borrowed, as large, and aligned.
                unsafe { _mm512_stream_ps(target.cast(), value) };
            }
            _ => return false,
        }
        true
    }
}
