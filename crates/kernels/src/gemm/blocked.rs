//! GEMM over any two factors: `out[b] = left[b] * right[b]` in blocks, for matrix products and convolutions.
//!
//! Formula: `out[b, r, c] = sum over k of left[b, r, k] * right[b, k, c]`, added in `f32` and rounded once where it is stored.
//! Blocking, in BLIS's terms: a task has up to [`MC`] rows and [`NC`] columns. [`KC`] elements of its rows are read in place or
//! copied to the L2 cache as `f32`; each tile of columns, two registers wide and as deep, is packed to the L1 cache and
//! multiplied with all of them, eight rows (four without AVX-512) at a time with their sums in registers. The right factor
//! is packed by the tasks themselves where at most two share it, and once before where more do.
//! Limit: multiplications. Error: `2^-24 * (2 + min(depth, 256) + depth / 256)` of `sum(|left * right|)`, far less on average.

use pulp::{Simd, WithSimd};

use super::factors::{KC, LeftRows, Place, RightColumns, Runs, SCRATCH_STRIDE};
use super::microkernel::{TILE_REGISTERS, add_dot_tile, has_16_registers};
use super::scratch::Scratch;
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

/// The sizes of the factors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Products whose results follow each other.
    pub(crate) batch: usize,
    pub(crate) rows: usize,
    /// Products whose results are side by side in each row of the output.
    pub(crate) groups: usize,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
}

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

    /// Stores the sums of a row of a product from `column` on.
    #[inline(always)]
    fn store(&self, _: Position, sums: &mut [f32], out: &mut [Self::Output]) {
        <Self::Output as Storage>::store(sums, out);
    }
}

/// Where sums belong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) batch: usize,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// Computes all products to `out`, `[batch, rows, groups, columns]`. Nothing is empty, and lengths fit.
pub(crate) fn multiply<P: Product>(sizes: Sizes, product: &P, out: &mut [P::Output]) {
    let tile = TILE_REGISTERS * simd::f32_lanes();
    let plan = Plan::of(sizes, tile);
    let Sizes {
        batch,
        rows,
        groups,
        depth,
        columns,
    } = sizes;
    let work = |batches: usize, columns: usize| {
        NANOSECONDS * (batches * rows * groups) as f64 * (depth * columns) as f64
    };
    if !plan.packs_before {
        let tasks = tasks(plan, sizes, (0, columns), (0, out));
        compute(plan, product, tasks, &[], work(batch, columns));
        return;
    }
    // One product at a time, and as many of its columns as are packed together.
    let most = (MAX_PACKED / depth / tile * tile).max(tile);
    for (b, out) in out.chunks_mut(rows * groups * columns).enumerate() {
        for first in (0..columns).step_by(most) {
            let width = most.min(columns - first);
            let packed = pack_all(product, b, sizes, (first, width));
            let tasks = tasks(plan, sizes, (first, width), (b, out));
            compute(plan, product, tasks, packed.as_slice(), work(1, width));
        }
    }
}

/// Computes the first product of the batch to slices for its rows, `[groups, columns]` each.
pub(crate) fn multiply_rows<P: Product>(sizes: Sizes, product: &P, rows: &mut [&mut [P::Output]]) {
    let tile = TILE_REGISTERS * simd::f32_lanes();
    let plan = Plan::of(sizes, tile);
    let (depth, columns) = (sizes.depth, sizes.columns);
    let most = if plan.packs_before {
        (MAX_PACKED / depth / tile * tile).max(tile)
    } else {
        columns
    };
    for first in (0..columns).step_by(most) {
        let width = most.min(columns - first);
        let packed = plan
            .packs_before
            .then(|| pack_all(product, 0, sizes, (first, width)));
        let mut tasks = Vec::new();
        for (block, rows) in rows.chunks_mut(plan.mc).enumerate() {
            let rows = rows.iter_mut().map(|row| &mut **row);
            let place = (0, block * plan.mc);
            cut_rows(plan, sizes, (first, width), place, rows, &mut tasks);
        }
        let work = NANOSECONDS * (sizes.rows * sizes.groups) as f64 * (depth * width) as f64;
        let packed = packed.as_ref().map_or(&[][..], Scratch::as_slice);
        compute(plan, product, tasks, packed, work);
    }
}

/// How products are cut into tasks.
#[derive(Clone, Copy, Debug)]
struct Plan {
    tile: usize,
    depth: usize,
    /// Rows and columns of a task.
    mc: usize,
    nc: usize,
    /// The columns of a group, and those that are added to fill its tiles.
    packed_columns: usize,
    /// Whether the right factor is packed before all tasks.
    packs_before: bool,
}

