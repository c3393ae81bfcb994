//! Reading operands with any strides block by block, for functions of one to three elements.
//!
//! Blocking: operands in the order of the output are read in place, a task at a time. Where one does not, a block is a
//! part of a row: rows without gaps are read in place, a repeated element is a scalar, and others are gathered into a
//! buffer of their own; where adjacent rows start at adjacent elements, as in a transpose, 16 rows at once, so that all
//! of a cache line is used while it is there. Short rows are gathered together.

use super::strided_layout::{Layout, Strided, layout_of, merged, strides_of};
use crate::error::{Result, length, product};
use crate::parallel::parallel_for;
use crate::strided::RowOffsets;

/// Bytes of a task's output.
const TASK_BYTES: usize = 128 * 1024;
/// Elements of a block of a row.
const BLOCK: usize = 2048;
/// Rows of a tile.
const TILE: usize = 16;
/// Columns of a tile.
const TILE_COLUMNS: usize = 256;
/// Elements between the rows of a tile: not a power of two, which would put all rows into the same cache sets.
const TILE_PITCH: usize = TILE_COLUMNS + 16;
/// Rows shorter than this are gathered together.
const MIN_ROW: usize = 128;
/// Elements of the buffer of an operand: a tile, or a block.
const BUFFER: usize = TILE * TILE_PITCH;

/// An operand of one block.
#[derive(Clone, Copy)]
pub(super) enum Block<'a, T> {
    Slice(&'a [T]),
    Scalar(T),
}

impl<T: Copy> Block<'_, T> {
    /// Elements of a block.
    pub(super) fn part(&self, from: usize, count: usize) -> Block<'_, T> {
        match self {
            Self::Slice(values) => Block::Slice(&values[from..][..count]),
            Self::Scalar(value) => Block::Scalar(*value),
        }
    }
}

/// An operand that is never read.
pub(super) const UNUSED: Strided<'static, ()> = Strided {
    values: &[()],
    start: 0,
    strides: &[],
};

/// What is computed of a block of three operands.
pub(super) type BlockFn<'f, A, B, C, O> =
    &'f (dyn Fn(Block<'_, A>, Block<'_, B>, Block<'_, C>, &mut [O]) + Sync);

