//! GEMM of `bf16` by the processor's matrix tiles (AMX), for matrix products and convolutions.
//!
//! Formula: as in `blocked.rs`; products of `bf16` are exact in `f32`, in which they are added, and rounded once where the sum
//! is stored.
//! Blocking: a task has up to [`MC`] rows and [`NC`] columns. [`KC`] elements of its rows are copied to the L2 cache, rounded up
//! to whole steps of 32 by zeros, or read in place (windows of a convolution over many channels, which overlap); strips of 32
//! columns are packed in pairs, which the L1 cache holds, by the tasks or before; the sums of 32 rows and 32 columns, four
//! tiles, stay in registers for all of [`KC`].
//! Limit: copies, packing and stores; the tiles themselves multiply ten times as fast as vectors of `f32`.
//! Error: `2^-24 * (20 + depth / 32)` of `sum(|left * right|)`, as the instruction adds 16 pairs and then to the sum.
//!
//! Tiles take denormal numbers for zero. The least exponents of both factors, found while they are copied, tell whether there
//! are any, or could be any among the sums ([`Magnitudes`]); where they cannot exclude it the product is not computed here,
//! and the caller does so in `f32`.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use half::bf16;
use pulp::bytemuck::{cast_slice, cast_slice_mut};
use pulp::{Simd, WithSimd};

use super::chunks::{Chunk, Chunks};
use super::factors::{LeftRows, Place, Runs, SCRATCH_STRIDE};
use super::pairs::{RightPairs, n_pairs};
use super::scratch::Scratch;
use super::tasks::{Limits, Plan, Position, Sizes, Task, cut_rows, tasks};
use crate::element::Element;
use crate::element::private::Storage;
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::simd::amx::{self, SIDE, STEP, STRIP, Steps, TileProduct, Tiles};
use crate::simd::magnitudes::{Least, Magnitudes};

/// The most rows of a task: a multiple of [`STRIP`].
const MC: usize = 256;
/// The rows below which tasks are not cut, as each of them packs its columns.
const MIN_ROWS: usize = 64;
/// The most columns of a task, and of those that are packed in one piece: a multiple of [`STRIP`].
const NC: usize = 512;
/// The depth that is added up in registers, a multiple of [`STEP`]: 32 columns of it, and 32 rows, fill the L1 cache. With
/// twice as much a product takes a fifth longer.
pub(crate) const KC: usize = 256;
/// Columns that are packed by a task, where that is done before: a multiple of [`STRIP`].
const PACKED_COLUMNS: usize = 256;
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

    /// The depth that is added up in registers: a multiple of [`STEP`], and at most [`Steps::MOST`] of them.
    fn depth_of_block(&self) -> usize {
        KC
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
        min_rows: MIN_ROWS,
        height: STRIP,
        tile: STRIP,
        packed: MAX_PACKED,
        // Larger tasks read less: memory limits, not the tiles.
        tasks_per_thread: 2,
    }
}

