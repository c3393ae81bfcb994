//! Integers that are indices: negative ones count from the end.

use pulp::bytemuck::Pod;

use crate::error::{Error, Result};
use crate::strided::{RowOffsets, StridedView};

/// An integer that can be an index.
pub trait Index: Pod + Send + Sync {
    /// The index into an axis of this size, which is not less than that if it is out of range.
    fn wrapped(self, size: usize) -> usize;
}

macro_rules! signed {
    ($($t:ty),*) => {$(impl Index for $t {
        #[inline(always)]
        fn wrapped(self, size: usize) -> usize {
            // All bits where it is negative.
            let counts_back = (self >> (Self::BITS - 1)) as isize as usize;
            (self as isize as usize).wrapping_add(counts_back & size)
        }
    })*};
}
signed!(i8, i16, i32, i64);

macro_rules! unsigned {
    ($($t:ty),*) => {$(impl Index for $t {
        #[inline(always)]
        fn wrapped(self, _: usize) -> usize {
            self as usize
        }
    })*};
}
unsigned!(u8, u16, u32, u64);

/// The error of an index that is not in range.
pub(super) fn out_of_range(op: &'static str, size: usize) -> Error {
    Error::Parameter {
        op,
        what: "an index",
        wanted: "less than the size of its axis, and at least minus it",
        got: size,
    }
}

/// Resolves a row of indices, or refuses all if one is not in range.
#[inline(always)]
pub(super) fn resolve_all<I: Index>(
    op: &'static str,
    indices: impl Iterator<Item = I>,
    size: usize,
    out: &mut [usize],
) -> Result<()> {
    let mut is_bad = false;
    for (out, index) in out.iter_mut().zip(indices) {
        let index = index.wrapped(size);
        is_bad |= index >= size;
        *out = index;
    }
    if is_bad {
        return Err(out_of_range(op, size));
    }
    Ok(())
}

/// All indices into an axis of this size, in row-major order.
pub(crate) fn resolved<I: Index>(
    op: &'static str,
    indices: &StridedView<'_, I>,
    size: usize,
) -> Result<Vec<usize>> {
    let count = indices.size();
    let mut all = vec![0; count];
    let Some((&row, outer)) = indices.shape.split_last().filter(|_| count > 0) else {
        let first = indices.elements.get(indices.start).copied();
        return match count {
            0 => Ok(all),
            _ => resolve_all(op, first.into_iter(), size, &mut all).map(|()| all),
        };
    };
    let strides: Vec<usize> = indices.strides.iter().map(|&s| s as usize).collect();
    let (step, outer_strides) = (strides[outer.len()], &strides[..outer.len()]);
    let mut offsets = RowOffsets::from_row(outer, outer_strides, 0);
    for out in all.chunks_mut(row) {
        let at = indices.start.wrapping_add(offsets.current());
        if step == 1 {
            let elements = &indices.elements[at..][..row];
            resolve_all(op, elements.iter().copied(), size, out)?;
        } else {
            let place = |k: usize| at.wrapping_add(k.wrapping_mul(step));
            let elements = (0..row).map(|k| indices.elements[place(k)]);
            resolve_all(op, elements, size, out)?;
        }
        offsets.advance(1);
    }
    Ok(all)
}
