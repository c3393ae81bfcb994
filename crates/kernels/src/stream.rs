//! Stores that bypass the cache, for outputs too large to be found there again.
//!
//! A plain store of a line that is not in the cache reads it first; a kernel bound by memory then moves a third more.

/// Outputs of at least this many bytes are written past the cache.
const LARGE: usize = 24 << 20;

/// Whether an output of `bytes` bytes should be written with [`copy`] instead of plain stores.
pub(crate) fn pays(bytes: usize) -> bool {
    bytes >= LARGE && available()
}

/// Copies `source`, times `factor`, to `target`, past the cache where that is possible.
///
/// Call [`finish`] before others read it.
pub(crate) fn copy(target: &mut [f32], source: &[f32], factor: f32) {
    debug_assert_eq!(target.len(), source.len());
    #[cfg(target_arch = "x86_64")]
    if available() && target.len() == source.len() {
        return x86::copy(target, source, factor);
    }
    for (target, source) in target.iter_mut().zip(source) {
        *target = source * factor;
    }
}

/// Orders the stores of [`copy`] on this thread before whatever it does next.
pub(crate) fn finish() {
    #[cfg(target_arch = "x86_64")]
    if available() {
        x86::fence();
    }
}

fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "non-temporal stores take a pointer")]

    use std::arch::x86_64::{
        _mm_sfence, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_stream_ps,
    };

    const LANES: usize = 8;
    const ALIGNMENT: usize = 32;

    pub(super) fn fence() {
        // SAFETY: every x86-64 processor has SSE, and the fence touches no memory.
        unsafe { _mm_sfence() };
    }

    /// Needs AVX, and slices of equal length.
    pub(super) fn copy(target: &mut [f32], source: &[f32], factor: f32) {
        let head = target.as_ptr().align_offset(ALIGNMENT).min(target.len());
        let (target_head, target) = target.split_at_mut(head);
        let (source_head, source) = source.split_at(head);
        let (target, target_tail) = target.as_chunks_mut::<LANES>();
        let (source, source_tail) = source.as_chunks::<LANES>();
        // SAFETY: the caller checked that the processor has AVX.
        unsafe { body(target, source, factor) };
        let head = target_head.iter_mut().zip(source_head);
        for (target, source) in head.chain(target_tail.iter_mut().zip(source_tail)) {
            *target = source * factor;
        }
    }

    #[target_feature(enable = "avx")]
    fn body(target: &mut [[f32; LANES]], source: &[[f32; LANES]], factor: f32) {
        let factor = _mm256_set1_ps(factor);
        for (target, source) in target.iter_mut().zip(source) {
            // SAFETY: `source` is eight floats, and the load needs no alignment.
            let value = unsafe { _mm256_loadu_ps(source.as_ptr()) };
            let value = _mm256_mul_ps(value, factor);
            // SAFETY: `target` is eight floats that start at a multiple of 32 bytes, because the head was cut off.
            unsafe { _mm256_stream_ps(target.as_mut_ptr(), value) };
        }
    }
}
