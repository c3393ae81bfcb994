//! Integers that are indices: negative ones count from the end.

use pulp::bytemuck::Pod;

use crate::error::{Error, Result};

/// An integer that can be an index.
pub trait Index: Pod + Send + Sync {
    /// The index into an axis of this size, if it is in range.
    fn resolve(self, size: usize) -> Option<usize>;
}

macro_rules! signed {
    ($($t:ty),*) => {$(impl Index for $t {
        #[inline(always)]
        fn resolve(self, size: usize) -> Option<usize> {
            let index = self as isize as usize;
            let index = if self < 0 { index.wrapping_add(size) } else { index };
            (index < size).then_some(index)
        }
    })*};
}
signed!(i8, i16, i32, i64);

macro_rules! unsigned {
    ($($t:ty),*) => {$(impl Index for $t {
        #[inline(always)]
        fn resolve(self, size: usize) -> Option<usize> {
            let index = self as usize;
            (index < size).then_some(index)
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

/// Resolves a row of indices; `None` stands for the first that is not in range.
#[inline(always)]
pub(super) fn resolve_all<I: Index>(
    op: &'static str,
    indices: impl Iterator<Item = I>,
    size: usize,
    out: &mut [usize],
) -> Result<()> {
    let mut is_bad = false;
    for (out, index) in out.iter_mut().zip(indices) {
        let resolved = index.resolve(size);
        is_bad |= resolved.is_none();
        *out = resolved.unwrap_or(0);
    }
    if is_bad {
        return Err(out_of_range(op, size));
    }
    Ok(())
}
