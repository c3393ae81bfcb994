//! Sorting the rows of an array.
//!
//! Formula: the elements of a row in MLX's order, stable: NaN last, both zeros equal, all of these in the order they came.
//! Blocking: a row is turned into integer keys, which are sorted ([`radix`](super::radix)) and turned back. Rows are tasks;
//! long ones, of which there are few, are sorted on all threads one after the other. Error: none, elements are moved.

use pulp::{Simd, WithSimd};

use super::key::Sortable;
use super::radix::{MIN_LARGE, NANOSECONDS, radix_sort, radix_sort_large};
use crate::error::{Result, length};
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// Elements of a task of short rows.
pub(super) const TASK: usize = 8192;

/// Writes the rows of `len` elements of `x`, each sorted, to `out`.
///
/// ```
/// let mut out = [0.0_f32; 6];
/// mlx_kernels::sort(&[3.0, f32::NAN, -1.0, 2.0, 1.0, 0.0], 3, &mut out)?;
/// assert_eq!((out[..2].to_vec(), out[2].is_nan()), (vec![-1.0, 3.0], true));
/// assert_eq!(out[3..], [0.0, 1.0, 2.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When the lengths differ, or are not whole rows.
pub fn sort<T: Sortable>(x: &[T], len: usize, out: &mut [T]) -> Result<()> {
    (T::order().sort)(x, len, out)
}

/// [`sort`], compiled in this crate.
pub(crate) fn sort_instance<T: Sortable>(x: &[T], len: usize, out: &mut [T]) -> Result<()> {
    check_rows("sort", x.len(), len, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if are_large(x.len(), len) {
        let mut scratch = Scratch::new(len);
        for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
            sort_row(x, out, &mut scratch, radix_sort_large);
        }
        return Ok(());
    }
    let per_task = (TASK / len).max(1) * len;
    parallel_for(
        x.chunks(per_task).zip(out.chunks_mut(per_task)),
        NANOSECONDS * x.len() as f64,
        || Scratch::new(len),
        |scratch, (x, out)| {
            for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
                sort_row(x, out, scratch, radix_sort);
            }
        },
    );
    Ok(())
}

/// Refuses an input that is not whole rows, or an output of another length.
pub(super) fn check_rows(op: &'static str, input: usize, len: usize, output: usize) -> Result<()> {
    length(op, "out", input, output)?;
    let rows = input.checked_div(len).unwrap_or(0);
    length(op, "x", rows * len, input)
}

/// Whether rows are sorted on all threads, one after the other.
pub(super) fn are_large(elements: usize, len: usize) -> bool {
    len >= MIN_LARGE && elements / len < 2 * threads()
}

/// The keys of a row, and as much room again.
struct Scratch<K> {
    keys: Vec<K>,
    other: Vec<K>,
}

impl<K: Copy + Default> Scratch<K> {
    fn new(len: usize) -> Self {
        Self {
            keys: vec![K::default(); len],
            other: vec![K::default(); len],
        }
    }
}

fn sort_row<T: Sortable>(
    x: &[T],
    out: &mut [T],
    scratch: &mut Scratch<T::Key>,
    sort: impl Fn(&mut [T::Key], &mut [T::Key]),
) {
    let Scratch { keys, other } = scratch;
    let found = simd::dispatch(ToKeys { x, keys });
    let mut n = x.len();
    if found.nans > 0 {
        n = 0;
        for x in x.iter().filter(|x| !x.is_nan()) {
            keys[n] = x.key();
            n += 1;
        }
        let nans = x.iter().filter(|x| x.is_nan());
        out[n..].iter_mut().zip(nans).for_each(|(out, x)| *out = *x);
    }
    let keys = &mut keys[..n];
    sort(keys, other);
    simd::dispatch(FromKeys { keys, out });
    if found.negative_zeros > 0 {
        let zero = T::default().key();
        let positive = keys.partition_point(|key| *key < zero);
        let start = positive - found.negative_zeros;
        let zeros = x.iter().filter(|x| x.rank() == zero);
        // As many as there are, of both signs.
        out[start..]
            .iter_mut()
            .zip(zeros)
            .for_each(|(out, x)| *out = *x);
    }
}

/// Of which elements a row has how many that keys do not order as they should.
#[derive(Clone, Copy)]
struct Found {
    nans: usize,
    negative_zeros: usize,
}

struct ToKeys<'a, T: Sortable> {
    x: &'a [T],
    keys: &'a mut [T::Key],
}

impl<T: Sortable> WithSimd for ToKeys<'_, T> {
    type Output = Found;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Found {
        let (mut nans, mut negative_zeros) = (0, 0);
        for (x, key) in self.x.iter().zip(self.keys) {
            *key = x.key();
            if T::IS_FLOAT {
                nans += u32::from(x.is_nan());
                negative_zeros += u32::from(x.rank() != *key && !x.is_nan());
            }
        }
        Found {
            nans: nans as usize,
            negative_zeros: negative_zeros as usize,
        }
    }
}

struct FromKeys<'a, T: Sortable> {
    keys: &'a [T::Key],
    out: &'a mut [T],
}

impl<T: Sortable> WithSimd for FromKeys<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (key, out) in self.keys.iter().zip(self.out) {
            *out = T::from_key(*key);
        }
    }
}
