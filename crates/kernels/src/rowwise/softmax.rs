//! Softmax of rows.
//!
//! Blocking: groups of rows go to threads; a row is read from memory once, and what it becomes stands in the cache until it
//! is written (`exp_row`). Limit: memory bandwidth for long arrays, the exponential otherwise.

use super::exp_row::PowerRow;
use super::shape::RowMajorShape;
use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::streaming_store;

/// Pieces are so many times larger for outputs that are written with streaming stores: the last row of one overlaps with nothing.
const ROWS_PAST: usize = 4;

/// Writes `exp(x - max(x)) / sum(exp(x - max(x)))` to `out`, row by row.
///
/// Error: `2^-21` relative, and results below `2^-126` may be 0. A row of `-inf` only is not a number, as in MLX.
///
/// # Errors
/// When a length does not match the shape.
pub fn softmax<T: Element>(shape: RowMajorShape, x: &[T], out: &mut [T]) -> Result<()> {
    let elements = shape.elements("softmax")?;
    length("softmax", "x", elements, x.len())?;
    length("softmax", "out", elements, out.len())?;
    if elements == 0 {
        return Ok(());
    }
    let piece = shape.rows_per_task() * shape.dim;
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
