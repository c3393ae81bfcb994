//! Softmax of rows, and its gradient.
//!
//! Blocking: groups of rows go to threads; a row is read from memory once, and what it becomes stands in the cache until it
//! is written (`exp_row`). Limit: memory bandwidth for long arrays, the exponential otherwise.

use pulp::{Simd, WithSimd};

use super::exp_row::PowerRow;
use super::shape::Rows;
use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::{self, streaming_store};

/// Pieces are so many times larger for outputs that are written with streaming stores: the last row of one overlaps with nothing.
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
    if streaming_store::should_stream(size_of_val(out))
        && let Some((x, out)) = T::singles(x, out)
    {
        let piece = ROWS_PAST * piece;
        parallel_for(
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
                streaming_store::sfence();
            },
        );
        return Ok(());
    }
    parallel_for(
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
    parallel_for(
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
