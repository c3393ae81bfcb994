//! QR factorization by Householder reflections in blocks of [`PANEL`] columns: `I - v * t * v^T` for each block.
//!
//! A block's columns are factorized one by one in a scratch array, with a row's numbers in registers; the rest of the matrix,
//! and `q`, which is made by applying the blocks to the identity from the last to the first, by products.
//! Lengths of columns are sums in double, so that neither overflow nor underflow needs scaling.

use pulp::{Simd, WithSimd};

use super::product::{Extent, Part, assign, subtract};
use crate::gemm::scratch::Scratch;
use crate::simd;

/// Columns of a block.
const PANEL: usize = 32;
/// The distance of rows of a panel: an odd number of cache lines, so that a column does not share the sets of a cache.
const LINE: usize = PANEL + 16;
/// Rows whose sums are kept apart, so that they do not wait for each other.
const ROWS: usize = 4;

/// Factorizes a matrix `[rows, columns]`, of which nothing is empty.
pub(super) fn factor(rows: usize, columns: usize, a: &[f32], q: &mut [f32], r: &mut [f32]) {
    let depth = rows.min(columns);
    let mut copy = Scratch::new(rows * columns);
    let copy = copy.as_mut_slice();
    copy.copy_from_slice(a);
    let mut work = vec![0.0; 2 * PANEL * columns];
    let mut blocks: Vec<Reflections> = Vec::with_capacity(depth.div_ceil(PANEL));
    for first in (0..depth).step_by(PANEL) {
        let width = PANEL.min(depth - first);
        let block = Reflections::of(columns, first, width, copy);
        let end = first + width;
        if end < columns {
            let right = &mut copy[first * columns + end..];
            block.apply(true, (right, columns), columns - end, &mut work);
        }
        blocks.push(block);
    }
    for (row, (to, from)) in r
        .chunks_exact_mut(columns)
        .zip(copy.chunks_exact(columns))
        .enumerate()
    {
        to[..row].fill(0.0);
        to[row..].copy_from_slice(&from[row..]);
    }
    q.fill(0.0);
    for row in 0..depth {
        q[row * depth + row] = 1.0;
    }
    for block in blocks.iter().rev() {
        let first = block.first;
        let corner = &mut q[first * depth + first..];
        block.apply(false, (corner, depth), depth - first, &mut work);
    }
}

/// A block of reflections of the rows from `first` on.
struct Reflections {
    first: usize,
    width: usize,
    rows: usize,
    /// The vectors as columns, [`LINE`] apart, with ones on the diagonal and zeros above it.
    v: Vec<f32>,
    /// `[PANEL, PANEL]`, upper triangular.
    t: [f32; PANEL * PANEL],
}

impl Reflections {
    /// Factorizes columns `first..first + width` of a matrix, from row `first` on, and writes their part of `r` to it.
    fn of(columns: usize, first: usize, width: usize, a: &mut [f32]) -> Self {
        let rows = a.len() / columns - first;
        let mut v = vec![0.0; rows * LINE];
        let panel = v.as_chunks_mut::<LINE>().0;
        for (to, from) in panel
            .iter_mut()
            .zip(a[first * columns..].chunks_exact(columns))
        {
            to[..width].copy_from_slice(&from[first..][..width]);
        }
        let mut scales = [0.0; PANEL];
        simd::dispatch(Panel {
            rows: panel,
            width,
            scales: &mut scales,
        });
        let below = a[first * columns..].chunks_exact_mut(columns);
        for (row, (from, to)) in panel.iter_mut().zip(below).enumerate().take(width) {
            to[first + row..first + width].copy_from_slice(&from[row..width]);
            from[row] = 1.0;
            from[row + 1..].fill(0.0);
        }
        let mut block = Self {
            first,
            width,
            rows,
            v,
            t: [0.0; PANEL * PANEL],
        };
        block.join(&scales);
        block
    }

    /// Computes `t`, so that `I - v * t * v^T` is the product of the reflections `I - scale * v * v^T`.
    fn join(&mut self, scales: &[f32; PANEL]) {
        let mut products = [0.0; PANEL * PANEL];
        let extent = Extent {
            rows: self.width,
            depth: self.rows,
            columns: self.width,
        };
        let (left, right) = (Part::transposed(&self.v, LINE), Part::of(&self.v, LINE));
        assign(left, right, extent, &mut products, PANEL);
        let t = &mut self.t;
        for (column, &scale) in scales.iter().enumerate().take(self.width) {
            for row in 0..column {
                let sum: f32 = (row..column)
                    .map(|k| t[row * PANEL + k] * products[k * PANEL + column])
                    .sum();
                t[row * PANEL + column] = -scale * sum;
            }
            t[column * PANEL + column] = scale;
        }
    }

