//! Softmax of rows, its gradient, `logsumexp` and the cross entropy made of it.
//!
//! Blocking: groups of rows go to threads; a row is read from memory once, and what it becomes stands in the cache until it
//! is written (`exp_row`). Limit: memory bandwidth for long arrays, the exponential otherwise.

use pulp::{Simd, WithSimd};

use super::exp_row::PowerRow;
use super::norm::{RUN, Rows, rows_not_empty};
use crate::element::Element;
use crate::error::{Error, Result, length};
use crate::parallel::parallel_for;
use crate::simd::lanes::Lanes;
use crate::simd::{self, streaming_store};

/// Pieces are so many times larger for outputs that are written past the cache: the last row of one overlaps with nothing.
const ROWS_PAST: usize = 4;

/// Writes `exp(x - max(x)) / sum(exp(x - max(x)))` to `out`, row by row.
///
/// Error: `2^-21` relative, and results below `2^-126` may be 0. A row of `-inf` only is not a number, as in MLX.
///
/// # Errors
/// When a length does not match the shape.
pub fn softmax<T: Element>(shape: Rows, x: &[T], out: &mut [T]) -> Result<()> {
    let elements = shape.elements("softmax")?;
    length("softmax", "x", elements, x.len())?;
    length("softmax", "out", elements, out.len())?;
    if elements == 0 {
        return Ok(());
    }
    let piece = shape.per_piece() * shape.dim;
    let nanoseconds = 0.5 * elements as f64;
    if streaming_store::pays(size_of_val(out))
        && let Some((x, out)) = T::singles(x, out)
    {
        let piece = ROWS_PAST * piece;
        parallel_for::each(
            x.chunks(piece).zip(out.chunks_mut(piece)),
            nanoseconds,
            || PowerRow::new(shape.dim),
            |row, (x, out)| {
                let mut before = None;
                let rows = x.chunks_exact(shape.dim);
                for (x, out) in rows.zip(out.chunks_exact_mut(shape.dim)) {
                    row.take_past(x, before.replace(out));
                }
                if let Some(out) = before {
                    row.write_past(out);
                }
                streaming_store::finish();
            },
        );
        return Ok(());
    }
    parallel_for::each(
        x.chunks(piece).zip(out.chunks_mut(piece)),
        nanoseconds,
        || {
            let converted = if T::IS_F32 { 0 } else { shape.dim };
            (
                vec![0.0; converted],
                PowerRow::new(shape.dim),
                vec![0.0; converted],
            )
        },
        |(wide, row, narrow), (x, out)| {
            for (x, out) in x
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact_mut(shape.dim))
            {
                row.take(T::read(x, wide), 1.0);
                T::write(out, narrow, |out| row.write(out));
            }
        },
    );
    Ok(())
}

/// Writes the gradient of a softmax to `out`: `y * (g - sum(g * y))`, row by row.
///
/// `y` is the softmax, `g` the gradient of it. Error: `2^-20` of the largest `|g| * y`.
///
/// # Errors
/// When a length does not match the shape.
pub fn softmax_gradient(shape: Rows, y: &[f32], g: &[f32], out: &mut [f32]) -> Result<()> {
    let elements = shape.elements("softmax_gradient")?;
    length("softmax_gradient", "y", elements, y.len())?;
    length("softmax_gradient", "g", elements, g.len())?;
    length("softmax_gradient", "out", elements, out.len())?;
    if elements == 0 {
        return Ok(());
    }
    let piece = shape.per_piece() * shape.dim;
    parallel_for::each(
        y.chunks(piece)
            .zip(g.chunks(piece))
            .zip(out.chunks_mut(piece)),
        0.5 * elements as f64,
        || (),
        |(), ((y, g), out)| {
            let rows = y.chunks_exact(shape.dim).zip(g.chunks_exact(shape.dim));
            for ((y, g), out) in rows.zip(out.chunks_exact_mut(shape.dim)) {
                simd::dispatch(Gradient { y, g, out });
            }
        },
    );
    Ok(())
}

/// Writes `log(sum(exp(x)))` of each row to `out`, `[rows]`; large values do not overflow.
///
/// Error: `2^-22` of the result plus `2^-22`. A row of `-inf` only gives `-inf`.
///
/// # Errors
/// When a length does not match the shape, or rows have no elements.
pub fn logsumexp<T: Element>(shape: Rows, x: &[T], out: &mut [f32]) -> Result<()> {
    rows_not_empty("logsumexp", shape)?;
    length("logsumexp", "x", shape.elements("logsumexp")?, x.len())?;
    length("logsumexp", "out", shape.rows, out.len())?;
    over_rows(shape, x, out, |_, x| {
        let (largest, rest) = simd::dispatch(LogSumExp(x));
        largest + rest
    });
    Ok(())
}

