//! Softmax of rows.
//!
//! Blocking: a task has 64 KiB of rows; a row is read from memory once, and its exponentials stay in the cache until it is
//! written (`exp_row`). Limit: memory bandwidth for long arrays, the exponential otherwise.

use super::exp_row::ExpRow;
use super::shape::RowMajorShape;
use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::streaming_store;

/// How much larger tasks are when the output is written with streaming stores: the last row of each overlaps with nothing.
const STREAMING_TASKS: usize = 4;

/// Writes `exp(x - max(x)) / sum(exp(x - max(x)))` to `out`, row by row.
///
/// Error: `2^-21` relative, and results below `2^-126` may be 0. A row of `-inf` only gives NaN, as in MLX.
///
/// # Errors
/// When a length does not match the shape.
pub fn softmax<T: Element>(shape: RowMajorShape, x: &[T], out: &mut [T]) -> Result<()> {
    (T::kernels().softmax)(shape, x, out)
}

/// [`softmax`], compiled in this crate.
pub(crate) fn softmax_instance<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let elements = shape.elements("softmax")?;
    length("softmax", "x", elements, x.len())?;
    length("softmax", "out", elements, out.len())?;
    if elements == 0 {
        return Ok(());
    }
    let task = shape.rows_per_task() * shape.dim;
    let nanoseconds = 0.5 * elements as f64;
    if streaming_store::should_stream(size_of_val(out))
        && let Some((x, out)) = T::as_f32(x, out)
    {
        let task = STREAMING_TASKS * task;
        parallel_for(
            x.chunks(task).zip(out.chunks_mut(task)),
            nanoseconds,
            || ExpRow::new(shape.dim),
            |row, (x, out)| {
                let mut previous = None;
                let rows = x.chunks_exact(shape.dim);
                for (x, out) in rows.zip(out.chunks_exact_mut(shape.dim)) {
                    row.push_streaming(x, previous.replace(out));
                }
                if let Some(out) = previous {
                    row.write_streaming(out);
                }
                streaming_store::sfence();
            },
        );
        return Ok(());
    }
    parallel_for(
        x.chunks(task).zip(out.chunks_mut(task)),
        nanoseconds,
        || {
            let converted = if T::IS_F32 { 0 } else { shape.dim };
            (
                vec![0.0; converted],
                ExpRow::new(shape.dim),
                vec![0.0; converted],
            )
        },
        |(x_f32, row, result), (x, out)| {
            for (x, out) in x
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact_mut(shape.dim))
            {
                row.push(T::read(x, x_f32), 1.0);
                T::write(out, result, |out| row.write(out));
            }
        },
    );
    Ok(())
}
