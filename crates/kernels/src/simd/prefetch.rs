//! Prefetching what will be read soon.

#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "a prefetch takes a pointer")
)]

/// Prefetches the line that is `distance` words of 4 bytes after `from`, if it is in memory; does nothing elsewhere.
#[inline(always)]
pub(crate) fn prefetch<T>(from: &T, distance: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(from)
            .cast::<u32>()
            .wrapping_add(distance);
        // SAFETY: a prefetch is a hint: nothing is read for the program, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, distance);
}