impl Plan {
    fn of(sizes: Sizes, tile: usize) -> Self {
        let products = sizes.batch * sizes.groups;
        let wanted = if threads() > 1 { 4 * threads() } else { 1 };
        let (mut mc, mut nc) = (MC, NC);
        let tasks =
            |mc: usize, nc: usize| products * sizes.rows.div_ceil(mc) * sizes.columns.div_ceil(nc);
        // Halved in turns until there are enough tasks; the last steps cost the most.
        while tasks(mc, nc) < wanted && (mc > 16 || nc > 2 * tile) {
            if nc > 2 * tile && (nc > 2 * mc || mc <= 16) {
                nc = (nc / 2).max(tile);
            } else {
                mc /= 2;
            }
        }
        let even = |size: usize, part: usize, unit: usize| {
            size.div_ceil(size.div_ceil(part)).next_multiple_of(unit)
        };
        let blocks = sizes.rows.div_ceil(mc);
        let packed_columns = sizes.columns.next_multiple_of(tile);
        let packs_before = if sizes.groups == 1 {
            products < wanted
        } else {
            sizes.groups * packed_columns * sizes.depth <= MAX_PACKED
        };
        Self {
            tile,
            depth: sizes.depth,
            mc: even(sizes.rows, mc, 8),
            nc: even(sizes.columns, nc, tile),
            packed_columns,
            packs_before: packs_before && blocks > 2 && sizes.depth > 0,
        }
    }
}

/// A part of one product, and where it goes.
struct Task<'a, T> {
    batch: usize,
    group: usize,
    row: usize,
    column: usize,
    /// The columns, and of them those before the ones that are packed together.
    columns: usize,
    packed_from: usize,
    /// A slice for each row, or one for all.
    out: Vec<&'a mut [T]>,
}

impl<'a, T> Task<'a, T> {
    fn new(
        (batch, row): (usize, usize),
        (group, column, columns): (usize, usize, usize),
        packed_from: usize,
        out: Vec<&'a mut [T]>,
    ) -> Self {
        Self {
            batch,
            group,
            row,
            column,
            columns,
            packed_from,
            out,
        }
    }
}

/// Cuts the output of products from `out.0` on.
fn tasks<T>(
    plan: Plan,
    sizes: Sizes,
    (first, width): (usize, usize),
    (first_batch, out): (usize, &mut [T]),
) -> Vec<Task<'_, T>> {
    let Sizes {
        rows,
        groups,
        columns,
        ..
    } = sizes;
    let mut tasks = Vec::new();
    let line = groups * columns;
    for (b, out) in out.chunks_mut(rows * line).enumerate() {
        for (block, out) in out.chunks_mut(plan.mc * line).enumerate() {
            let place = (first_batch + b, block * plan.mc);
            if groups == 1 && width == columns && width <= plan.nc {
                tasks.push(Task::new(place, (0, 0, columns), first, vec![out]));
                continue;
            }
            let rows = out.chunks_mut(line);
            cut_rows(plan, sizes, (first, width), place, rows, &mut tasks);
        }
    }
    tasks
}

/// Adds the tasks of a block of rows, whose first one is at this batch and row.
fn cut_rows<'a, T>(
    plan: Plan,
    sizes: Sizes,
    (first, width): (usize, usize),
    place: (usize, usize),
    rows: impl Iterator<Item = &'a mut [T]>,
    tasks: &mut Vec<Task<'a, T>>,
) {
    let column_blocks = width.div_ceil(plan.nc);
    let from = tasks.len();
    for group in 0..sizes.groups {
        for at in (0..width).step_by(plan.nc) {
            let columns = (group, first + at, plan.nc.min(width - at));
            tasks.push(Task::new(place, columns, first, Vec::new()));
        }
    }
    let tasks = &mut tasks[from..];
    for row in rows {
        for (group, row) in row.chunks_mut(sizes.columns).enumerate() {
            let parts = row[first..first + width].chunks_mut(plan.nc);
            for (at, part) in parts.enumerate() {
                tasks[group * column_blocks + at].out.push(part);
            }
        }
    }
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
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            plan,
            product,
            packed,
            mut task,
            rows: scratch,
            sums,
            panel,
        } = self;
        let columns = task.columns;
        let n_rows = match task.out.as_slice() {
            [all] => all.len() / columns,
            rows => rows.len(),
        };
        let mut left = product.left(task.batch, task.group);
        left.begin(task.row, n_rows);
        let right = product.right(task.batch, task.group);
        let mut places = [Place::Source(0); MC];
        let places = &mut places[..n_rows];
        // The row after the last is all zeros.
        scratch[n_rows * SCRATCH_STRIDE..][..KC].fill(0.0);
        let is_whole = columns.is_multiple_of(S::F32_LANES) && product.stores_sums();
        let target = match task.out.as_mut_slice() {
            [all] if is_whole => <P::Output as Storage>::as_f32(&[], all),
            _ => None,
        };
        let is_stored = target.is_some();
        let (target, stride) = match target {
            Some((_, all)) => (all, columns),
            None => (&mut *sums, plan.nc),
        };
        if plan.depth == 0 {
            target.fill(0.0);
        }
        let mut start = 0;
        while start < plan.depth {
            let count = left.count(start);
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
                    let before = (task.group * plan.packed_columns + column) * plan.depth;
                    &packed[before + start * tile..][..count * tile]
                };
                let sums = Sums {
                    numbers: &mut target[column..],
                    stride,
                    is_first: start == 0,
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
            store_all(product, task, plan.nc, sums);
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

/// Stores the sums of a task, `[rows, stride]`.
#[inline(always)]
fn store_all<P: Product>(product: &P, task: Task<'_, P::Output>, stride: usize, sums: &mut [f32]) {
    let columns = task.columns;
    let rows = task
        .out
        .into_iter()
        .flat_map(|out| out.chunks_exact_mut(columns));
    for (row, (out, sums)) in rows.zip(sums.chunks_mut(stride)).enumerate() {
        let position = Position {
            batch: task.batch,
            row: task.row + row,
            column: task.column,
        };
        product.store(position, &mut sums[..columns], out);
    }
}

/// Parts of rows of a left factor.
#[derive(Clone, Copy)]
struct Rows<'a> {
    source: &'a [f32],
    scratch: &'a [f32],
    places: &'a [Place],
    runs: Runs<'a>,
}

