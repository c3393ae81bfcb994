//! Partitions of rows around the element at one place of their order.
//!
//! Formula: the element at `kth` is the one that sorting puts there; before it are the elements that are less or equal,
//! behind it those that are greater or equal, on each side in the order they came, but for elements equal to the one at
//! `kth`, which are next to it. (MLX promises no order of the sides; its own depends on the C++ library.)
//! Blocking: a row is turned into integer keys, the key at `kth` is found ([`select`](super::select)), and three loops without
//! a branch copy the sides. Limit: one store an element in each of two loops. Error: none.

use pulp::{Simd, WithSimd};

use super::argsort::check_positions;
use super::key::{Key, Sortable};
use super::radix::chunk_of;
use super::select::{select, select_large};
use super::sort::{TASK, are_large, check_rows};
use crate::error::{Error, Result};
use crate::parallel::parallel_for;
use crate::simd;

/// What an element costs, in nanoseconds.
const NANOSECONDS: f64 = 2.0;

/// Writes the rows of `len` elements of `x`, partitioned around the place `kth`, to `out`.
///
/// ```
/// let mut out = [0; 5];
/// mlx_kernels::partition(&[5, 1, 4, 2, 3], 5, 2, &mut out)?;
/// assert_eq!(out, [1, 2, 3, 5, 4]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When the lengths differ, or are not whole rows, or `kth` is outside of a row.
pub fn partition<T: Sortable>(x: &[T], len: usize, kth: usize, out: &mut [T]) -> Result<()> {
    (T::order().partition)(x, len, kth, out)
}

/// [`partition`], compiled in this crate.
pub(crate) fn partition_instance<T: Sortable>(
    x: &[T],
    len: usize,
    kth: usize,
    out: &mut [T],
) -> Result<()> {
    check_rows("partition", x.len(), len, out.len())?;
    check_place("partition", x.len(), len, kth)?;
    by_rows(x, len, kth, out, |x: &[T]| |position: usize| x[position]);
    Ok(())
}

/// Writes the positions of the elements that [`partition`] writes; equal elements are in the order of their positions.
///
/// ```
/// let mut out = [0; 5];
/// mlx_kernels::argpartition(&[5, 1, 4, 2, 3], 5, 2, &mut out)?;
/// assert_eq!(out, [1, 3, 4, 0, 2]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// As those of [`partition`], and when a row has more than 2^32 elements.
pub fn argpartition<T: Sortable>(x: &[T], len: usize, kth: usize, out: &mut [u32]) -> Result<()> {
    (T::order().argpartition)(x, len, kth, out)
}

/// [`argpartition`], compiled in this crate.
pub(crate) fn argpartition_instance<T: Sortable>(
    x: &[T],
    len: usize,
    kth: usize,
    out: &mut [u32],
) -> Result<()> {
    check_rows("argpartition", x.len(), len, out.len())?;
    check_place("argpartition", x.len(), len, kth)?;
    check_positions("argpartition", len)?;
    by_rows(x, len, kth, out, |_: &[T]| {
        |position: usize| position as u32
    });
    Ok(())
}

fn check_place(op: &'static str, elements: usize, len: usize, kth: usize) -> Result<()> {
    if kth < len || elements == 0 {
        return Ok(());
    }
    Err(Error::Parameter {
        op,
        what: "kth",
        wanted: "a position within the row",
        got: kth,
    })
}

/// Partitions each row; `taken` says what is written for the element at a position of a row.
fn by_rows<'a, T: Sortable, Out: Copy + Send, Take: Fn(usize) -> Out + Sync>(
    x: &'a [T],
    len: usize,
    kth: usize,
    out: &mut [Out],
    taken: impl Fn(&'a [T]) -> Take + Sync,
) {
    if x.is_empty() {
        return;
    }
    if are_large(x.len(), len) {
        let mut keys = vec![T::Key::default(); len];
        for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
            partition_large(x, &mut keys, kth, &taken(x), out);
        }
        return;
    }
    let per_task = (TASK / len).max(1) * len;
    parallel_for(
        x.chunks(per_task).zip(out.chunks_mut(per_task)),
        NANOSECONDS * x.len() as f64,
        || vec![T::Key::default(); len],
        |keys, (x, out)| {
            for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
                simd::dispatch(Ranks { x, keys });
                let pivot = select(keys, kth);
                partition_row(keys, pivot, taken(x), out);
            }
        },
    );
}

