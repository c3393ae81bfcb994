//! GEMM over any two factors: `out[b] = left[b] * right[b]` in blocks, for matrix products and convolutions.
//!
//! Formula: `out[b, r, c] = sum over k of left[b, r, k] * right[b, k, c]`, added in `f32` and rounded once where it is stored.
//! Blocking, in BLIS's terms: a task has up to [`MC`] rows and [`NC`] columns. [`KC`] elements of its rows are read in place or
//! copied to the L2 cache as `f32`; each tile of columns, two registers wide and as deep, is packed to the L1 cache and
//! multiplied with all of them, eight rows (four without AVX-512) at a time with their sums in registers. The right factor
//! is packed by the tasks themselves where at most two share it, and once before where more do.
//! Limit: multiplications. Error: `2^-24 * (2 + min(depth, 256) + depth / 256)` of `sum(|left * right|)`, far less on average.

use pulp::{Simd, WithSimd};

use super::factors::{KC, LeftRows, Place, RightColumns, SCRATCH_STRIDE};
use super::microkernel::TILE_REGISTERS;
use super::scratch::Scratch;
use super::split_tiles;
use super::tasks::{Limits, Plan, Task, cut_rows, tasks};
pub(crate) use super::tasks::{Position, Sizes};
use super::tile_sums::{Rows, Sums};
use crate::element::Element;
use crate::element::private::Storage;
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// The most rows of a task.
const MC: usize = 128;
/// The most columns of a task.
const NC: usize = 512;
/// The most numbers of a packed right factor: 32 MiB.
const MAX_PACKED: usize = 8 << 20;
/// Nanoseconds of a multiplication with its addition on one thread.
const NANOSECONDS: f64 = 0.01;

/// The factors of each product, and what becomes of the sums.
pub(crate) trait Product: Sync {
    type Left: LeftRows;
    type Right: RightColumns;
    type Output: Element;

    fn left(&self, batch: usize, group: usize) -> Self::Left;
    fn right(&self, batch: usize, group: usize) -> Self::Right;

    /// Whether sums are stored as they are, so that they can be added up where they belong.
    fn stores_sums(&self) -> bool {
        false
    }

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

/// Computes all products to `out`, `[batch, rows, groups, columns]`. Nothing is empty, and lengths fit.
pub(crate) fn multiply<P: Product>(sizes: Sizes, product: &P, out: &mut [P::Output]) {
    if split_tiles::multiply(sizes, product, out) {
        return;
    }
    let line = sizes.groups * sizes.columns;
    multiply_strided(sizes, product, (line, threads()), out);
}

/// The same on at most `threads` threads, for a part of a matrix whose rows are `line` elements apart: `out` ends with the
/// last element of the part.
pub(crate) fn multiply_strided<P: Product>(
    sizes: Sizes,
    product: &P,
    (line, threads): (usize, usize),
    out: &mut [P::Output],
) {
    let limits = limits();
    let plan = Plan::of(sizes, limits, threads);
    let tile = limits.tile;
    let Sizes {
        batch,
        rows,
        groups,
        depth,
        columns,
    } = sizes;
    let work = |batches: usize, columns: usize| {
        // No time at all stays on this thread.
        let share = if threads > 1 { NANOSECONDS } else { 0.0 };
        share * (batches * rows * groups) as f64 * (depth * columns) as f64
    };
    if !plan.packs_before {
        let tasks = tasks(plan, sizes, line, (0, columns), (0, out));
        compute(plan, product, tasks, &[], work(batch, columns));
        return;
    }
    // One product at a time, and as many of its columns as are packed together.
    let most = (MAX_PACKED / depth / tile * tile).max(tile);
    for (b, out) in out.chunks_mut(rows * line).enumerate() {
        for first in (0..columns).step_by(most) {
            let width = most.min(columns - first);
            let packed = pack_all(product, b, sizes, (first, width));
            let tasks = tasks(plan, sizes, line, (first, width), (b, out));
            compute(plan, product, tasks, packed.as_slice(), work(1, width));
        }
    }
}

fn limits() -> Limits {
    Limits {
        mc: MC,
        nc: NC,
        min_rows: 16,
        height: 8,
        tile: TILE_REGISTERS * simd::f32_lanes(),
        packed: MAX_PACKED,
        tasks_per_thread: 4,
    }
}

/// Packs the right factor of the first product of the batch, for [`multiply_rows`]; nothing if it is too large for that.
pub(crate) fn pack<P: Product>(sizes: Sizes, product: &P) -> Scratch {
    let tile = TILE_REGISTERS * simd::f32_lanes();
    let columns = sizes.columns.next_multiple_of(tile);
    match sizes.groups * sizes.depth * columns {
        0..=MAX_PACKED => pack_all(product, 0, sizes, (0, sizes.columns)),
        _ => Scratch::new(0),
    }
}

/// Computes rows of the first product of the batch from `first` on, on this thread, to slices for them, `[groups, columns]`
/// each. Their number is that of `sizes`; the right factor may be packed before.
pub(crate) fn multiply_rows<P: Product>(
    sizes: Sizes,
    product: &P,
    packed: &Scratch,
    first: usize,
    rows: &mut [&mut [P::Output]],
) {
    let plan = Plan::of(sizes, limits(), 1);
    let mut tasks = Vec::new();
    for (block, rows) in rows.chunks_mut(plan.mc).enumerate() {
        let rows = rows.iter_mut().map(|row| &mut **row);
        let place = (0, first + block * plan.mc);
        cut_rows(plan, sizes, (0, sizes.columns), place, rows, &mut tasks);
    }
    compute(plan, product, tasks, packed.as_slice(), 0.0);
}

/// Packs columns of the right factors of all groups: `[groups, tiles, depth, tile]`.
fn pack_all<P: Product>(
    product: &P,
    batch: usize,
    sizes: Sizes,
    (first, width): (usize, usize),
) -> Scratch {
    struct Pack<'a, R> {
        right: &'a R,
        rows: (usize, usize),
        columns: (usize, usize),
        tile: usize,
        out: &'a mut [f32],
    }