/// The right factors of all groups: `[groups, blocks of the depth, strips, pairs, STRIP]`.
pub(crate) struct Packed {
    pairs: Scratch,
    /// The columns of a group, and those of zeros that fill its last strip.
    columns: usize,
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
            out: &'a mut [u32],
        }

        impl<R: RightPairs> WithSimd for Pack<'_, R> {
            type Output = Magnitudes;

            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) -> Magnitudes {
                let (rows, columns) = (self.rows, self.columns);
                self.right.pack_pairs(simd, rows, columns, self.out)
            }
        }

        let (depth, kc) = (sizes.depth, product.depth_of_block());
        let padded = width.next_multiple_of(STRIP);
        let group_len = n_pairs(depth) * padded;
        let mut pairs = Scratch::new(sizes.groups * group_len);
        let rights: Vec<P::Right> = (0..sizes.groups)
            .map(|group| product.right(batch, group))
            .collect();
        let mut parts = Vec::new();
        let groups = cast_slice_mut(pairs.as_mut_slice()).chunks_exact_mut(group_len);
        for (right, packed) in rights.iter().zip(groups) {
            for (block, packed) in packed.chunks_mut(kc / 2 * padded).enumerate() {
                let rows = (block * kc, kc.min(depth - block * kc));
                let strips = packed.chunks_mut(n_pairs(rows.1) * PACKED_COLUMNS);
                parts.extend(strips.enumerate().map(|(number, out)| {
                    let column = number * PACKED_COLUMNS;
                    Pack {
                        right,
                        rows,
                        columns: (first + column, PACKED_COLUMNS.min(width - column)),
                        out,
                    }
                }));
            }
        }
        let least = AtomicU16::new(Magnitudes::NONE.to_bits());
        parallel_for(
            parts.into_iter(),
            0.1 * (sizes.groups * depth * width) as f64,
            || (),
            |(), part| {
                let magnitudes = simd::dispatch_beside_tiles(part).unwrap_or(Magnitudes::NONE);
                least.fetch_min(magnitudes.to_bits(), Ordering::Relaxed);
            },
        );
        Self {
            pairs,
            columns: padded,
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
    // Rows that are read in place leave gaps where lines end.
    let (height, nc) = ((plan.mc + plan.mc / 4).next_multiple_of(STRIP), plan.nc);
    let depth = plan
        .depth
        .min(product.depth_of_block())
        .next_multiple_of(STEP);
    // Rows that are neither a power of two apart nor share the sets of a cache.
    let (row_stride, sums_stride) = (depth + STEP, nc + SIDE);
    // Numbers of 4 bytes: sums, pairs, rows, and those of them that are not found in place.
    let lengths = [
        height * sums_stride,
        if packed.is_some() { 0 } else { depth / 2 * nc },
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
            let done = simd::dispatch_beside_tiles(Block {
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
            if done != Some(true) {
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
    /// Columns that are packed here.
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
        // A loop: closures are not always inlined, and then compiled without the vector instructions.
        let mut is_exact = true;
        for group in first..first + count {
            is_exact &= self.group(simd, &tiles, group);
        }
        is_exact
    }
}

impl<P: PairProduct> Block<'_, '_, P> {
    #[inline(always)]
    fn group<S: Simd>(&mut self, simd: S, tiles: &Tiles, group: usize) -> bool {
        let n_rows = self.task.n_rows();
        let mut left = self.product.left(self.task.batch, group);
        left.begin(self.task.row, n_rows);
        let in_place = left.in_place();
        let (chunks, of_rows) = if let Some(rows) = &in_place {
            let mut places = [Place::Zeros; MC];
            let places = &mut places[..n_rows];
            left.find(simd, self.task.row, (0, STEP), places, self.found);
            let starts = places.iter().map(|place| match *place {
                Place::Source(at) => at,
                Place::Scratch(_) | Place::Zeros => 0,
            });
            let mut least = Least::NONE;
            least.add_all::<S>(&rows.numbers[..rows.len]);
            (Chunks::of(starts, rows.stride), least.magnitudes::<S>())
        } else {
            let starts = (0..n_rows).map(|row| row * self.row_stride);
            (Chunks::of(starts, self.row_stride), Magnitudes::NONE)
        };
        // One part, unless many rows of chunks are gaps.
        let mut is_exact = true;
        for part in chunks.parts(self.sums.len() / (self.sums_stride * STRIP)) {
            let of_factors = self.sums_of(simd, tiles, (group, &left), part);
            is_exact &= of_rows.and(of_factors.0).is_exact_with(of_factors.1);
            if is_exact {
                self.store(group, part, &chunks.places);
            }
        }
        is_exact
    }

    /// Adds up the sums of chunks of rows; says what magnitudes of copied rows and of columns it has seen.
    #[inline(always)]
    fn sums_of<S: Simd>(
        &mut self,
        simd: S,
        tiles: &Tiles,
        (group, left): (usize, &P::Left),
        chunks: &[Chunk],
    ) -> (Magnitudes, Magnitudes) {
        let (product, columns, depth) = (self.product, self.task.columns, self.plan.depth);
        let n_rows = self.task.n_rows();
        let right = product.right(self.task.batch, group);
        let before_sums = product.start(group);
        if let Some(numbers) = before_sums {
            let numbers = &numbers[self.task.column..][..columns];
            let rows = self.sums.chunks_mut(self.sums_stride);
            for sums in rows.take(chunks.len() * STRIP) {
                sums[..columns].copy_from_slice(numbers);
            }
        }
        let in_place = left.in_place();
        let mut of_rows = Magnitudes::NONE;
        let mut of_columns = match self.packed {
            Some(packed) => packed.magnitudes,
            None => Magnitudes::NONE,
        };
        let kc = product.depth_of_block();
        for start in (0..depth).step_by(kc) {
            let count = kc.min(depth - start);
            let steps = count.div_ceil(STEP);
            let rows = if let Some(rows) = in_place {
                let steps = Steps::at(&rows.steps[start / STEP..][..steps]);
                (rows.numbers, rows.stride, steps)
            } else {
                of_rows = of_rows.and(self.copy_rows(simd, left, n_rows, (start, count)));
                (&*self.rows, self.row_stride, Steps::adjacent(steps))
            };
            let adds = start > 0 || before_sums.is_some();
            let len = n_pairs(count) * STRIP;
            let strips = if let Some(packed) = self.packed {
                let pairs: &[u32] = cast_slice(packed.pairs.as_slice());
                let column = self.task.column - self.task.packed_from;
                let before = group * n_pairs(depth) + start / 2;
                &pairs[before * packed.columns + column / STRIP * len..]
            } else {
                let panel = &mut self.panel[..columns.div_ceil(STRIP) * len];
                let at = (self.task.column, columns);
                let least = right.pack_pairs(simd, (start, count), at, panel);
                of_columns = of_columns.and(least);
                &*panel
            };
            for (column, panel) in (0..columns).step_by(STRIP).zip(strips.chunks_exact(len)) {
                let sums = (&mut self.sums[column..], self.sums_stride);
                if columns - column <= SIDE {
                    strip::<1>(tiles, rows, chunks, panel, sums, adds);
                } else {
                    strip::<2>(tiles, rows, chunks, panel, sums, adds);
                }
            }
        }
        (of_rows, of_columns)
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
        let mut least = Least::NONE;
        let mut places = [Place::Zeros; MC];
        let places = &mut places[..n_rows];
        let mut done = 0;
        while done < count {
            let part = left.count(start + done, count - done);
            left.find(
                simd,
                self.task.row,
                (start + done, part),
                places,
                self.found,
            );
            let Runs {
                length,
                skip,
                offsets,
            } = left.runs(start + done, part);
            let rows = self.rows.chunks_exact_mut(self.row_stride);
            for (place, row) in places.iter().zip(rows) {
                let row = &mut row[done..];
                let (from, at) = match *place {
                    Place::Source(at) => (left.source(), at),
                    Place::Scratch(at) => (&*self.found, at),
                    Place::Zeros => {
                        row[..part].fill(bf16::ZERO);
                        continue;
                    }
                };
                // What is written behind the last run is written again, or has no meaning.
                least.copy_runs::<S>(&from[at + skip..], offsets, length, row);
            }
            done += part;
        }
        let rows = self.rows.chunks_exact_mut(self.row_stride);
        for row in rows.take(n_rows) {
            row[count..count.next_multiple_of(STEP)].fill(bf16::ZERO);
        }
        least.magnitudes::<S>()
    }

    /// Stores the sums of a group for chunks of rows, which are at these places in their chunks.
    #[inline(always)]
    fn store(&mut self, group: usize, chunks: &[Chunk], places: &[u8]) {
        let Task {
            batch,
            groups,
            row,
            column,
            columns,
            out,
            ..
        } = &mut self.task;
        let (before, line) = ((group - groups.0) * *columns, groups.1 * *columns);
        for (chunk, sums) in chunks
            .iter()
            .zip(self.sums.chunks_mut(STRIP * self.sums_stride))
        {
            for at in chunk.first..chunk.first + chunk.count {
                let position = Position {
                    batch: *batch,
                    row: *row + at,
                    column: *column,
                };
                let out = match out.as_mut_slice() {
                    [all] => &mut all[at * line..],
                    rows => &mut *rows[at],
                };
                let sums = &mut sums[usize::from(places[at]) * self.sums_stride..][..*columns];
                self.product
                    .store(position, sums, &mut out[before..][..*columns]);
            }
        }
    }
}

/// Adds the products of chunks of rows with a strip of `COLUMNS` tiles.
#[inline(always)]
fn strip<const COLUMNS: usize>(
    tiles: &Tiles,
    (rows, row_stride, steps): (&[bf16], usize, Steps<'_>),
    chunks: &[Chunk],
    panel: &[u32],
    (sums, sums_stride): (&mut [f32], usize),
    adds: bool,
) {
    for (chunk, sums) in chunks.iter().zip(sums.chunks_mut(STRIP * sums_stride)) {
        let product = TileProduct {
            left: &rows[chunk.at..],
            left_stride: row_stride,
            steps,
            right: panel,
            sums,
            sums_stride,
            adds,
        };
        if chunk.height <= SIDE {
            tiles.multiply::<1, COLUMNS>(product);
        } else {
            tiles.multiply::<2, COLUMNS>(product);
        }
    }
}
