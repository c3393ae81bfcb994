//! How blocked products are cut into tasks: blocks of rows and columns of all products, each with its part of the output.

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

/// Where sums belong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) batch: usize,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// What bounds the size of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most rows and columns of a task.
    pub(super) mc: usize,
    pub(super) nc: usize,
    /// The rows below which tasks are not cut.
    pub(super) min_rows: usize,
    /// The rows and columns of a tile.
    pub(super) height: usize,
    pub(super) tile: usize,
    /// The most numbers of a packed right factor.
    pub(super) packed: usize,
    /// How many tasks a thread should have, so that all are at work to the end.
    pub(super) tasks_per_thread: usize,
}

/// How products are cut into tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) tile: usize,
    pub(super) depth: usize,
    /// Rows and columns of a task.
    pub(super) mc: usize,
    pub(super) nc: usize,
    /// How many tasks there should be.
    wanted: usize,
    /// The columns of a group, and those that are added to fill its tiles.
    pub(super) packed_columns: usize,
    /// Whether the right factor is packed before all tasks.
    pub(super) packs_before: bool,
}

impl Plan {
    pub(super) fn of(sizes: Sizes, limits: Limits, threads: usize) -> Self {
        let Limits {
            mut mc,
            mut nc,
            min_rows,
            tile,
            ..
        } = limits;
        let products = sizes.batch * sizes.groups;
        let wanted = if threads > 1 {
            limits.tasks_per_thread * threads
        } else {
            1
        };
        let tasks =
            |mc: usize, nc: usize| products * sizes.rows.div_ceil(mc) * sizes.columns.div_ceil(nc);
        // Halved in turns until there are enough tasks; the last steps cost the most.
        while tasks(mc, nc) < wanted && (mc > min_rows || nc > 2 * tile) {
            if nc > 2 * tile && (nc > 2 * mc || mc <= min_rows) {
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
            sizes.groups * packed_columns * sizes.depth <= limits.packed
        };
        Self {
            tile,
            depth: sizes.depth,
            mc: even(sizes.rows, mc, limits.height),
            nc: even(sizes.columns, nc, tile),
            wanted,
            packed_columns,
            packs_before: packs_before && blocks > 2 && sizes.depth > 0,
        }
    }
}

/// A part of a product, or of the products of all groups, and where it goes.
pub(super) struct Task<'a, T> {
    pub(super) batch: usize,
    /// The first group, and how many.
    pub(super) groups: (usize, usize),
    pub(super) row: usize,
    pub(super) column: usize,
    /// The columns of each group, and of them those before the ones that are packed together.
    pub(super) columns: usize,
    pub(super) packed_from: usize,
    /// A slice for each row, or one for all.
    pub(super) out: Vec<&'a mut [T]>,
}

impl<T> Task<'_, T> {
    /// The rows of the task.
    #[inline(always)]
    pub(super) fn n_rows(&self) -> usize {
        match self.out.as_slice() {
            [all] => all.len() / (self.groups.1 * self.columns),
            rows => rows.len(),
        }
    }
}

/// Cuts the output of products from `out.0` on, with rows `line` elements apart.
pub(super) fn tasks<T>(
    plan: Plan,
    sizes: Sizes,
    line: usize,
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
    // Whole rows need no slice for each, if there are enough tasks.
    let is_whole = width == columns && width <= plan.nc && line == groups * columns;
    let is_whole = is_whole && (groups == 1 || rows.div_ceil(plan.mc) >= plan.wanted);
    for (b, out) in out.chunks_mut(rows * line).enumerate() {
        for (block, out) in out.chunks_mut(plan.mc * line).enumerate() {
            let place = (first_batch + b, block * plan.mc);
            if is_whole {
                tasks.push(Task {
                    batch: place.0,
                    groups: (0, groups),
                    row: place.1,
                    column: first,
                    columns,
                    packed_from: first,
                    out: vec![out],
                });
                continue;
            }
            let rows = out.chunks_mut(line);
            cut_rows(plan, sizes, (first, width), place, rows, &mut tasks);
        }
    }
    tasks
}

/// Adds the tasks of a block of rows, whose first one is at this batch and row.
pub(super) fn cut_rows<'a, T>(
    plan: Plan,
    sizes: Sizes,
    (first, width): (usize, usize),
    (batch, row): (usize, usize),
    rows: impl ExactSizeIterator<Item = &'a mut [T]>,
    tasks: &mut Vec<Task<'a, T>>,
) {
    let column_blocks = width.div_ceil(plan.nc);
    let from = tasks.len();
    for group in 0..sizes.groups {
        for at in (0..width).step_by(plan.nc) {
            tasks.push(Task {
                batch,
                groups: (group, 1),
                row,
                column: first + at,
                columns: plan.nc.min(width - at),
                packed_from: first,
                out: Vec::with_capacity(rows.len()),
            });
        }
    }
    let tasks = &mut tasks[from..];
    for row in rows {
        // What is behind the columns of all groups belongs to others.
        let (row, _) = row.split_at_mut(sizes.groups * sizes.columns);
        for (group, row) in row.chunks_mut(sizes.columns).enumerate() {
            let parts = row[first..first + width].chunks_mut(plan.nc);
            for (at, part) in parts.enumerate() {
                tasks[group * column_blocks + at].out.push(part);
            }
        }
    }
}
