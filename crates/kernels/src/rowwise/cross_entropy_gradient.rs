//! The gradient of the cross entropy with respect to the logits.
//!
//! Formula: `out[r, c] = g[r] * (softmax(x)[r, c] - [c = targets[r]])`. Blocking: as [`softmax`](crate::softmax), which it
//! is with another scale. Limit: memory bandwidth for long arrays, the exponential otherwise.

use super::cross_entropy::check_targets;
use super::exp_row::ExpRow;
use super::shape::{RowMajorShape, rows_not_empty};
use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::streaming_store;

/// Writes the gradient of [`cross_entropy`](crate::cross_entropy) with respect to the logits to `out`.
///
/// `x` and `out` are `[rows, classes]`, `targets` and `g`, the gradient of each row's loss, `[rows]`.
/// Error: `2^-20 * |g|`; the softmax itself is within `2^-21` relative.
///
/// # Errors
/// When a length does not match the shape, or a target is not a class.
pub fn cross_entropy_gradient<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    targets: &[u32],
    g: &[f32],
    out: &mut [T],
) -> Result<()> {
    (T::kernels().cross_entropy_gradient)(shape, x, targets, g, out)
}

/// [`cross_entropy_gradient`], compiled in this crate.
pub(crate) fn cross_entropy_gradient_instance<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    targets: &[u32],
    g: &[f32],
    out: &mut [T],
) -> Result<()> {
    const OP: &str = "cross_entropy_gradient";
    rows_not_empty(OP, shape)?;
    let elements = shape.elements(OP)?;
    length(OP, "x", elements, x.len())?;
    length(OP, "targets", shape.rows, targets.len())?;
    length(OP, "g", shape.rows, g.len())?;
    length(OP, "out", elements, out.len())?;
    check_targets(OP, shape, targets)?;
    if elements == 0 {
        return Ok(());
    }
    let stream = T::IS_F32 && streaming_store::should_stream(size_of_val(out));
    let rows = shape.rows_per_task();
    parallel_for(
        x.chunks(rows * shape.dim)
            .zip(out.chunks_mut(rows * shape.dim))
            .zip(targets.chunks(rows).zip(g.chunks(rows))),
        0.9 * elements as f64,
        || {
            let converted = if T::IS_F32 { 0 } else { shape.dim };
            (
                vec![0.0; converted],
                ExpRow::new(shape.dim),
                vec![0.0; converted],
            )
        },
        |(x_f32, row, result), ((x, out), (targets, g))| {
            let rows = x
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact_mut(shape.dim));
            for ((x, out), (target, g)) in rows.zip(targets.iter().zip(g)) {
                row.push(T::read(x, x_f32), *g);
                T::write(out, result, |out| {
                    if stream {
                        row.write_streaming(out);
                    } else {
                        row.write(out);
                    }
                    out[*target as usize] -= g;
                });
            }
            if stream {
                streaming_store::sfence();
            }
        },
    );
    Ok(())
}
