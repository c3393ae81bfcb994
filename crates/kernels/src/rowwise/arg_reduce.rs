//! Where the maximum or minimum along an axis is.
//!
//! Formula: the first index whose element is greater (less) than all before it. As in MLX, NaN is ahead of all numbers.
//! Blocking: along the last axis, a row's extreme is found in 64 lanes and then its first place, while the row is in the
//! cache. Along other axes, rows are compared with a tile of 1,024 extremes. A task has about 16,384 elements.
//! Limit: memory bandwidth. Error: none.

use half::{bf16, f16};
use pulp::{Simd, WithSimd};

use super::ReduceShape;
use crate::error::{Error, Result};
use crate::parallel::parallel_for;
use crate::simd;

const OP: &str = "argmax";
/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Columns that are searched at once.
const TILE: usize = 1024;
/// Elements that are compared beside each other.
const LANES: usize = 64;

/// Numbers that can be compared.
pub trait Compare: Copy + Send + Sync {
    /// What is compared: half precision as `f32`.
    type Key: Copy + PartialOrd + Send + Sync + Default;
    /// The number to compare.
    fn key(self) -> Self::Key;
}

macro_rules! own_key {
    ($($t:ty),*) => {$(impl Compare for $t {
        type Key = Self;

        #[inline(always)]
        fn key(self) -> Self {
            self
        }
    })*};
}
own_key!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

impl Compare for f16 {
    type Key = f32;

    #[inline(always)]
    fn key(self) -> f32 {
        simd::f16_to_f32::f16_to_f32_by_shifts(self)
    }
}

impl Compare for bf16 {
    type Key = f32;

    #[inline(always)]
    fn key(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// Writes the index of the maximum over the middle axis, or of the minimum, to `out`, `[outer, inner]`.
///
/// # Errors
/// When a length does not match the shape, or there is nothing to find.
pub fn arg_reduce<T: Compare>(
    is_max: bool,
    shape: ReduceShape,
    x: &[T],
    out: &mut [u32],
) -> Result<()> {
    shape.check(OP, x.len(), out.len())?;
    let ReduceShape { reduced, inner, .. } = shape;
    if out.is_empty() {
        return Ok(());
    }
    if reduced == 0 || u32::try_from(reduced).is_err() {
        return Err(Error::Parameter {
            op: OP,
            what: "the number of elements",
            wanted: "from 1 to 2^32 - 1",
            got: reduced,
        });
    }
    let nanoseconds = 0.2 * x.len() as f64;
    if inner == 1 {
        let rows = (TASK / reduced).max(1);
        parallel_for(
            x.chunks(rows * reduced).zip(out.chunks_mut(rows)),
            nanoseconds,
            || (),
            |(), (x, out)| {
                for (x, out) in x.chunks(reduced).zip(out) {
                    *out = simd::dispatch(Row { is_max, x });
                }
            },
        );
        return Ok(());
    }
    // Tiles of columns, of each outer index.
    let tasks: Vec<_> = x
        .chunks(reduced * inner)
        .zip(out.chunks_mut(inner))
        .flat_map(|(x, out)| {
            let tiles = out.chunks_mut(TILE).enumerate();
            tiles.map(move |(tile, out)| (x, tile * TILE, out))
        })
        .collect();
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || [T::Key::default(); TILE],
        |keys, (x, column, out)| {
            simd::dispatch(Columns {
                is_max,
                x,
                inner,
                column,
                keys: &mut keys[..out.len()],
                out,
            });
        },
    );
    Ok(())
}

struct Row<'a, T> {
    is_max: bool,
    x: &'a [T],
}

impl<T: Compare> WithSimd for Row<'_, T> {
    type Output = u32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u32 {
        if self.is_max {
            first_extreme(self.x, is_above)
        } else {
            first_extreme(self.x, is_below)
        }
    }
}

/// Whether a number is greater than another one, or the first NaN. `&` and not `&&`: a branch would keep loops scalar.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, clippy::eq_op)]
fn is_above<K: Copy + PartialOrd>(new: K, old: K) -> bool {
    !(new <= old) & (old == old)
}

/// Whether a number is less than another one, or the first NaN.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, clippy::eq_op)]
fn is_below<K: Copy + PartialOrd>(new: K, old: K) -> bool {
    !(new >= old) & (old == old)
}

/// The first element that no other one is ahead of.
#[inline(always)]
fn first_extreme<T: Compare>(x: &[T], is_ahead: impl Fn(T::Key, T::Key) -> bool) -> u32 {
    let first = x[0].key();
    let (body, tail) = x.as_chunks::<LANES>();
    let mut lanes = [first; LANES];
    for x in body {
        for lane in 0..LANES {
            let key = x[lane].key();
            lanes[lane] = if is_ahead(key, lanes[lane]) {
                key
            } else {
                lanes[lane]
            };
        }
    }
    let further = |found: T::Key, key: T::Key| if is_ahead(key, found) { key } else { found };
    let found = lanes.into_iter().fold(first, further);
    let found = tail.iter().map(|x| x.key()).fold(found, further);
    // NaN is not equal to itself.
    let is_nan = found.partial_cmp(&found).is_none();
    let is_found = |x: &T| {
        let key = x.key();
        (key == found) | (is_nan & key.partial_cmp(&key).is_none())
    };
    for (block, x) in body.iter().enumerate() {
        let mut is_here = false;
        for x in x {
            is_here |= is_found(x);
        }
        if is_here {
            let lane = x.iter().position(is_found).unwrap_or(0);
            return (block * LANES + lane) as u32;
        }
    }
    let lane = tail.iter().position(is_found).unwrap_or(0);
    (body.len() * LANES + lane) as u32
}

struct Columns<'a, T: Compare> {
    is_max: bool,
    x: &'a [T],
    inner: usize,
    column: usize,
    keys: &'a mut [T::Key],
    out: &'a mut [u32],
}

impl<T: Compare> WithSimd for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if self.is_max {
            self.search(is_above);
        } else {
            self.search(is_below);
        }
    }
}

impl<T: Compare> Columns<'_, T> {
    #[inline(always)]
    fn search(self, is_ahead: impl Fn(T::Key, T::Key) -> bool) {
        let Self {
            x,
            inner,
            column,
            keys,
            out,
            ..
        } = self;
        out.fill(0);
        for (index, x) in x.chunks(inner).enumerate() {
            let x = &x[column..column + out.len()];
            if index == 0 {
                for (key, x) in keys.iter_mut().zip(x) {
                    *key = x.key();
                }
                continue;
            }
            for ((key, out), x) in keys.iter_mut().zip(out.iter_mut()).zip(x) {
                let new = x.key();
                let ahead = is_ahead(new, *key);
                *key = if ahead { new } else { *key };
                *out = if ahead { index as u32 } else { *out };
            }
        }
    }
}
