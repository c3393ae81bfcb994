//! What a blocked product reads: rows of the left factor, packed tiles of the right one, both as `f32`, or as `bf16` where
//! the processor multiplies that (`pairs.rs`).

use pulp::Simd;

use crate::element::Element;
use crate::simd::transpose::{ROWS as SIDE, transpose_rows};

/// Elements of a row that are multiplied before the next row's: with a tile of columns they fill the L1 cache.
pub(crate) const KC: usize = 256;
/// The distance of rows in scratch memory: not a power of two, so that they do not share the sets of a cache.
pub(crate) const SCRATCH_STRIDE: usize = KC + 16;

/// Elements of a row that are converted before they are transposed.
const WIDTH: usize = 128;

/// Where a row's elements are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// At this index of the source.
    Source(usize),
    /// At this index of the scratch memory.
    Scratch(usize),
    /// All of them are zeros.
    Zeros,
}

/// Adjacent elements of a row, and where they continue.
#[derive(Clone, Copy)]
pub(crate) struct Runs<'a> {
    /// The elements of a run.
    pub(crate) length: usize,
    /// What is added to all offsets; 0 if the caller starts at 0 and asks for [`KC`] elements.
    pub(crate) skip: usize,
    /// Where the runs start, in ascending order.
    pub(crate) offsets: &'a [usize],
}

/// Rows that matrix tiles read where they are.
#[derive(Clone, Copy)]
pub(crate) struct InPlace<'a, N> {
    /// The elements of all rows, and behind them what is read past the last row of a tile, which has no meaning.
    pub(crate) numbers: &'a [N],
    pub(crate) len: usize,
    /// How far apart neighbouring rows are, if they are equally far.
    pub(crate) stride: usize,
    /// Where the steps of a row are, counted from its start.
    pub(crate) steps: &'a [usize],
}

/// The rows of a left factor, as numbers of a type.
pub(crate) trait LeftRows<N: 'static = f32>: Sync {
    /// Called once for the rows of a task, before all else.
    fn begin(&mut self, _first: usize, _rows: usize) {}

    /// What [`Place::Source`] means.
    fn source(&self) -> &[N];

    /// The rows of the task, if tiles can read them in place: all are then found in the source, and each of their steps is
    /// adjacent and of one run.
    fn in_place(&self) -> Option<InPlace<'_, N>> {
        None
    }

    /// How many elements of each row, from `start` on, are found together: at most `most` and [`KC`], and at least one.
    fn count(&self, start: usize, most: usize) -> usize;

    /// Where the elements that are found together are, counted from the place of their row: runs of adjacent elements of
    /// one length, which start at these offsets.
    fn runs(&self, _start: usize, count: usize) -> Runs<'_> {
        Runs {
            length: count,
            skip: 0,
            offsets: &[0],
        }
    }

    /// Tells where elements `start..start + count` of the rows from `first` on are, a row for each place; copies to
    /// `scratch` what cannot be read in place.
    fn find<S: Simd>(
        &self,
        simd: S,
        first: usize,
        columns: (usize, usize),
        places: &mut [Place],
        scratch: &mut [N],
    );
}

/// The columns of a right factor.
pub(crate) trait RightColumns: Sync {
    /// Writes rows `rows.0..rows.0 + rows.1` of columns `columns.0..columns.0 + columns.1` to `out`, `[rows, tile]`, and
    /// zeros where there are fewer columns than `tile`.
    fn pack<S: Simd>(
        &self,
        simd: S,
        rows: (usize, usize),
        columns: (usize, usize),
        tile: usize,
        out: &mut [f32],
    );
}

/// Copies numbers in registers: a call that copies so few bytes costs more than they do.
#[inline(always)]
pub(crate) fn copy_in_registers<S: Simd>(from: &[f32], out: &mut [f32]) {
    let (from, from_rest) = S::as_simd_f32s(from);
    let (out, out_rest) = S::as_mut_simd_f32s(out);
    for (out, from) in out.iter_mut().zip(from) {
        *out = *from;
    }
    for (out, from) in out_rest.iter_mut().zip(from_rest) {
        *out = *from;
    }
}

/// One matrix with any strides; sums of indices wrap around as signed ones do.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) start: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
    /// The length of a row, for a left factor.
    pub(crate) columns: usize,
}

impl<'a, T: Copy> Strided<'a, T> {
    #[inline(always)]
    pub(super) fn at(&self, row: usize, column: usize) -> usize {
        let row = row.wrapping_mul(self.row_stride);
        let column = column.wrapping_mul(self.column_stride);
        self.start.wrapping_add(row).wrapping_add(column)
    }

    /// The same places in other data.
    pub(crate) fn with<U>(self, data: &[U]) -> Strided<'_, U> {
        Strided {
            data,
            start: self.start,
            row_stride: self.row_stride,
            column_stride: self.column_stride,
            columns: self.columns,
        }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Elements of a row that are adjacent.
    #[inline(always)]
    pub(super) fn run(&self, row: usize, column: usize, count: usize) -> &'a [T] {
        &self.data[self.at(row, column)..][..count]
    }
}