/// Calls `function` for every block of an output of `shape`, in row-major order.
///
/// `nanoseconds` is the cost of an element on one thread. An operand of `()` has no strides.
pub(super) fn for_blocks<A, B, C, O>(
    op: &'static str,
    shape: &[usize],
    (a, b, c): (Strided<'_, A>, Strided<'_, B>, Strided<'_, C>),
    out: &mut [O],
    nanoseconds: f64,
    function: BlockFn<'_, A, B, C, O>,
) -> Result<()>
where
    A: Copy + Default + Send + Sync,
    B: Copy + Default + Send + Sync,
    C: Copy + Default + Send + Sync,
    O: Send,
{
    length(op, "out", product(op, shape)?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let zeros = vec![0; shape.len()];
    let strides = [
        strides_of(op, &a, shape, &zeros)?,
        strides_of(op, &b, shape, &zeros)?,
        strides_of(op, &c, shape, &zeros)?,
    ];
    let (sizes, strides) = merged(shape, strides);
    let row = sizes.last().copied().unwrap_or(1);
    let outer = &sizes[..sizes.len().saturating_sub(1)];
    let layouts = strides.map(|strides| layout_of(&strides, outer, row));
    let nanoseconds = nanoseconds.max(0.1) * out.len() as f64;
    let parts = (
        Operand::new(a, &layouts[0]),
        Operand::new(b, &layouts[1]),
        Operand::new(c, &layouts[2]),
    );
    if layouts.iter().any(Layout::is_rows) {
        let is_tiled = layouts.iter().any(Layout::is_tiled) && !outer.is_empty();
        let rows = Rows {
            outer,
            row,
            is_tiled,
        };
        rows.run(parts, out, nanoseconds, function);
        return Ok(());
    }
    let per_task = TASK_BYTES / size_of::<O>();
    let (a, b, c) = parts;
    parallel_for(
        out.chunks_mut(per_task).enumerate(),
        nanoseconds,
        || (),
        |(), (task, out)| {
            let (from, n) = (task * per_task, out.len());
            function(a.range(from, n), b.range(from, n), c.range(from, n), out);
        },
    );
    Ok(())
}

/// An operand and how it is read.
#[derive(Clone, Copy)]
struct Operand<'a, T> {
    values: &'a [T],
    start: usize,
    layout: &'a Layout,
}

impl<'a, T: Copy + Default> Operand<'a, T> {
    fn new(given: Strided<'a, T>, layout: &'a Layout) -> Self {
        Self {
            values: given.values,
            start: given.start,
            layout,
        }
    }

    /// Elements in the order of the output, if none has to be gathered.
    fn range(&self, from: usize, count: usize) -> Block<'a, T> {
        match self.layout {
            Layout::Scalar => Block::Scalar(self.values[self.start]),
            _ => Block::Slice(&self.values[self.start + from..][..count]),
        }
    }

    fn buffer(&self) -> Vec<T> {
        match self.layout {
            Layout::Rows { .. } => vec![T::default(); BUFFER],
            _ => Vec::new(),
        }
    }

    /// Where the rows from `row` on start.
    fn offsets(&self, outer: &'a [usize], row: usize) -> Option<RowOffsets<'a>> {
        match self.layout {
            Layout::Rows { outer: strides, .. } => Some(RowOffsets::from_row(outer, strides, row)),
            _ => None,
        }
    }

    /// A part of one row: in place or gathered.
    fn part<'b>(&self, at: usize, column: usize, count: usize, buffer: &'b mut [T]) -> Block<'b, T>
    where
        'a: 'b,
    {
        let Layout::Rows { last, .. } = self.layout else {
            return self.range(at + column, count);
        };
        let first = self.start.wrapping_add(at);
        match last {
            0 => Block::Scalar(self.values[first]),
            1 => Block::Slice(&self.values[first.wrapping_add(column)..][..count]),
            _ => {
                let buffer = &mut buffer[..count];
                gather(
                    self.values,
                    first.wrapping_add(column.wrapping_mul(*last)),
                    *last,
                    buffer,
                );
                Block::Slice(buffer)
            }
        }
    }
}

/// Elements `step` apart from `first` on; the step wraps around.
fn gather<T: Copy>(values: &[T], first: usize, step: usize, out: &mut [T]) {
    if step == 1 {
        out.copy_from_slice(&values[first..][..out.len()]);
    } else if step == 0 {
        out.fill(values[first]);
    } else if step == usize::MAX {
        let lowest = (first + 1) - out.len();
        let from = &values[lowest..][..out.len()];
        for (out, value) in out.iter_mut().zip(from.iter().rev()) {
            *out = *value;
        }
    } else if step < usize::MAX / 2 {
        for (out, value) in out.iter_mut().zip(values[first..].iter().step_by(step)) {
            *out = *value;
        }
    } else {
        let mut index = first;
        for out in out {
            *out = values[index];
            index = index.wrapping_add(step);
        }
    }
}

/// An output whose operands are read by rows.
struct Rows<'a> {
    outer: &'a [usize],
    row: usize,
    is_tiled: bool,
}

