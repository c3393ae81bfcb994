//! GEMM of `bf16` by the processor's matrix tiles (AMX), for matrix products and convolutions.
//!
//! Formula: as in `blocked.rs`; products of `bf16` are exact in `f32`, in which they are added, and rounded once where the sum
//! is stored.
//! Blocking: a task has up to [`MC`] rows and [`NC`] columns. [`KC`] elements of its rows are copied to the L2 cache, rounded up
//! to whole steps of 32 by zeros; strips of 32 columns are packed in pairs, which the L1 cache holds, by the tasks or before;
//! the sums of 32 rows and 32 columns, four tiles, stay in registers for all of [`KC`].
//! Limit: copies, packing and stores; the tiles themselves multiply ten times as fast as vectors of `f32`.
//! Error: `2^-24 * (2 + depth)` of `sum(|left * right|)`, far less on average.
//!
//! Tiles take denormal numbers for zero. The least exponents of both factors, found while they are copied, tell whether there
//! are any, or could be any among the sums ([`Magnitudes`]); where they cannot exclude it the product is not computed here,
//! and the caller does so in `f32`.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use half::bf16;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::factors::{LeftRows, Place, Runs, SCRATCH_STRIDE};
use super::pairs::RightPairs;
use super::scratch::Scratch;
use super::tasks::{Limits, Plan, Position, Sizes, Task, cut_rows, tasks};
use crate::element::Element;
use crate::element::private::Storage;
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::simd::amx::{self, Magnitudes, SIDE, STEP, TileProduct, Tiles};

/// The most rows of a task: a multiple of [`STRIP`].
const MC: usize = 128;
/// The most columns of a task: a multiple of [`STRIP`].
const NC: usize = 512;
/// The depth that is added up in registers: a multiple of [`STEP`].
const KC: usize = 512;
/// Rows and columns that are multiplied at once.
const STRIP: usize = 2 * SIDE;
/// The most pairs of a packed right factor: 32 MiB.
const MAX_PACKED: usize = 8 << 20;
/// Fewer multiplications are not worth the packing.
const MIN_MULTIPLICATIONS: usize = 1 << 14;
/// Nanoseconds of a multiplication with its addition on one thread.
const NANOSECONDS: f64 = 0.002;

/// The factors of each product as `bf16`, and what becomes of the sums.
pub(crate) trait PairProduct: Sync {
    type Left: LeftRows<bf16>;
    type Right: RightPairs;
    type Output: Element;

    fn left(&self, batch: usize, group: usize) -> Self::Left;
    fn right(&self, batch: usize, group: usize) -> Self::Right;

    /// What is added to the sums of each row of a group, a number for each column.
    fn start(&self, _group: usize) -> Option<&[f32]> {
        None
    }

    /// Stores the sums of a row of a product from `column` on.
    #[inline(always)]
    fn store(&self, _: Position, sums: &mut [f32], out: &mut [Self::Output]) {
        <Self::Output as Storage>::store(sums, out);
    }
}

/// Whether products of these sizes are worth an attempt.
pub(crate) fn applies(sizes: Sizes) -> bool {
    let Sizes {
        batch,
        rows,
        groups,
        depth,
        columns,
    } = sizes;
    let multiplications = [batch, rows, groups, depth, columns]
        .into_iter()
        .fold(1, usize::saturating_mul);
    multiplications >= MIN_MULTIPLICATIONS && amx::is_available()
}

