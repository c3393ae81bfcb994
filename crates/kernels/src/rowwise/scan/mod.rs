//! Running sums, products and extremes along an axis.
//!
//! Formula: `out[i] = combine(x[0], .., x[i])`, or without `x[i]`, or from the end.
//! Blocking: along the last axis 16 rows are scanned beside each other, 64 transposed columns at a time, because each step
//! waits for the one before; along
//! others a row of up to 512 states is combined with one row after the other. A task has about 16,384 elements, or whole rows.
//! Limit: the latency of an addition along the last axis, memory bandwidth along others.
//! Error: states of floating numbers are `f64`, so that a sum of `n` numbers is within `n * 2^-53` of the sum of their
//! magnitudes, and rounded once (half precision by way of `f32`). Integers wrap around and are exact.

mod kinds;

use std::marker::PhantomData;

use pulp::bytemuck::{Pod, Zeroable};
use pulp::{Simd, WithSimd};

use super::ReduceShape;
use crate::error::{Result, length, product};
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::strided::transpose;

pub use kinds::{
    ScanIntegerMax, ScanIntegerMin, ScanIntegerProduct, ScanIntegerSum, ScanLogAddExp, ScanMax,
    ScanMin, ScanProduct, ScanSum,
};

const OP: &str = "scan";
/// Elements of a task.
const TASK: usize = 16 * 1024;
/// Columns that are scanned beside each other.
const TILE: usize = 512;
/// Rows that are scanned beside each other.
const ROWS: usize = 16;
/// Columns of them that are transposed at once.
const BLOCK: usize = 64;

/// How elements are combined on the way.
pub trait Scan: Copy + Send + Sync {
    /// An element.
    type In: Pod + Send + Sync;
    /// What is kept on the way.
    type State: Copy + Send + Sync;
    /// A result.
    type Out: Pod + Send + Sync;
    /// The state before the first element.
    const START: Self::State;
    /// The state after an element.
    fn step(state: Self::State, x: Self::In) -> Self::State;
    /// The result of a state.
    fn result(state: Self::State) -> Self::Out;
}

/// From which end elements are combined, and whether each counts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScanOrder {
    /// From the last to the first.
    pub is_reverse: bool,
    /// Whether a result has the element in its own place.
    pub is_inclusive: bool,
}

/// Writes the scan along the middle axis to `out`, of the same shape.
///
/// # Errors
/// When a length does not match the shape.
pub fn scan<K: Scan>(
    order: ScanOrder,
    shape: ReduceShape,
    x: &[K::In],
    out: &mut [K::Out],
) -> Result<()> {
    let ReduceShape {
        outer,
        reduced,
        inner,
    } = shape;
    length(OP, "x", product(OP, &[outer, reduced, inner])?, x.len())?;
    length(OP, "out", x.len(), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let nanoseconds = 0.6 * x.len() as f64;
    if inner == 1 {
        let per_task = (TASK / reduced).next_multiple_of(ROWS).max(ROWS);
        parallel_for(
            x.chunks(per_task * reduced)
                .zip(out.chunks_mut(per_task * reduced)),
            nanoseconds,
            || (),
            |(), (x, out)| {
                simd::dispatch(Rows::<K> {
                    order,
                    row: reduced,
                    x,
                    out,
                    of: PhantomData,
                });
            },
        );
        return Ok(());
    }
    let whole = x
        .chunks(reduced * inner)
        .zip(out.chunks_mut(reduced * inner));
    // Columns do not depend on each other: how they are shared changes no result.
    let width = match inner / (2 * threads()) {
        share if outer < 2 * threads() && share >= 64 => share.next_multiple_of(16).min(TILE),
        _ => inner,
    };
    let tasks: Vec<Columns<'_, K>> = whole
        .flat_map(|(x, out)| {
            let mut tiles: Vec<Vec<&mut [K::Out]>> = Vec::new();
            tiles.resize_with(inner.div_ceil(width), || Vec::with_capacity(reduced));
            for row in out.chunks_mut(inner) {
                for (tile, part) in tiles.iter_mut().zip(row.chunks_mut(width)) {
                    tile.push(part);
                }
            }
            let tiles = tiles.into_iter().enumerate();
            tiles.map(move |(tile, out)| Columns {
                order,
                inner,
                column: tile * width,
                x,
                out,
                of: PhantomData,
            })
        })
        .collect();
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || (),
        |(), columns| simd::dispatch(columns),
    );
    Ok(())
}