    impl<R: RightColumns> WithSimd for Pack<'_, R> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.right
                .pack(simd, self.rows, self.columns, self.tile, self.out);
        }
    }

    let (depth, lanes) = (sizes.depth, simd::f32_lanes());
    let tile = TILE_REGISTERS * lanes;
    let group_len = width.next_multiple_of(tile) * depth;
    let mut all = Scratch::new(sizes.groups * group_len);
    let rights: Vec<P::Right> = (0..sizes.groups)
        .map(|group| product.right(batch, group))
        .collect();
    let mut parts = Vec::new();
    let groups = all.as_mut_slice().chunks_exact_mut(group_len);
    for (right, packed) in rights.iter().zip(groups) {
        for (number, packed) in packed.chunks_exact_mut(depth * tile).enumerate() {
            let column = number * tile;
            let columns = tile.min(width - column);
            let tile = if columns <= lanes { lanes } else { tile };
            let packed = packed[..depth * tile].chunks_mut(KC * tile);
            parts.extend(packed.enumerate().map(|(block, out)| Pack {
                right,
                rows: (block * KC, out.len() / tile),
                columns: (first + column, columns),
                tile,
                out,
            }));
        }
    }
    let nanoseconds = 0.3 * (sizes.groups * depth * width) as f64;
    parallel_for(
        parts.into_iter(),
        nanoseconds,
        || (),
        |(), part| simd::dispatch(part),
    );
    all
}

/// Computes tasks, with the right factor packed before or not.
fn compute<P: Product>(
    plan: Plan,
    product: &P,
    tasks: Vec<Task<'_, P::Output>>,
    packed: &[f32],
    nanoseconds: f64,
) {
    // Rows, zeros among them; sums; a tile.
    let lengths = [
        (plan.mc + 1) * SCRATCH_STRIDE,
        plan.mc * plan.nc,
        KC * plan.tile,
    ];
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || Scratch::new(lengths.iter().sum()),
        |scratch, task| {
            let (rows, rest) = scratch.as_mut_slice().split_at_mut(lengths[0]);
            let (sums, panel) = rest.split_at_mut(lengths[1]);
            simd::dispatch(Block {
                plan,
                product,
                packed,
                task,
                rows,
                sums,
                panel,
            });
        },
    );
}

/// A task and its scratch memory.
struct Block<'a, 'b, P: Product> {
    plan: Plan,
    product: &'a P,
    packed: &'a [f32],
    task: Task<'b, P::Output>,
    /// Rows that are copied.
    rows: &'a mut [f32],
    /// `[rows, nc]`.
    sums: &'a mut [f32],
    /// A tile that is packed here.
    panel: &'a mut [f32],
}

