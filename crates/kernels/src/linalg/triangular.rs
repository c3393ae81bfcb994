//! Triangular systems with many right sides, and inverses of triangular matrices: halves, products between them, and blocks
//! of [`BLOCK`] rows at the end.
//!
//! A block is solved for [`STRIP`] right sides at a time in the L1 cache, with the sums of a row in registers. A few right
//! sides are solved by dot products with the rows of the matrix.

use pulp::{Simd, WithSimd};

use super::product::{Extent, Part, subtract};
use crate::simd;

/// The rows of a block.
const BLOCK: usize = 64;
/// The right sides that are solved together.
const STRIP: usize = 128;
/// At most this many right sides are solved one by one.
const FEW: usize = 3;
/// Registers whose sums are computed together.
const REGISTERS: usize = 8;

/// A block on the diagonal of a triangular matrix.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    /// From its first element on, with rows `line` elements apart.
    pub(super) matrix: &'a [f32],
    pub(super) line: usize,
    pub(super) n: usize,
    pub(super) is_lower: bool,
    /// Whether the diagonal is ones, and not read.
    pub(super) has_ones: bool,
}

/// A part of a matrix and the distance of its rows.
type Sides<'a> = (&'a mut [f32], usize);

/// The first of two halves of a matrix.
fn half(n: usize) -> usize {
    (n / 2).next_multiple_of(BLOCK)
}

/// Solves `l * x = b` in place, with a lower triangular `l` of `n` rows, `line` apart.
pub(super) fn lower(
    l: &[f32],
    line: usize,
    n: usize,
    has_ones: bool,
    (b, b_line): Sides<'_>,
    columns: usize,
) {
    let block = Block {
        matrix: l,
        line,
        n,
        is_lower: true,
        has_ones,
    };
    if columns <= FEW {
        solve_few(block, (b, b_line), columns);
        return;
    }
    if n <= BLOCK {
        solve_block(block, (b, b_line), columns);
        return;
    }
    let h = half(n);
    let (top, bottom) = b.split_at_mut(h * b_line);
    lower(l, line, h, has_ones, (top, b_line), columns);
    let extent = Extent {
        rows: n - h,
        depth: h,
        columns,
    };
    subtract(
        Part::of(&l[h * line..], line),
        Part::of(top, b_line),
        extent,
        bottom,
        b_line,
    );
    lower(
        &l[h * line + h..],
        line,
        n - h,
        has_ones,
        (bottom, b_line),
        columns,
    );
}

/// Solves `u * x = b` in place, with an upper triangular `u` of `n` rows, `line` apart.
pub(super) fn upper(u: &[f32], line: usize, n: usize, (b, b_line): Sides<'_>, columns: usize) {
    let block = Block {
        matrix: u,
        line,
        n,
        is_lower: false,
        has_ones: false,
    };
    if columns <= FEW {
        solve_few(block, (b, b_line), columns);
        return;
    }
    if n <= BLOCK {
        solve_block(block, (b, b_line), columns);
        return;
    }
    let h = half(n);
    let (top, bottom) = b.split_at_mut(h * b_line);
    upper(&u[h * line + h..], line, n - h, (bottom, b_line), columns);
    let extent = Extent {
        rows: h,
        depth: n - h,
        columns,
    };
    subtract(
        Part::of(&u[h..], line),
        Part::of(bottom, b_line),
        extent,
        top,
        b_line,
    );
    upper(u, line, h, (top, b_line), columns);
}

/// Writes the inverse of a lower triangular matrix to `out`, `[n, n]` with rows `line` apart, which is all zeros.
pub(super) fn lower_inverse(l: &[f32], line: usize, n: usize, has_ones: bool, out: &mut [f32]) {
    if n <= BLOCK {
        identity(line, n, out);
        let block = Block {
            matrix: l,
            line,
            n,
            is_lower: true,
            has_ones,
        };
        solve_block(block, (out, line), n);
        return;
    }
    let h = half(n);
    let (top, bottom) = out.split_at_mut(h * line);
    lower_inverse(l, line, h, has_ones, top);
    let extent = Extent {
        rows: n - h,
        depth: h,
        columns: h,
    };
    subtract(
        Part::of(&l[h * line..], line),
        Part::of(top, line),
        extent,
        bottom,
        line,
    );
    let rest = &l[h * line + h..];
    lower(rest, line, n - h, has_ones, (bottom, line), h);
    lower_inverse(rest, line, n - h, has_ones, &mut bottom[h..]);
}

/// Writes the inverse of an upper triangular matrix to `out`, `[n, n]` with rows `line` apart, which is all zeros.
pub(super) fn upper_inverse(u: &[f32], line: usize, n: usize, out: &mut [f32]) {
    if n <= BLOCK {
        identity(line, n, out);
        let block = Block {
            matrix: u,
            line,
            n,
            is_lower: false,
            has_ones: false,
        };
        solve_block(block, (out, line), n);
        return;
    }
    let h = half(n);
    let (top, bottom) = out.split_at_mut(h * line);
    upper_inverse(&u[h * line + h..], line, n - h, &mut bottom[h..]);
    let extent = Extent {
        rows: h,
        depth: n - h,
        columns: n - h,
    };
    let corner = Part::of(&bottom[h..], line);
    subtract(Part::of(&u[h..], line), corner, extent, &mut top[h..], line);
    upper(u, line, h, (&mut top[h..], line), n - h);
    upper_inverse(u, line, h, top);
}