    /// Applies the product of the reflections, or its transpose, to `columns` columns of rows `line` elements apart.
    fn apply(
        &self,
        transposed: bool,
        (x, line): (&mut [f32], usize),
        columns: usize,
        work: &mut [f32],
    ) {
        let Self { width, rows, .. } = *self;
        let (products, turned) = work.split_at_mut(PANEL * columns);
        let mut extent = Extent {
            rows: width,
            depth: rows,
            columns,
        };
        assign(
            Part::transposed(&self.v, LINE),
            Part::of(x, line),
            extent,
            products,
            columns,
        );
        let t = if transposed {
            Part::transposed(&self.t, PANEL)
        } else {
            Part::of(&self.t, PANEL)
        };
        extent.depth = width;
        assign(t, Part::of(products, columns), extent, turned, columns);
        extent.rows = rows;
        subtract(
            Part::of(&self.v, LINE),
            Part::of(turned, columns),
            extent,
            x,
            line,
        );
    }
}

/// Columns that are factorized. The vectors stay below the diagonal, `r` on and above it.
struct Panel<'a> {
    rows: &'a mut [[f32; LINE]],
    width: usize,
    scales: &'a mut [f32; PANEL],
}

impl WithSimd for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for column in 0..self.width {
            let (above, below) = self.rows.split_at_mut(column + 1);
            self.scales[column] = reflect(simd, &mut above[column], below, column);
        }
    }
}

/// Makes the reflection that turns a column into a multiple of a unit vector, and applies it to the columns after it.
/// Returns the factor of `v * v^T`.
#[inline(always)]
fn reflect<S: Simd>(
    simd: S,
    own: &mut [f32; LINE],
    below: &mut [[f32; LINE]],
    column: usize,
) -> f32 {
    let alpha = f64::from(own[column]);
    let squares = sum_of_squares(below, column);
    if squares == 0.0 {
        return 0.0;
    }
    let beta = -(alpha * alpha + squares).sqrt().copysign(alpha);
    let scale = (beta - alpha) / beta;
    let factor = 1.0 / (alpha - beta);
    for row in &mut *below {
        row[column] = (f64::from(row[column]) * factor) as f32;
    }
    // Sums over rows: those of one register of columns at a time would read every row again.
    let mut sums = [[0.0; PANEL]; ROWS];
    sums[0].copy_from_slice(&own[..PANEL]);
    let (groups, rest) = below.as_chunks::<ROWS>();
    for rows in groups {
        for (sums, row) in sums.iter_mut().zip(rows) {
            add_scaled(simd, row[column], &row[..PANEL], sums);
        }
    }
    for row in rest {
        add_scaled(simd, row[column], &row[..PANEL], &mut sums[0]);
    }
    let mut turned = [0.0; PANEL];
    for (at, turned) in turned.iter_mut().enumerate().skip(column + 1) {
        *turned = (sums[0][at] + sums[1][at] + (sums[2][at] + sums[3][at])) * scale as f32;
    }
    add_scaled(simd, -1.0, &turned, &mut own[..PANEL]);
    for row in below {
        let minus = -row[column];
        add_scaled(simd, minus, &turned, &mut row[..PANEL]);
    }
    own[column] = beta as f32;
    scale as f32
}

/// `out += factor * x`.
#[inline(always)]
fn add_scaled<S: Simd>(simd: S, factor: f32, x: &[f32], out: &mut [f32]) {
    let factor = simd.splat_f32s(factor);
    let (x, out) = (S::as_simd_f32s(x).0, S::as_mut_simd_f32s(out).0);
    for (out, x) in out.iter_mut().zip(x) {
        *out = simd.mul_add_e_f32s(factor, *x, *out);
    }
}

#[inline(always)]
fn sum_of_squares(rows: &[[f32; LINE]], column: usize) -> f64 {
    let mut sums = [0.0; ROWS];
    let (groups, rest) = rows.as_chunks::<ROWS>();
    for rows in groups {
        for (sum, row) in sums.iter_mut().zip(rows) {
            let x = f64::from(row[column]);
            *sum += x * x;
        }
    }
    for row in rest {
        let x = f64::from(row[column]);
        sums[0] += x * x;
    }
    let [a, b, c, d] = sums;
    (a + b) + (c + d)
}