impl Rows<'_> {
    fn run<A, B, C, O>(
        &self,
        (a, b, c): (Operand<'_, A>, Operand<'_, B>, Operand<'_, C>),
        out: &mut [O],
        nanoseconds: f64,
        function: BlockFn<'_, A, B, C, O>,
    ) where
        A: Copy + Default + Send + Sync,
        B: Copy + Default + Send + Sync,
        C: Copy + Default + Send + Sync,
        O: Send,
    {
        let row = self.row;
        let per_task = (TASK_BYTES / size_of::<O>() / row).max(1);
        let per_task = if self.is_tiled {
            per_task.next_multiple_of(TILE)
        } else {
            per_task
        };
        // Of one long row, tasks are parts.
        let columns = if self.is_tiled {
            row
        } else {
            row.min(TASK_BYTES / size_of::<O>())
        };
        let tasks: Vec<(usize, usize, &mut [O])> = if columns < row {
            out.chunks_mut(row)
                .enumerate()
                .flat_map(|(number, out)| {
                    let parts = out.chunks_mut(columns).enumerate();
                    parts.map(move |(part, out)| (number, part * columns, out))
                })
                .collect()
        } else {
            let groups = out.chunks_mut(per_task * row).enumerate();
            groups
                .map(|(task, out)| (task * per_task, 0, out))
                .collect()
        };
        parallel_for(
            tasks.into_iter(),
            nanoseconds,
            || (a.buffer(), b.buffer(), c.buffer()),
            |(a_buffer, b_buffer, c_buffer), (first, column, out)| {
                let mut part = Part {
                    rows: self,
                    first,
                    column,
                    operands: (&a, &b, &c),
                    buffers: (a_buffer, b_buffer, c_buffer),
                };
                if self.is_tiled || row < MIN_ROW {
                    part.by_tiles(out, function);
                } else {
                    part.by_rows(out, function);
                }
            },
        );
    }
}

/// A task: rows from the first on, or a part of one from a column on.
struct Part<'t, 'a, A, B, C> {
    rows: &'t Rows<'t>,
    first: usize,
    column: usize,
    operands: (&'t Operand<'a, A>, &'t Operand<'a, B>, &'t Operand<'a, C>),
    buffers: (&'t mut [A], &'t mut [B], &'t mut [C]),
}

impl<A, B, C> Part<'_, '_, A, B, C>
where
    A: Copy + Default,
    B: Copy + Default,
    C: Copy + Default,
{
    /// A row at a time, and a block of it at a time.
    fn by_rows<O>(&mut self, out: &mut [O], function: BlockFn<'_, A, B, C, O>) {
        let (a, b, c) = self.operands;
        let Rows { outer, row, .. } = *self.rows;
        let mut at = RowStarts::new((a, b, c), outer, self.first);
        let is_in_place = a.is_in_place() && b.is_in_place() && c.is_in_place();
        let block = if is_in_place { usize::MAX } else { BLOCK };
        let width = row.min(out.len());
        for (number, out) in out.chunks_mut(width).enumerate() {
            let starts = at.starts((self.first + number) * row);
            let mut column = self.column;
            for out in out.chunks_mut(block.min(width)) {
                let n = out.len();
                function(
                    a.part(starts[0], column, n, self.buffers.0),
                    b.part(starts[1], column, n, self.buffers.1),
                    c.part(starts[2], column, n, self.buffers.2),
                    out,
                );
                column += n;
            }
            at.advance();
        }
    }

    /// Up to 16 rows at a time, a few columns of each; all of short rows, which are one block then.
    fn by_tiles<O>(&mut self, out: &mut [O], function: BlockFn<'_, A, B, C, O>) {
        let (a, b, c) = self.operands;
        let Rows { outer, row, .. } = *self.rows;
        let is_short = row < MIN_ROW;
        let pitch = if is_short { row } else { TILE_PITCH };
        let group = if is_short {
            TILE.max(BLOCK / row)
        } else {
            TILE
        };
        let mut first = self.first;
        for out in out.chunks_mut(group * row) {
            let rows = out.len() / row;
            for column in (0..row).step_by(TILE_COLUMNS) {
                let columns = TILE_COLUMNS.min(row - column);
                let tile = Tile {
                    first,
                    rows,
                    column,
                    columns,
                    pitch,
                };
                a.gather_tile(outer, &tile, self.buffers.0);
                b.gather_tile(outer, &tile, self.buffers.1);
                c.gather_tile(outer, &tile, self.buffers.2);
                if is_short {
                    let (from, n) = (first * row, rows * row);
                    function(
                        a.of_tile(0, from, n, self.buffers.0),
                        b.of_tile(0, from, n, self.buffers.1),
                        c.of_tile(0, from, n, self.buffers.2),
                        out,
                    );
                    continue;
                }
                for (number, out) in out.chunks_mut(row).enumerate() {
                    let from = (first + number) * row + column;
                    let in_tile = number * pitch;
                    function(
                        a.of_tile(in_tile, from, columns, self.buffers.0),
                        b.of_tile(in_tile, from, columns, self.buffers.1),
                        c.of_tile(in_tile, from, columns, self.buffers.2),
                        &mut out[column..column + columns],
                    );
                }
            }
            first += rows;
        }
    }
}

/// Some columns of some rows, gathered with `pitch` elements between the rows.
struct Tile {
    first: usize,
    rows: usize,
    column: usize,
    columns: usize,
    pitch: usize,
}

impl<T: Copy + Default> Operand<'_, T> {
    fn is_in_place(&self) -> bool {
        !matches!(self.layout, Layout::Rows { last, .. } if *last > 1)
    }