impl<P: Product> WithSimd for Block<'_, '_, P> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (first, count) = self.task.groups;
        for group in first..first + count {
            self.group(simd, group);
        }
    }
}

impl<P: Product> Block<'_, '_, P> {
    #[inline(always)]
    fn group<S: Simd>(&mut self, simd: S, group: usize) {
        let Self {
            plan,
            product,
            packed,
            task,
            rows: scratch,
            sums,
            panel,
        } = self;
        let columns = task.columns;
        let line = task.groups.1 * columns;
        let before = (group - task.groups.0) * columns;
        let n_rows = task.n_rows();
        let mut left = product.left(task.batch, group);
        left.begin(task.row, n_rows);
        let right = product.right(task.batch, group);
        let mut places = [Place::Source(0); MC];
        let places = &mut places[..n_rows];
        // The row after the last is all zeros.
        scratch[n_rows * SCRATCH_STRIDE..][..KC].fill(0.0);
        let is_whole = columns.is_multiple_of(S::F32_LANES) && product.stores_sums();
        let target = match task.out.as_mut_slice() {
            [all] if is_whole => <P::Output as Storage>::as_f32(&[], &mut all[before..]),
            _ => None,
        };
        let is_stored = target.is_some();
        let (target, stride) = match target {
            Some((_, all)) => (all, line),
            None => (&mut **sums, plan.nc),
        };
        let before_sums = product.start(group);
        let before_sums = before_sums.map(|numbers| &numbers[task.column..][..columns]);
        if plan.depth == 0 || before_sums.is_some() {
            start_rows(before_sums, columns, target.chunks_mut(stride).take(n_rows));
        }
        let mut start = 0;
        while start < plan.depth {
            let count = left.count(start, KC);
            left.find(simd, task.row, (start, count), places, scratch);
            let rows = Rows {
                source: left.source(),
                scratch,
                places,
                runs: left.runs(start, count),
            };
            for column in (0..columns).step_by(plan.tile) {
                let width = plan.tile.min(columns - column);
                let tile = tile_of::<S>(width);
                let panel = if packed.is_empty() {
                    let panel = &mut panel[..count * tile];
                    let at = (task.column + column, width);
                    right.pack(simd, (start, count), at, tile, panel);
                    &*panel
                } else {
                    let column = task.column - task.packed_from + column;
                    let before = (group * plan.packed_columns + column) * plan.depth;
                    &packed[before + start * tile..][..count * tile]
                };
                let sums = Sums {
                    numbers: &mut target[column..],
                    stride,
                    is_first: start == 0 && before_sums.is_none(),
                };
                if tile == S::F32_LANES {
                    sums.add::<S, 1>(simd, rows, panel);
                } else {
                    sums.add::<S, TILE_REGISTERS>(simd, rows, panel);
                }
            }
            start += count;
        }
        if !is_stored {
            store_all(*product, task, before, plan.nc, sums);
        }
    }
}

/// Writes what sums start as: these numbers, or zeros.
#[inline(always)]
fn start_rows<'a>(
    numbers: Option<&[f32]>,
    columns: usize,
    rows: impl Iterator<Item = &'a mut [f32]>,
) {
    for row in rows {
        match numbers {
            Some(numbers) => row[..columns].copy_from_slice(numbers),
            None => row[..columns].fill(0.0),
        }
    }
}

/// The width of the tile for `n` columns.
#[inline(always)]
fn tile_of<S: Simd>(columns: usize) -> usize {
    if columns <= S::F32_LANES {
        S::F32_LANES
    } else {
        TILE_REGISTERS * S::F32_LANES
    }
}

/// Stores the sums of a group, `[rows, stride]`, which has columns `before` it in each row.
#[inline(always)]
pub(super) fn store_all<P: Product>(
    product: &P,
    task: &mut Task<'_, P::Output>,
    before: usize,
    stride: usize,
    sums: &mut [f32],
) {
    let (columns, line) = (task.columns, task.groups.1 * task.columns);
    let rows = task
        .out
        .iter_mut()
        .flat_map(|out| out.chunks_exact_mut(line));
    for (row, (out, sums)) in rows.zip(sums.chunks_mut(stride)).enumerate() {
        let position = Position {
            batch: task.batch,
            row: task.row + row,
            column: task.column,
        };
        let out = &mut out[before..][..columns];
        product.store(position, &mut sums[..columns], out);
    }
}
