//! GEMM of `f32` by the processor's matrix tiles (AMX): each number is split in three of `bf16`.
//!
//! Formula: as in `blocked.rs`. Of the nine products of the parts of two numbers six are added in `f32`; the others are at
//! most `2^-24` of the whole ([`amx_split`](crate::simd::amx_split)).
//! Blocking: a task has up to [`MC`] rows and [`NC`] columns. [`KC`] elements of its rows are split to the L2 cache; strips of
//! 32 columns are split by the tasks or before; the sums of 32 rows and 32 columns, four tiles, stay in registers for all of
//! [`KC`].
//! Limit: multiplications, 24 of tiles for 32 x 32 x 32, which takes 0.4 of the time of vectors of `f32`.
//! Error: `2^-24 * (3 + min(depth, 256) / 2 + depth / 256)` of `sum(|left * right|)`, far less on average: that of `blocked.rs`.
//!
//! Tiles take denormal numbers for zero, and parts can overflow where numbers do not: the ranges of both factors, found while
//! they are split, tell whether either could be ([`Range`]); then the product is not computed here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::blocked::{Product, store_all};
use super::factors::{KC, LeftRows, Place, RightColumns, Runs, SCRATCH_STRIDE};
use super::scratch::Scratch;
use super::tasks::{Limits, Plan, Sizes, Task, tasks};
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::simd::amx::{self, SIDE, STEP, Tiles};
use crate::simd::amx_split::{PARTS, Range, SplitProduct, TILE, split_columns, split_row};

/// The most rows of a task: a multiple of [`STRIP`].
const MC: usize = 256;
/// The most columns of a task: a multiple of [`STRIP`].
const NC: usize = 512;
/// Rows and columns that are multiplied at once.
const STRIP: usize = 2 * SIDE;
/// The most numbers of a split right factor: 48 MiB.
const MAX_PACKED: usize = 8 << 20;
/// Smaller products are not worth the splitting: that of rows is paid once for all columns, that of columns once for all
/// rows, and sums are read and written once for each block of the depth.
const MIN_MULTIPLICATIONS: usize = 1 << 22;
const MIN_SIDE: usize = 128;
/// Nanoseconds of a multiplication with its addition on one thread.
const NANOSECONDS: f64 = 0.006;

/// Whether products of `f32` of these sizes are computed by matrix tiles, which this processor has then, if their numbers
/// allow it.
///
/// They take about half of a BLAS's time: where this is true, [`batched_matmul`](crate::batched_matmul) is the faster one.
pub fn splits_products(rows: usize, depth: usize, columns: usize) -> bool {
    let multiplications = [rows, depth, columns]
        .into_iter()
        .fold(1, usize::saturating_mul);
    multiplications >= MIN_MULTIPLICATIONS
        && rows.min(columns).min(depth) >= MIN_SIDE
        && amx::is_available()
}

/// Computes all products to `out`, `[batch, rows, groups, columns]`, and returns true; or false if tiles are not there, not
/// worth it, or might compute something else than `f32` arithmetic does, and then `out` is unspecified.
pub(super) fn multiply<P: Product>(sizes: Sizes, product: &P, out: &mut [P::Output]) -> bool {
    let Sizes {
        batch,
        rows,
        groups,
        depth,
        columns,
    } = sizes;
    if !splits_products(rows, depth, columns) {
        return false;
    }
    let line = groups * columns;
    let limits = Limits {
        mc: MC,
        nc: NC,
        min_rows: 64,
        height: STRIP,
        tile: STRIP,
        packed: MAX_PACKED,
        tasks_per_thread: 4,
    };
    let plan = Plan::of(sizes, limits, threads());
    let work = |batches: usize, columns: usize| {
        NANOSECONDS * (batches * rows * groups) as f64 * (depth * columns) as f64
    };
    if !plan.packs_before {
        let tasks = tasks(plan, sizes, line, (0, columns), (0, out));
        return compute(plan, product, tasks, None, work(batch, columns));
    }
    // One product at a time, and as many of its columns as are packed together.
    let most = (MAX_PACKED / depth / STRIP * STRIP).max(STRIP);
    for (b, out) in out.chunks_mut(rows * line).enumerate() {
        for first in (0..columns).step_by(most) {
            let width = most.min(columns - first);
            let packed = Packed::of(product, b, sizes, (first, width));
            let tasks = tasks(plan, sizes, line, (first, width), (b, out));
            if !compute(plan, product, tasks, Some(&packed), work(1, width)) {
                return false;
            }
        }
    }
    true
}