/// Computes all products to `out`, `[batch, rows, groups, columns]`, and returns true; or false if tiles might compute
/// something else than `f32` arithmetic does, and then `out` is unspecified. Nothing is empty, and lengths fit.
pub(crate) fn multiply<P: PairProduct>(sizes: Sizes, product: &P, out: &mut [P::Output]) -> bool {
    if !applies(sizes) {
        return false;
    }
    let Sizes {
        batch,
        rows,
        groups,
        depth,
        columns,
    } = sizes;
    let line = groups * columns;
    let plan = Plan::of(sizes, limits(), threads());
    let work = |batches: usize, columns: usize| {
        NANOSECONDS * (batches * rows * groups) as f64 * (depth * columns) as f64
    };
    if !plan.packs_before {
        let tasks = tasks(plan, sizes, line, (0, columns), (0, out));
        return compute(plan, product, tasks, None, work(batch, columns));
    }
    // One product at a time, and as many of its columns as are packed together.
    let most = (MAX_PACKED / n_pairs(depth) / STRIP * STRIP).max(STRIP);
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

/// As [`multiply`], for rows of the first product of the batch from `first` on, on this thread, to slices for them,
/// `[groups, columns]` each.
pub(crate) fn multiply_rows<P: PairProduct>(
    sizes: Sizes,
    product: &P,
    packed: Option<&Packed>,
    first: usize,
    rows: &mut [&mut [P::Output]],
) -> bool {
    let plan = Plan::of(sizes, limits(), 1);
    let mut tasks = Vec::new();
    for (block, rows) in rows.chunks_mut(plan.mc).enumerate() {
        let rows = rows.iter_mut().map(|row| &mut **row);
        let place = (0, first + block * plan.mc);
        cut_rows(plan, sizes, (0, sizes.columns), place, rows, &mut tasks);
    }
    compute(plan, product, tasks, packed, 0.0)
}

fn limits() -> Limits {
    Limits {
        mc: MC,
        nc: NC,
        height: STRIP,
        tile: STRIP,
        packed: MAX_PACKED,
    }
}

/// The pairs of a column, those of zeros that fill its last step included.
fn n_pairs(depth: usize) -> usize {
    depth.next_multiple_of(STEP) / 2
}

/// The width of the tiles for so many columns of a strip.
fn tile_of(columns: usize) -> usize {
    if columns <= SIDE { SIDE } else { STRIP }
}

/// The right factors of all groups: `[groups, strips, pairs, tile]`.
pub(crate) struct Packed {
    pairs: Scratch,
    magnitudes: Magnitudes,
}

impl Packed {
    /// The first product's factors, for [`multiply_rows`]; `None` if they are too large for that.
    pub(crate) fn of_first<P: PairProduct>(product: &P, sizes: Sizes) -> Option<Self> {
        let columns = sizes.columns.next_multiple_of(STRIP);
        let len = sizes.groups * n_pairs(sizes.depth) * columns;
        (len <= MAX_PACKED).then(|| Self::of(product, 0, sizes, (0, sizes.columns)))
    }

    fn of<P: PairProduct>(
        product: &P,
        batch: usize,
        sizes: Sizes,
        (first, width): (usize, usize),
    ) -> Self {
        struct Pack<'a, R> {
            right: &'a R,
            rows: (usize, usize),
            columns: (usize, usize),
            tile: usize,
            out: &'a mut [u32],
        }

        impl<R: RightPairs> WithSimd for Pack<'_, R> {
            type Output = Magnitudes;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Magnitudes {
                let (rows, columns) = (self.rows, self.columns);
                self.right
                    .pack_pairs(simd, rows, columns, self.tile, self.out)
            }
        }

        let depth = sizes.depth;
        let strip_len = n_pairs(depth) * STRIP;
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
                let tile = tile_of(columns);
                let blocks = packed[..n_pairs(depth) * tile].chunks_mut(KC / 2 * tile);
                parts.extend(blocks.enumerate().map(|(block, out)| Pack {
                    right,
                    rows: (block * KC, KC.min(depth - block * KC)),
                    columns: (first + column, columns),
                    tile,
                    out,
                }));
            }
        }
        let least = AtomicU16::new(Magnitudes::NONE.to_bits());
        parallel_for(
            parts.into_iter(),
            0.1 * (sizes.groups * depth * width) as f64,
            || (),
            |(), part| {
                let magnitudes = simd::dispatch(part);
                least.fetch_min(magnitudes.to_bits(), Ordering::Relaxed);
            },
        );
        Self {
            pairs,
            magnitudes: Magnitudes::from_bits(least.into_inner()),
        }
    }
}

/// Computes tasks, with the right factor packed before or not; false if one of them may not be computed so.
fn compute<P: PairProduct>(
    plan: Plan,
    product: &P,
    tasks: Vec<Task<'_, P::Output>>,
    packed: Option<&Packed>,
    nanoseconds: f64,
) -> bool {
    let (height, nc) = (plan.mc.next_multiple_of(STRIP), plan.nc);
    let depth = plan.depth.min(KC).next_multiple_of(STEP);
    // Rows that are neither a power of two apart nor share the sets of a cache.
    let (row_stride, sums_stride) = (depth + STEP, nc + SIDE);
    // Numbers of 4 bytes: sums, pairs of a strip, rows, and those of them that are not found in place.
    let lengths = [
        height * sums_stride,
        depth / 2 * STRIP,
        height * row_stride / 2,
        plan.mc * SCRATCH_STRIDE / 2,
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
            let (rows, found) = rest.split_at_mut(lengths[2]);
            let done = simd::dispatch(Block {
                plan,
                product,
                packed,
                task,
                sums,
                sums_stride,
                panel: cast_slice_mut(panel),
                rows: cast_slice_mut(rows),
                row_stride,
                found: cast_slice_mut(found),
            });
            if !done {
                is_exact.store(false, Ordering::Relaxed);
            }
        },
    );
    is_exact.into_inner()
}

/// A task and its scratch memory.
struct Block<'a, 'b, P: PairProduct> {
    plan: Plan,
    product: &'a P,
    packed: Option<&'a Packed>,
    task: Task<'b, P::Output>,
    sums: &'a mut [f32],
    sums_stride: usize,
    /// A strip that is packed here.
    panel: &'a mut [u32],
    /// Copied rows.
    rows: &'a mut [bf16],
    row_stride: usize,
    /// Rows that are not read in place, before they are copied.
    found: &'a mut [bf16],
}

impl<P: PairProduct> WithSimd for Block<'_, '_, P> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> bool {
        let Some(tiles) = Tiles::configure() else {
            return false;
        };
        let (first, count) = self.task.groups;
        (first..first + count).all(|group| self.group(simd, &tiles, group))
    }
}