fn identity(line: usize, n: usize, out: &mut [f32]) {
    for row in 0..n {
        out[row * line + row] = 1.0;
    }
}

/// Solves a block of at most [`BLOCK`] rows in place.
pub(super) fn solve_block(block: Block<'_>, (b, line): Sides<'_>, columns: usize) {
    let n = block.n;
    let mut strips: Vec<Vec<&mut [f32]>> = Vec::new();
    strips.resize_with(columns.div_ceil(STRIP), || Vec::with_capacity(n));
    for row in b.chunks_mut(line).take(n) {
        for (strip, part) in strips.iter_mut().zip(row[..columns].chunks_mut(STRIP)) {
            strip.push(part);
        }
    }
    for rows in strips {
        simd::dispatch(Strip { block, rows });
    }
}

/// Right sides that are solved together: a part of each row.
struct Strip<'a, 'b> {
    block: Block<'a>,
    rows: Vec<&'b mut [f32]>,
}

impl WithSimd for Strip<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { block, mut rows } = self;
        let Block {
            n,
            is_lower,
            has_ones,
            ..
        } = block;
        let mut x = [[0.0; STRIP]; BLOCK];
        for (to, from) in x.iter_mut().zip(&rows) {
            to[..from.len()].copy_from_slice(from);
        }
        let registers = rows
            .first()
            .map_or(0, |row| row.len().div_ceil(S::F32_LANES));
        for step in 0..n {
            let row = if is_lower { step } else { n - 1 - step };
            let line = &block.matrix[row * block.line..];
            let divisor = if has_ones { None } else { Some(line[row]) };
            if is_lower {
                let (done, rest) = x.split_at_mut(row);
                solve_row(simd, &line[..row], done, &mut rest[0], (registers, divisor));
            } else {
                let (rest, done) = x.split_at_mut(row + 1);
                let factors = &line[row + 1..n];
                solve_row(simd, factors, done, &mut rest[row], (registers, divisor));
            }
        }
        for (from, to) in x.iter().zip(&mut rows) {
            to.copy_from_slice(&from[..to.len()]);
        }
    }
}

/// `own = (own - sum of factors[k] * done[k]) / divisor`.
#[inline(always)]
fn solve_row<S: Simd>(
    simd: S,
    factors: &[f32],
    done: &[[f32; STRIP]],
    own: &mut [f32; STRIP],
    (registers, divisor): (usize, Option<f32>),
) {
    let own = S::as_mut_simd_f32s(own).0;
    let own = own.as_chunks_mut::<REGISTERS>().0;
    for (at, own) in own.iter_mut().enumerate() {
        if at * REGISTERS >= registers {
            break;
        }
        let mut sums = *own;
        for (factor, done) in factors.iter().zip(done) {
            let minus = simd.splat_f32s(-factor);
            let done = &S::as_simd_f32s(done).0.as_chunks::<REGISTERS>().0[at];
            for (sum, done) in sums.iter_mut().zip(done) {
                *sum = simd.mul_add_e_f32s(minus, *done, *sum);
            }
        }
        if let Some(divisor) = divisor {
            let divisor = simd.splat_f32s(divisor);
            for sum in &mut sums {
                *sum = simd.div_f32s(*sum, divisor);
            }
        }
        *own = sums;
    }
}

/// Solves for a few right sides, one by one.
fn solve_few(block: Block<'_>, (b, line): Sides<'_>, columns: usize) {
    let mut x = vec![0.0; block.n];
    for column in 0..columns {
        for (to, row) in x.iter_mut().zip(b.chunks(line)) {
            *to = row[column];
        }
        simd::dispatch(OneSide { block, x: &mut x });
        for (from, row) in x.iter().zip(b.chunks_mut(line)) {
            row[column] = *from;
        }
    }
}

/// One right side.
struct OneSide<'a, 'b> {
    block: Block<'a>,
    x: &'b mut [f32],
}

impl WithSimd for OneSide<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { block, x } = self;
        let n = block.n;
        for step in 0..n {
            let row = if block.is_lower { step } else { n - 1 - step };
            let line = &block.matrix[row * block.line..];
            let sum = if block.is_lower {
                dot(simd, &line[..row], &x[..row])
            } else {
                dot(simd, &line[row + 1..n], &x[row + 1..n])
            };
            let own = x[row] - sum;
            x[row] = if block.has_ones { own } else { own / line[row] };
        }
    }
}

#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let mut sums = [simd.splat_f32s(0.0); REGISTERS];
    let ((a, a_last), (b, b_last)) = (a.as_chunks::<REGISTERS>(), b.as_chunks::<REGISTERS>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = simd.mul_add_e_f32s(*a, *b, *sum);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_last).zip(b_last) {
        *sum = simd.mul_add_e_f32s(*a, *b, *sum);
    }
    let mut sum = sums[0];
    for other in &sums[1..] {
        sum = simd.add_f32s(sum, *other);
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    simd.reduce_sum_f32s(sum) + rest
}