struct Rows<'a, K: Scan> {
    order: ScanOrder,
    row: usize,
    x: &'a [K::In],
    out: &'a mut [K::Out],
    of: PhantomData<K>,
}

impl<K: Scan> WithSimd for Rows<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            order, row, x, out, ..
        } = self;
        let whole = x.len() / (ROWS * row) * (ROWS * row);
        let groups = x[..whole].chunks_exact(ROWS * row);
        let mut scratch = (
            [[K::In::zeroed(); ROWS]; BLOCK],
            [[K::Out::zeroed(); ROWS]; BLOCK],
        );
        for (x, out) in groups.zip(out[..whole].chunks_exact_mut(ROWS * row)) {
            scan_beside::<K>(order, row, x, out, &mut scratch);
        }
        let rest = x[whole..].chunks_exact(row);
        for (x, out) in rest.zip(out[whole..].chunks_exact_mut(row)) {
            scan_rows::<K, 1>(order, [x], [out]);
        }
    }
}

/// `ROWS` rows, a block of columns at a time: these are transposed, so that a register holds elements of different rows.
#[inline(always)]
#[allow(clippy::type_complexity)] // Both are scratch memory of one thread.
fn scan_beside<K: Scan>(
    order: ScanOrder,
    row: usize,
    x: &[K::In],
    out: &mut [K::Out],
    (columns, results): &mut ([[K::In; ROWS]; BLOCK], [[K::Out; ROWS]; BLOCK]),
) {
    let mut states = [K::START; ROWS];
    let blocks = row.div_ceil(BLOCK);
    for step in 0..blocks {
        let block = if order.is_reverse {
            blocks - 1 - step
        } else {
            step
        };
        let first = block * BLOCK;
        let width = BLOCK.min(row - first);
        let beside = columns.as_flattened_mut();
        transpose(&x[first..], [width, ROWS], row, beside, ROWS);
        for step in 0..width {
            let at = if order.is_reverse {
                width - 1 - step
            } else {
                step
            };
            let (x, out) = (&columns[at], &mut results[at]);
            // All states stay in registers.
            for k in 0..ROWS {
                let before = states[k];
                states[k] = K::step(before, x[k]);
                out[k] = K::result(if order.is_inclusive {
                    states[k]
                } else {
                    before
                });
            }
        }
        let beside = results.as_flattened();
        transpose(beside, [ROWS, width], ROWS, &mut out[first..], row);
    }
}

/// Rows of the same length.
#[inline(always)]
fn scan_rows<K: Scan, const N: usize>(order: ScanOrder, x: [&[K::In]; N], out: [&mut [K::Out]; N]) {
    let n = x[0].len();
    let mut states = [K::START; N];
    for step in 0..n {
        let at = if order.is_reverse { n - 1 - step } else { step };
        for k in 0..N {
            let before = states[k];
            states[k] = K::step(before, x[k][at]);
            out[k][at] = K::result(if order.is_inclusive {
                states[k]
            } else {
                before
            });
        }
    }
}

/// Some columns of the rows of one outer index.
struct Columns<'a, K: Scan> {
    order: ScanOrder,
    inner: usize,
    /// The first column.
    column: usize,
    x: &'a [K::In],
    /// These columns of each row.
    out: Vec<&'a mut [K::Out]>,
    of: PhantomData<K>,
}

impl<K: Scan> WithSimd for Columns<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            order,
            inner,
            column,
            x,
            mut out,
            ..
        } = self;
        let (rows, all) = (out.len(), out.first().map_or(0, |row| row.len()));
        let mut states = [K::START; TILE];
        for tile in (0..all).step_by(TILE) {
            let width = TILE.min(all - tile);
            let states = &mut states[..width];
            states.fill(K::START);
            for step in 0..rows {
                let row = if order.is_reverse {
                    rows - 1 - step
                } else {
                    step
                };
                let x = &x[row * inner + column + tile..][..width];
                let out = &mut out[row][tile..tile + width];
                scan_row::<K>(order.is_inclusive, states, x, out);
            }
        }
    }
}

/// One row; a plain loop, which the compiler vectorizes.
#[inline(always)]
fn scan_row<K: Scan>(is_inclusive: bool, states: &mut [K::State], x: &[K::In], out: &mut [K::Out]) {
    let all = states.iter_mut().zip(x).zip(out);
    if is_inclusive {
        for ((state, x), out) in all {
            *state = K::step(*state, *x);
            *out = K::result(*state);
        }
    } else {
        for ((state, x), out) in all {
            *out = K::result(*state);
            *state = K::step(*state, *x);
        }
    }
}