impl<P: PairProduct> Block<'_, '_, P> {
    #[inline(always)]
    fn group<S: Simd>(&mut self, simd: S, tiles: &Tiles, group: usize) -> bool {
        let (product, columns, depth) = (self.product, self.task.columns, self.plan.depth);
        let n_rows = match self.task.out.as_slice() {
            [all] => all.len() / (self.task.groups.1 * columns),
            rows => rows.len(),
        };
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
        let mut of_rows = Magnitudes::NONE;
        let mut of_columns = self.packed.map_or(Magnitudes::NONE, |packed| packed.magnitudes);
        for start in (0..depth).step_by(KC) {
            let count = KC.min(depth - start);
            of_rows = of_rows.and(self.copy_rows(simd, &left, n_rows, (start, count)));
            let adds = start > 0 || before_sums.is_some();
            for column in (0..columns).step_by(STRIP) {
                let width = STRIP.min(columns - column);
                let tile = tile_of(width);
                let len = n_pairs(count) * tile;
                let panel = if let Some(packed) = self.packed {
                    let column = self.task.column - self.task.packed_from + column;
                    let before = (group * self.plan.packed_columns + column) * n_pairs(depth);
                    let pairs: &[u32] = cast_slice(packed.pairs.as_slice());
                    &pairs[before + start / 2 * tile..][..len]
                } else {
                    let panel = &mut self.panel[..len];
                    let at = (self.task.column + column, width);
                    let least = right.pack_pairs(simd, (start, count), at, tile, panel);
                    of_columns = of_columns.and(least);
                    &*panel
                };
                let sums = &mut self.sums[column..];
                let rows = (&*self.rows, self.row_stride, n_rows);
                if tile == SIDE {
                    strip::<1>(tiles, rows, panel, (sums, self.sums_stride), adds);
                } else {
                    strip::<2>(tiles, rows, panel, (sums, self.sums_stride), adds);
                }
            }
        }
        let is_exact = of_rows.is_exact_with(of_columns);
        if is_exact {
            self.store_all(group);
        }
        is_exact
    }

    /// Copies elements `start..start + count` of all rows, followed by zeros to the end of a step.
    #[inline(always)]
    fn copy_rows<S: Simd>(
        &mut self,
        simd: S,
        left: &P::Left,
        n_rows: usize,
        (start, count): (usize, usize),
    ) -> Magnitudes {
        let mut magnitudes = Magnitudes::NONE;
        let mut places = [Place::Zeros; MC];
        let places = &mut places[..n_rows];
        let mut done = 0;
        while done < count {
            let part = left.count(start + done, count - done);
            left.find(simd, self.task.row, (start + done, part), places, self.found);
            let Runs {
                length,
                skip,
                offsets,
            } = left.runs(start + done, part);
            let rows = self.rows.chunks_exact_mut(self.row_stride);
            for (place, row) in places.iter().zip(rows) {
                let row = &mut row[done..done + part];
                let (from, at) = match *place {
                    Place::Source(at) => (left.source(), at),
                    Place::Scratch(at) => (&*self.found, at),
                    Place::Zeros => {
                        row.fill(bf16::ZERO);
                        continue;
                    }
                };
                for (offset, row) in offsets.iter().zip(row.chunks_exact_mut(length)) {
                    let from = &from[at + offset + skip..][..length];
                    magnitudes = magnitudes.and(Magnitudes::copy(from, row));
                }
            }
            done += part;
        }
        let rows = self.rows.chunks_exact_mut(self.row_stride);
        for row in rows.take(n_rows) {
            row[count..count.next_multiple_of(STEP)].fill(bf16::ZERO);
        }
        magnitudes
    }

    /// Stores the sums of a group.
    #[inline(always)]
    fn store_all(&mut self, group: usize) {
        let Task {
            batch,
            groups,
            row,
            column,
            columns,
            out,
            ..
        } = &mut self.task;
        let before = (group - groups.0) * *columns;
        let rows = out
            .iter_mut()
            .flat_map(|out| out.chunks_exact_mut(groups.1 * *columns));
        let sums = self.sums.chunks_mut(self.sums_stride);
        for (i, (out, sums)) in rows.zip(sums).enumerate() {
            let position = Position {
                batch: *batch,
                row: *row + i,
                column: *column,
            };
            let out = &mut out[before..][..*columns];
            self.product.store(position, &mut sums[..*columns], out);
        }
    }
}

/// Adds the products of all rows with a strip of `COLUMNS` tiles.
#[inline(always)]
fn strip<const COLUMNS: usize>(
    tiles: &Tiles,
    (rows, row_stride, n_rows): (&[bf16], usize, usize),
    panel: &[u32],
    (sums, sums_stride): (&mut [f32], usize),
    adds: bool,
) {
    for row in (0..n_rows).step_by(STRIP) {
        let product = TileProduct {
            left: &rows[row * row_stride..],
            left_stride: row_stride,
            right: panel,
            sums: &mut sums[row * sums_stride..],
            sums_stride,
            adds,
        };
        if n_rows - row <= SIDE {
            tiles.multiply::<1, COLUMNS>(product);
        } else {
            tiles.multiply::<2, COLUMNS>(product);
        }
    }
}