/// The steps that hold `depth` elements.
fn steps(depth: usize) -> usize {
    depth.div_ceil(STEP)
}

/// The pairs of the parts of a strip.
fn strip_len(depth: usize) -> usize {
    // Blocks of a depth have whole steps.
    let blocks = depth / KC * steps(KC) + steps(depth % KC);
    blocks * PARTS * STRIP / SIDE * TILE / 2
}

/// The tiles that hold `columns` columns of a strip.
fn tiles_of(columns: usize) -> usize {
    columns.div_ceil(SIDE)
}

/// Splits elements of columns of a right factor: `[steps, 3, tiles, 16, 16]` pairs, zeros where there are no more.
#[inline(always)]
fn split_right<S: Simd, R: RightColumns>(
    simd: S,
    right: &R,
    (start, count): (usize, usize),
    (column, columns): (usize, usize),
    (numbers, out): (&mut [f32], &mut [u32]),
) -> Range {
    let tiles = tiles_of(columns);
    let width = tiles * SIDE;
    let numbers = &mut numbers[..steps(count) * STEP * width];
    let (found, zeros) = numbers.split_at_mut(count * width);
    right.pack(simd, (start, count), (column, columns), width, found);
    zeros.fill(0.0);
    split_columns(numbers, tiles, out)
}

/// The right factors of all groups: `[groups, strips, blocks of the depth]`.
struct Packed {
    pairs: Scratch,
    range: Range,
}

impl Packed {
    fn of<P: Product>(
        product: &P,
        batch: usize,
        sizes: Sizes,
        (first, width): (usize, usize),
    ) -> Self {
        struct Pack<'a, R> {
            right: &'a R,
            rows: (usize, usize),
            columns: (usize, usize),
            numbers: &'a mut [f32],
            out: &'a mut [u32],
        }

        impl<R: RightColumns> WithSimd for Pack<'_, R> {
            type Output = Range;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Range {
                let scratch = (self.numbers, self.out);
                split_right(simd, self.right, self.rows, self.columns, scratch)
            }
        }

        let depth = sizes.depth;
        let strip_len = strip_len(depth);
        let group_len = width.div_ceil(STRIP) * strip_len;
        let mut pairs = Scratch::new(sizes.groups * group_len);
        let rights: Vec<P::Right> = (0..sizes.groups)
            .map(|group| product.right(batch, group))
            .collect();
        let mut parts = Vec::new();
        let groups = cast_slice_mut(pairs.as_mut_slice()).chunks_exact_mut(group_len);
        for (right, packed) in rights.iter().zip(groups) {
            for (number, packed) in packed.chunks_exact_mut(strip_len).enumerate() {
                let column = number * STRIP;
                let columns = STRIP.min(width - column);
                let blocks = packed.chunks_mut(block_len(columns, KC)).enumerate();
                for (block, out) in blocks.take(depth.div_ceil(KC)) {
                    let start = block * KC;
                    parts.push((
                        right,
                        (start, KC.min(depth - start)),
                        (first + column, columns),
                        out,
                    ));
                }
            }
        }
        let range = Mutex::new(Range::NONE);
        parallel_for(
            parts.into_iter(),
            0.3 * (sizes.groups * depth * width) as f64,
            || Scratch::new(KC * STRIP),
            |numbers, (right, rows, columns, out)| {
                let found = simd::dispatch_beside_tiles(Pack {
                    right,
                    rows,
                    columns,
                    numbers: numbers.as_mut_slice(),
                    out,
                });
                let mut range = range
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                *range = range.and(found.unwrap_or(Range::NONE));
            },
        );
        let range = range
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Self { pairs, range }
    }
}