/// Writes the cross entropy of each row of logits against its class to `out`: `logsumexp(x) - x[target]`.
///
/// `x` is `[rows, classes]`, `targets` and `out` are `[rows]`. Error: `2^-22` of the loss plus `2^-22`, however large the
/// logits are: the target's is subtracted from the maximum before the logarithm is added.
///
/// # Errors
/// When a length does not match the shape, or a target is not a class.
pub fn cross_entropy<T: Element>(
    shape: Rows,
    x: &[T],
    targets: &[u32],
    out: &mut [f32],
) -> Result<()> {
    const OP: &str = "cross_entropy";
    rows_not_empty(OP, shape)?;
    length(OP, "x", shape.elements(OP)?, x.len())?;
    length(OP, "targets", shape.rows, targets.len())?;
    length(OP, "out", shape.rows, out.len())?;
    targets_are_classes(OP, shape, targets)?;
    over_rows(shape, x, out, |row, x| {
        // The large numbers are subtracted first, so that of 1e8 and 1e8 the loss is ln 2.
        let (largest, rest) = simd::dispatch(LogSumExp(x));
        (largest - x[targets[row] as usize]) + rest
    });
    Ok(())
}

/// Refuses a target that is not a class.
pub(crate) fn targets_are_classes(op: &'static str, shape: Rows, targets: &[u32]) -> Result<()> {
    let Some(target) = targets.iter().find(|target| **target as usize >= shape.dim) else {
        return Ok(());
    };
    Err(Error::Parameter {
        op,
        what: "target",
        wanted: "less than the number of classes",
        got: *target as usize,
    })
}

/// Writes one number for each row; lengths are checked by the caller.
fn over_rows<T: Element>(
    shape: Rows,
    x: &[T],
    out: &mut [f32],
    row: impl Fn(usize, &[f32]) -> f32 + Sync,
) {
    if shape.rows == 0 {
        return;
    }
    let rows = shape.per_piece();
    parallel_for::each(
        x.chunks(rows * shape.dim)
            .zip(out.chunks_mut(rows))
            .enumerate(),
        0.7 * x.len() as f64,
        || vec![0.0; shape.dim],
        |wide, (piece, (x, out))| {
            for (i, (x, out)) in x.chunks_exact(shape.dim).zip(out).enumerate() {
                *out = row(piece * rows + i, T::read(x, wide));
            }
        },
    );
}

struct Gradient<'a> {
    y: &'a [f32],
    g: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Plain loops: they are compiled for the instruction set of the caller.
        const LANES: usize = 16;
        let (y_body, y_tail) = self.y.as_chunks::<LANES>();
        let (g_body, g_tail) = self.g.as_chunks::<LANES>();
        let mut sums = [0.0_f32; LANES];
        for (y, g) in y_body.iter().zip(g_body) {
            for lane in 0..LANES {
                sums[lane] += y[lane] * g[lane];
            }
        }
        let rest: f32 = y_tail.iter().zip(g_tail).map(|(y, g)| y * g).sum();
        let dot = sums.iter().sum::<f32>() + rest;
        for ((out, y), g) in self.out.iter_mut().zip(self.y).zip(self.g) {
            *out = y * (g - dot);
        }
    }
}

/// The maximum of a row, and the logarithm of the sum of exponentials below it: `logsumexp` is their sum.
struct LogSumExp<'a>(&'a [f32]);

impl WithSimd for LogSumExp<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f32, f32) {
        let largest = maximum(simd, self.0);
        if !largest.is_finite() {
            let unknown = self.0.iter().any(|x| x.is_nan());
            return (if unknown { f32::NAN } else { largest }, 0.0);
        }
        let center = Lanes::splat(simd, largest);
        let (body, tail) = self.0.split_at(self.0.len() - self.0.len() % S::F32_LANES);
        let sum = powers_below(simd, body, center);
        let rest: f32 = tail.iter().map(|x| (x - largest).exp()).sum();
        (largest, (sum + rest).ln())
    }
}

/// The sum of `exp(x - center)` over whole registers; runs are summed by themselves.
///
/// A loop of its own and not `norm::sum_of` with a closure: one as long as this is not inlined, and then it is compiled
/// without the vector instructions, which took 13 times as long.
#[inline(always)]
fn powers_below<S: Simd>(simd: S, x: &[f32], center: Lanes<S>) -> f32 {
    let (x, _) = S::as_simd_f32s(x);
    let zero = Lanes::splat(simd, 0.0);
    let mut sum = zero;
    for run in x.chunks(RUN) {
        let mut sums = [zero; 4];
        for quad in run.chunks(4) {
            for (sum, x) in sums.iter_mut().zip(quad) {
                *sum = *sum + (Lanes::new(simd, *x) - center).exp_not_positive();
            }
        }
        let [a, b, c, d] = sums;
        sum = sum + ((a + b) + (c + d));
    }
    sum.sum()
}

/// The largest element, `-inf` if there is none; what is not a number may be skipped.
#[inline(always)]
pub(crate) fn maximum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (body, tail) = S::as_simd_f32s(x);
    let mut largest = [Lanes::splat(simd, f32::NEG_INFINITY); 4];
    let (quads, singles) = body.as_chunks::<4>();
    for quad in quads {
        for (largest, x) in largest.iter_mut().zip(quad) {
            *largest = Lanes::new(simd, *x).max(*largest);
        }
    }
    for (largest, x) in largest.iter_mut().zip(singles) {
        *largest = Lanes::new(simd, *x).max(*largest);
    }
    let [a, b, c, d] = largest;
    let body = a.max(b).max(c.max(d));
    let largest = simd.reduce_max_f32s(body.value);
    tail.iter().fold(largest, |largest, x| largest.max(*x))
}