impl<'a> Rows<'a> {
    /// Whether all rows from `first` on, `height` of them, are zeros.
    #[inline(always)]
    fn are_zeros(&self, first: usize, height: usize) -> bool {
        let places = self.places[first..].iter().take(height);
        places
            .into_iter()
            .all(|place| matches!(place, Place::Zeros))
    }

    /// `HEIGHT` rows; the last one again where there are not enough.
    #[inline(always)]
    fn group<const HEIGHT: usize>(&self, first: usize) -> [&'a [f32]; HEIGHT] {
        let last = self.places.len() - 1;
        let reach = self.runs.offsets.last().map_or(0, |last| *last) + self.runs.length;
        // Closures of `array::from_fn` are not always inlined.
        let mut rows = [&[][..]; HEIGHT];
        for (i, row) in rows.iter_mut().enumerate() {
            let (from, at) = match self.places[(first + i).min(last)] {
                Place::Source(at) => (self.source, at),
                Place::Scratch(at) => (self.scratch, at),
                Place::Zeros => (self.scratch, (last + 1) * SCRATCH_STRIDE),
            };
            *row = &from[at..][..reach];
        }
        rows
    }

    /// The products of `HEIGHT` rows with a packed tile.
    #[inline(always)]
    fn dot<S: Simd, const HEIGHT: usize, const REGISTERS: usize>(
        &self,
        simd: S,
        first: usize,
        panel: &[[S::f32s; REGISTERS]],
    ) -> [[S::f32s; REGISTERS]; HEIGHT] {
        let rows = self.group::<HEIGHT>(first);
        let mut sums = [[simd.splat_f32s(0.0); REGISTERS]; HEIGHT];
        let length = self.runs.length;
        for (offset, panel) in self.runs.offsets.iter().zip(panel.chunks_exact(length)) {
            let mut parts = rows;
            for part in &mut parts {
                *part = &part[*offset..][..length];
            }
            sums = add_dot_tile(simd, sums, parts, panel);
        }
        sums
    }
}

/// Sums of a tile of columns.
struct Sums<'a> {
    /// Rows that are `stride` apart.
    numbers: &'a mut [f32],
    stride: usize,
    /// Whether there are no sums yet.
    is_first: bool,
}

impl Sums<'_> {
    /// Adds the products of rows with a packed tile that is `REGISTERS` wide.
    #[inline(always)]
    fn add<S: Simd, const REGISTERS: usize>(self, simd: S, rows: Rows<'_>, panel: &[f32]) {
        if has_16_registers::<S>() {
            self.add_rows::<S, 4, REGISTERS>(simd, rows, panel);
        } else {
            self.add_rows::<S, 8, REGISTERS>(simd, rows, panel);
        }
    }

    #[inline(always)]
    fn add_rows<S: Simd, const HEIGHT: usize, const REGISTERS: usize>(
        self,
        simd: S,
        rows: Rows<'_>,
        panel: &[f32],
    ) {
        let panel = S::as_simd_f32s(panel).0.as_chunks::<REGISTERS>().0;
        let n_rows = rows.places.len();
        for first in (0..n_rows).step_by(HEIGHT) {
            let are_zeros = rows.are_zeros(first, HEIGHT);
            if are_zeros && !self.is_first {
                continue;
            }
            let sums = if are_zeros {
                [[simd.splat_f32s(0.0); REGISTERS]; HEIGHT]
            } else {
                rows.dot::<S, HEIGHT, REGISTERS>(simd, first, panel)
            };
            for (i, sums) in sums.iter().enumerate().take(n_rows - first) {
                let target = &mut self.numbers[(first + i) * self.stride..];
                let target = S::as_mut_simd_f32s(&mut target[..REGISTERS * S::F32_LANES]).0;
                for (target, sum) in target.iter_mut().zip(sums) {
                    *target = if self.is_first {
                        *sum
                    } else {
                        simd.add_f32s(*target, *sum)
                    };
                }
            }
        }
    }
}