/// The pairs of a block: `columns` columns of a strip, `count` elements of the depth.
fn block_len(columns: usize, count: usize) -> usize {
    steps(count) * PARTS * tiles_of(columns) * TILE / 2
}

/// Computes tasks, with the right factor split before or not; false if one of them may not be computed so.
fn compute<P: Product>(
    plan: Plan,
    product: &P,
    tasks: Vec<Task<'_, P::Output>>,
    packed: Option<&Packed>,
    nanoseconds: f64,
) -> bool {
    let height = plan.mc.next_multiple_of(STRIP);
    let sums_stride = plan.nc + SIDE;
    // Numbers of 4 bytes: sums, pairs of a strip, its numbers, rows, those that are found, those that are gathered.
    let lengths = [
        height * sums_stride,
        block_len(STRIP, KC),
        KC * STRIP,
        height * KC * PARTS / 2,
        (plan.mc + 1) * SCRATCH_STRIDE,
        plan.mc * KC,
    ];
    let is_exact = AtomicBool::new(true);
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || Scratch::new(lengths.iter().sum()),
        |scratch, task| {
            if !is_exact.load(Ordering::Relaxed) {
                return;
            }
            let (sums, rest) = scratch.as_mut_slice().split_at_mut(lengths[0]);
            let (panel, rest) = rest.split_at_mut(lengths[1]);
            let (numbers, rest) = rest.split_at_mut(lengths[2]);
            let (rows, rest) = rest.split_at_mut(lengths[3]);
            let (found, gathered) = rest.split_at_mut(lengths[4]);
            let done = simd::dispatch_beside_tiles(Block {
                plan,
                product,
                packed,
                task,
                sums,
                sums_stride,
                panel: cast_slice_mut(panel),
                numbers,
                rows: cast_slice_mut(rows),
                found,
                gathered,
            });
            if done != Some(true) {
                is_exact.store(false, Ordering::Relaxed);
            }
        },
    );
    is_exact.into_inner()
}

/// A task and its scratch memory.
struct Block<'a, 'b, P: Product> {
    plan: Plan,
    product: &'a P,
    packed: Option<&'a Packed>,
    task: Task<'b, P::Output>,
    sums: &'a mut [f32],
    sums_stride: usize,
    /// A strip that is split here, and its numbers.
    panel: &'a mut [u32],
    numbers: &'a mut [f32],
    /// The parts of rows: `[strips, steps, 3, 2, 16, 32]`.
    rows: &'a mut [bf16],
    /// Rows that are not read in place, and rows whose elements are in several places.
    found: &'a mut [f32],
    gathered: &'a mut [f32],
}

impl<P: Product> WithSimd for Block<'_, '_, P> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> bool {
        let Some(tiles) = Tiles::configure() else {
            return false;
        };
        let (first, count) = self.task.groups;
        // In a closure, what is inlined would be compiled without the instructions that `simd` stands for.
        for group in first..first + count {
            if !self.group(simd, &tiles, group) {
                return false;
            }
        }
        true
    }
}