    fn gather_tile(&self, outer: &[usize], tile: &Tile, buffer: &mut [T]) {
        let Layout::Rows {
            outer: strides,
            last,
        } = self.layout
        else {
            return;
        };
        let mut offsets = RowOffsets::from_row(outer, strides, tile.first);
        let skipped = tile.column.wrapping_mul(*last);
        let mut done = 0;
        while done < tile.rows {
            let first = self
                .start
                .wrapping_add(offsets.current())
                .wrapping_add(skipped);
            let together = if self.layout.is_tiled() {
                offsets.rows_left().min(tile.rows - done)
            } else {
                1
            };
            if together == 1 {
                gather(
                    self.values,
                    first,
                    *last,
                    &mut buffer[done * tile.pitch..][..tile.columns],
                );
            } else {
                for column in 0..tile.columns {
                    let from =
                        &self.values[first.wrapping_add(column.wrapping_mul(*last))..][..together];
                    for (number, value) in from.iter().enumerate() {
                        buffer[(done + number) * tile.pitch + column] = *value;
                    }
                }
            }
            offsets.advance(together);
            done += together;
        }
    }

    /// Elements that a tile has gathered, or those in place.
    fn of_tile<'b>(
        &'b self,
        in_tile: usize,
        from: usize,
        count: usize,
        buffer: &'b [T],
    ) -> Block<'b, T> {
        match self.layout {
            Layout::Rows { .. } => Block::Slice(&buffer[in_tile..][..count]),
            _ => self.range(from, count),
        }
    }
}

/// Where the current row of each operand starts.
struct RowStarts<'a> {
    offsets: [Option<RowOffsets<'a>>; 3],
}

impl<'a> RowStarts<'a> {
    fn new<A, B, C>(
        (a, b, c): (&Operand<'a, A>, &Operand<'a, B>, &Operand<'a, C>),
        outer: &'a [usize],
        row: usize,
    ) -> Self
    where
        A: Copy + Default,
        B: Copy + Default,
        C: Copy + Default,
    {
        Self {
            offsets: [
                a.offsets(outer, row),
                b.offsets(outer, row),
                c.offsets(outer, row),
            ],
        }
    }

    /// `contiguous` is the index in the order of the output.
    fn starts(&self, contiguous: usize) -> [usize; 3] {
        self.offsets
            .each_ref()
            .map(|offsets| offsets.as_ref().map_or(contiguous, RowOffsets::current))
    }

    fn advance(&mut self) {
        self.offsets
            .iter_mut()
            .flatten()
            .for_each(|offsets| offsets.advance(1));
    }
}
