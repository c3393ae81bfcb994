//! The positions that sort the rows of an array.
//!
//! Formula: the positions of a row's elements in MLX's order, equal elements in the order of their positions; both zeros are
//! equal, and so are all NaN, which come last.
//! Blocking: keys with positions, of 8 bytes for elements of at most 32 bits and 16 for others, sorted as in `sort`.
//! Error: none.

use super::key::{Item, Sortable};
use super::radix::{NANOSECONDS, radix_sort, radix_sort_large};
use super::sort::{TASK, are_large, check_rows};
use crate::error::{Error, Result};
use crate::parallel::parallel_for;

/// Writes the positions within the rows of `len` elements of `x`, in the order of the elements, to `out`.
///
/// ```
/// let mut out = [0; 4];
/// mlx_kernels::argsort(&[2, 1, 2, 0], 4, &mut out)?;
/// assert_eq!(out, [3, 1, 0, 2]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When the lengths differ, or are not whole rows, or a row has more than 2^32 elements.
pub fn argsort<T: Sortable>(x: &[T], len: usize, out: &mut [u32]) -> Result<()> {
    (T::order().argsort)(x, len, out)
}

/// [`argsort`], compiled in this crate.
pub(crate) fn argsort_instance<T: Sortable>(x: &[T], len: usize, out: &mut [u32]) -> Result<()> {
    check_rows("argsort", x.len(), len, out.len())?;
    check_positions("argsort", len)?;
    if out.is_empty() {
        return Ok(());
    }
    let scratch = || {
        (
            vec![T::Entry::default(); len],
            vec![T::Entry::default(); len],
        )
    };
    if are_large(x.len(), len) {
        let (entries, other) = &mut scratch();
        for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
            to_entries(x, entries);
            radix_sort_large(entries, other);
            positions(entries, out);
        }
        return Ok(());
    }
    let per_task = (TASK / len).max(1) * len;
    parallel_for(
        x.chunks(per_task).zip(out.chunks_mut(per_task)),
        1.5 * NANOSECONDS * x.len() as f64,
        scratch,
        |(entries, other), (x, out)| {
            for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
                to_entries(x, entries);
                radix_sort(entries, other);
                positions(entries, out);
            }
        },
    );
    Ok(())
}

/// Refuses rows whose positions are not of 32 bits.
pub(super) fn check_positions(op: &'static str, len: usize) -> Result<()> {
    if u32::try_from(len).is_ok() {
        return Ok(());
    }
    Err(Error::Parameter {
        op,
        what: "the length of a row",
        wanted: "below 2^32",
        got: len,
    })
}

fn to_entries<T: Sortable>(x: &[T], entries: &mut [T::Entry]) {
    for (position, (x, entry)) in x.iter().zip(entries).enumerate() {
        *entry = x.entry(position as u32);
    }
}

fn positions<T: Item>(entries: &[T], out: &mut [u32]) {
    for (entry, out) in entries.iter().zip(out) {
        *out = entry.position();
    }
}