impl<T: Element> Strided<'_, T> {
    /// One element.
    #[inline(always)]
    pub(crate) fn number(&self, row: usize, column: usize) -> f32 {
        let mut number = [0.0];
        T::read_inline(self.run(row, column, 1), &mut number)[0]
    }

    /// Writes elements of a row, whatever its stride.
    #[inline(always)]
    fn read(&self, row: usize, column: usize, out: &mut [f32]) {
        if self.column_stride == 1 || out.len() <= 1 {
            let run = self.run(row, column, out.len());
            if T::IS_F32 {
                out.copy_from_slice(T::read_inline(run, &mut []));
            } else {
                T::read_inline(run, out);
            }
            return;
        }
        let mut index = self.at(row, column);
        for out in out {
            let mut number = [0.0];
            *out = T::read_inline(&self.data[index..=index], &mut number)[0];
            index = index.wrapping_add(self.column_stride);
        }
    }

    /// Writes the transpose of `rows` rows of `count` adjacent elements: `out[c * stride + r]` is element `c` of row `r`.
    #[inline(always)]
    fn read_transposed(
        &self,
        (first, rows): (usize, usize),
        (column, count): (usize, usize),
        stride: usize,
        out: &mut [f32],
    ) {
        let mut block = [0.0; SIDE * WIDTH];
        for r in (0..rows).step_by(SIDE) {
            let n_rows = SIDE.min(rows - r);
            if T::IS_F32 && n_rows == SIDE && self.row_stride.cast_signed() > 0 {
                let from = T::read_inline(&self.data[self.at(first + r, column)..], &mut []);
                transpose_rows(from, self.row_stride, count, &mut out[r..], stride);
                continue;
            }
            for c in (0..count).step_by(WIDTH) {
                let n_columns = WIDTH.min(count - c);
                for (row, target) in block.chunks_exact_mut(WIDTH).take(n_rows).enumerate() {
                    self.read(first + r + row, column + c, &mut target[..n_columns]);
                }
                let out = &mut out[c * stride + r..];
                if n_rows == SIDE {
                    transpose_rows(&block, WIDTH, n_columns, out, stride);
                    continue;
                }
                for (row, from) in block.chunks_exact(WIDTH).take(n_rows).enumerate() {
                    for (column, number) in from[..n_columns].iter().enumerate() {
                        out[column * stride + row] = *number;
                    }
                }
            }
        }
    }
}

impl<T: Element> LeftRows for Strided<'_, T> {
    fn source(&self) -> &[f32] {
        if T::IS_F32 {
            T::read_inline(self.data, &mut [])
        } else {
            &[]
        }
    }

    fn count(&self, start: usize, most: usize) -> usize {
        most.min(KC).min(self.columns - start)
    }

    #[inline(always)]
    fn find<S: Simd>(
        &self,
        _: S,
        first: usize,
        (start, count): (usize, usize),
        places: &mut [Place],
        scratch: &mut [f32],
    ) {
        if T::IS_F32 && (self.column_stride == 1 || count == 1) {
            for (i, place) in places.iter_mut().enumerate() {
                *place = Place::Source(self.at(first + i, start));
            }
            return;
        }
        if self.row_stride == 1 {
            let rows = (first, places.len());
            let transposed = self.transposed();
            transposed.read_transposed((start, count), rows, SCRATCH_STRIDE, scratch);
        }
        let rows = places.iter_mut().zip(scratch.chunks_mut(SCRATCH_STRIDE));
        for (i, (place, scratch)) in rows.enumerate() {
            *place = Place::Scratch(i * SCRATCH_STRIDE);
            if self.row_stride != 1 {
                self.read(first + i, start, &mut scratch[..count]);
            }
        }
    }
}

impl<T: Element> RightColumns for Strided<'_, T> {
    #[inline(always)]
    fn pack<S: Simd>(
        &self,
        _: S,
        rows: (usize, usize),
        (column, columns): (usize, usize),
        tile: usize,
        out: &mut [f32],
    ) {
        if T::IS_F32 && self.column_stride == 1 && columns == tile {
            for (k, out) in out.chunks_exact_mut(tile).enumerate() {
                let run = self.run(rows.0 + k, column, tile);
                copy_in_registers::<S>(T::read_inline(run, &mut []), out);
            }
            return;
        }
        if self.row_stride == 1 && self.column_stride != 1 {
            if columns < tile {
                out.fill(0.0);
            }
            self.transposed()
                .read_transposed((column, columns), rows, tile, out);
            return;
        }
        for (k, out) in out.chunks_exact_mut(tile).enumerate() {
            let (out, rest) = out.split_at_mut(columns);
            self.read(rows.0 + k, column, out);
            rest.fill(0.0);
        }
    }
}
