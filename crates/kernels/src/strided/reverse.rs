//! Copying a row backwards.

use pulp::bytemuck::{Pod, try_cast_slice, try_cast_slice_mut};
use pulp::{Simd, WithSimd};

use crate::simd;

/// Writes the elements in reverse; both slices have the same length.
pub(super) fn copy_reversed<const N: usize>(from: &[[u8; N]], out: &mut [[u8; N]]) {
    let done = match N {
        1 => reversed_as::<u8, N>(from, out),
        2 => reversed_as::<u16, N>(from, out),
        4 => reversed_as::<u32, N>(from, out),
        8 => reversed_as::<u64, N>(from, out),
        _ => false,
    };
    if !done {
        for (out, from) in out.iter_mut().zip(from.iter().rev()) {
            *out = *from;
        }
    }
}

/// The same as integers, if both are aligned to them.
fn reversed_as<T: Pod, const N: usize>(from: &[[u8; N]], out: &mut [[u8; N]]) -> bool {
    let from = try_cast_slice::<u8, T>(from.as_flattened());
    let out = try_cast_slice_mut::<u8, T>(out.as_flattened_mut());
    let (Ok(from), Ok(out)) = (from, out) else {
        return false;
    };
    simd::dispatch(Reverse { from, out });
    true
}

struct Reverse<'a, T> {
    from: &'a [T],
    out: &'a mut [T],
}

impl<T: Copy> WithSimd for Reverse<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // A plain loop, which the compiler vectorizes.
        for (out, from) in self.out.iter_mut().zip(self.from.iter().rev()) {
            *out = *from;
        }
    }
}