impl<P: Product> Block<'_, '_, P> {
    #[inline(always)]
    fn group<S: Simd>(&mut self, simd: S, tiles: &Tiles, group: usize) -> bool {
        let (product, columns, depth) = (self.product, self.task.columns, self.plan.depth);
        let n_rows = self.task.n_rows();
        let mut left = product.left(self.task.batch, group);
        left.begin(self.task.row, n_rows);
        let right = product.right(self.task.batch, group);
        let before_sums = product.start(group);
        if let Some(numbers) = before_sums {
            let numbers = &numbers[self.task.column..][..columns];
            for sums in self.sums.chunks_mut(self.sums_stride).take(n_rows) {
                sums[..columns].copy_from_slice(numbers);
            }
        }
        let mut of_columns = self.packed.map_or(Range::NONE, |packed| packed.range);
        for start in (0..depth).step_by(KC) {
            let count = KC.min(depth - start);
            let of_rows = self.split_rows(simd, &left, n_rows, (start, count));
            let adds = start > 0 || before_sums.is_some();
            for column in (0..columns).step_by(STRIP) {
                let width = STRIP.min(columns - column);
                let len = block_len(width, count);
                let panel = if let Some(packed) = self.packed {
                    let column = self.task.column - self.task.packed_from + column;
                    let strips = (group * self.plan.packed_columns + column) / STRIP;
                    let before = strips * strip_len(depth) + block_len(width, KC) * (start / KC);
                    let pairs: &[u32] = cast_slice(packed.pairs.as_slice());
                    &pairs[before..][..len]
                } else {
                    let scratch = (&mut *self.numbers, &mut self.panel[..len]);
                    let at = (self.task.column + column, width);
                    of_columns =
                        of_columns.and(split_right(simd, &right, (start, count), at, scratch));
                    &self.panel[..len]
                };
                if !of_rows.is_exact_with(of_columns, depth) {
                    return false;
                }
                let row_len = steps(count) * PARTS * 2 * TILE;
                let sums = self.sums.chunks_mut(STRIP * self.sums_stride);
                let rows = self.rows.chunks_exact(row_len).zip(sums);
                for (rows, sums) in rows.take(n_rows.div_ceil(STRIP)) {
                    let product = SplitProduct {
                        left: rows,
                        right: panel,
                        steps: steps(count),
                        sums: &mut sums[column..],
                        sums_stride: self.sums_stride,
                        adds,
                    };
                    if tiles_of(width) == 1 {
                        product.compute::<1>(tiles);
                    } else {
                        product.compute::<2>(tiles);
                    }
                }
            }
        }
        let before = (group - self.task.groups.0) * columns;
        let stride = self.sums_stride;
        store_all(product, &mut self.task, before, stride, self.sums);
        true
    }

    /// Splits elements `start..start + count` of all rows, with zeros to the end of a step and of a strip.
    #[inline(always)]
    fn split_rows<S: Simd>(
        &mut self,
        simd: S,
        left: &P::Left,
        n_rows: usize,
        (start, count): (usize, usize),
    ) -> Range {
        let mut range = Range::NONE;
        let mut places = [Place::Zeros; MC];
        let places = &mut places[..n_rows];
        let row_of = self.task.row;
        let mut done = 0;
        while done < count {
            let part = left.count(start + done, count - done);
            left.find(simd, row_of, (start + done, part), places, self.found);
            let Runs {
                length,
                skip,
                offsets,
            } = left.runs(start + done, part);
            let is_whole = part == count && offsets.len() == 1;
            for (row, place) in places.iter().enumerate() {
                let gathered = &mut self.gathered[row * KC + done..][..part];
                let (from, at) = match *place {
                    Place::Source(at) => (left.source(), at),
                    Place::Scratch(at) => (&*self.found, at),
                    Place::Zeros if is_whole => {
                        split(&ZEROS[..count], row, self.rows);
                        continue;
                    }
                    Place::Zeros => {
                        gathered.fill(0.0);
                        continue;
                    }
                };
                if is_whole {
                    let numbers = &from[at + offsets[0] + skip..][..count];
                    range = range.and(split(numbers, row, self.rows));
                    continue;
                }
                for (offset, gathered) in offsets.iter().zip(gathered.chunks_exact_mut(length)) {
                    gathered.copy_from_slice(&from[at + offset + skip..][..length]);
                }
            }
            if is_whole {
                break;
            }
            done += part;
        }
        if done > 0 {
            for (row, numbers) in self.gathered.chunks_exact(KC).take(n_rows).enumerate() {
                range = range.and(split(&numbers[..count], row, self.rows));
            }
        }
        for row in n_rows..n_rows.next_multiple_of(STRIP) {
            split(&ZEROS[..count], row, self.rows);
        }
        range
    }
}

/// A row of zeros.
static ZEROS: &[f32] = &[0.0; KC];

/// Splits a part of a row to its place in the parts of all rows, with zeros to the end of a step.
fn split(numbers: &[f32], row: usize, rows: &mut [bf16]) -> Range {
    let strip = row / STRIP * steps(numbers.len()) * PARTS * 2 * TILE;
    let within = row % STRIP;
    let at = strip + within / SIDE * TILE + within % SIDE * STEP;
    split_row(numbers, 2, &mut rows[at..])
}