/// Writes what is less than the pivot, equal to it, and greater.
fn partition_row<K: Key, Out: Copy>(
    keys: &[K],
    pivot: K,
    taken: impl Fn(usize) -> Out,
    out: &mut [Out],
) {
    // Each loop writes every element to the next place, and leaves it there if it belongs to its side. The place after the
    // first side is in the row, because the pivot is; so is the one before the last side.
    let mut less = 0;
    for (position, key) in keys.iter().enumerate() {
        if let Some(place) = out.get_mut(less) {
            *place = taken(position);
        }
        less += usize::from(*key < pivot);
    }
    let mut end = keys.len();
    for (position, key) in keys.iter().enumerate().rev() {
        if let Some(place) = out.get_mut(end.wrapping_sub(1)) {
            *place = taken(position);
        }
        end -= usize::from(*key > pivot);
    }
    let equal = keys.iter().enumerate().filter(|(_, key)| **key == pivot);
    for (place, (position, _)) in out[less..end].iter_mut().zip(equal) {
        *place = taken(position);
    }
}

/// The same on all threads, for one long row: each chunk has its part of each of the three sides.
fn partition_large<T: Sortable, Out: Copy + Send>(
    x: &[T],
    keys: &mut [T::Key],
    kth: usize,
    taken: &(impl Fn(usize) -> Out + Sync),
    out: &mut [Out],
) {
    let chunk = chunk_of(x.len());
    let nanoseconds = NANOSECONDS * x.len() as f64;
    parallel_for(
        x.chunks(chunk).zip(keys.chunks_mut(chunk)),
        nanoseconds,
        || (),
        |(), (x, keys)| simd::dispatch(Ranks { x, keys }),
    );
    let keys = &*keys;
    let pivot = select_large(keys, kth);
    let mut sides = vec![[0; 3]; x.len().div_ceil(chunk)];
    parallel_for(
        keys.chunks(chunk).zip(&mut sides),
        nanoseconds,
        || (),
        |(), (keys, sides)| {
            let less: usize = keys.iter().map(|key| usize::from(*key < pivot)).sum();
            let equal: usize = keys.iter().map(|key| usize::from(*key == pivot)).sum();
            *sides = [less, equal, keys.len() - less - equal];
        },
    );
    let mut rest = out;
    let mut cut = |side: usize| -> Vec<&mut [Out]> {
        let cut_one = |sides: &[usize; 3]| {
            let (own, later) = std::mem::take(&mut rest).split_at_mut(sides[side]);
            rest = later;
            own
        };
        sides.iter().map(cut_one).collect()
    };
    let (less, equal, greater) = (cut(0), cut(1), cut(2));
    let tasks = keys.chunks(chunk).zip(less).zip(equal).zip(greater);
    parallel_for(
        tasks.enumerate(),
        nanoseconds,
        || (),
        |(), (task, (((keys, less), equal), greater))| {
            let taken = |at: usize| taken(task * chunk + at);
            copy_side(keys, |key| key < pivot, taken, less);
            copy_side(keys, |key| key == pivot, taken, equal);
            copy_side(keys, |key| key > pivot, taken, greater);
        },
    );
}

/// Writes what belongs to a side, which has as many elements.
fn copy_side<K: Copy, Out>(
    keys: &[K],
    belongs: impl Fn(K) -> bool,
    taken: impl Fn(usize) -> Out,
    side: &mut [Out],
) {
    let mut next = 0;
    for (position, key) in keys.iter().enumerate() {
        let Some(place) = side.get_mut(next) else {
            return;
        };
        *place = taken(position);
        next += usize::from(belongs(*key));
    }
}

struct Ranks<'a, T: Sortable> {
    x: &'a [T],
    keys: &'a mut [T::Key],
}

impl<T: Sortable> WithSimd for Ranks<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (x, key) in self.x.iter().zip(self.keys) {
            *key = x.rank();
        }
    }
}
