//! The gradient of the cross entropy with respect to the logits.
//!
//! Formula: `out[r, c] = g[r] * (softmax(x)[r, c] - [c = targets[r]])`. Blocking: as [`softmax`](crate::softmax), of which it
//! is one with another scale. Limit: memory bandwidth for long arrays, the exponential otherwise.

use crate::element::Element;
use crate::error::{Result, length};
use crate::norm::{Rows, rows_not_empty};
use crate::softmax::{Powers, Scale, targets_are_classes};
use crate::{pool, simd, stream};

/// Writes the gradient of [`cross_entropy`](crate::cross_entropy) with respect to the logits to `out`.
///
/// `x` and `out` are `[rows, classes]`, `targets` and `g`, the gradient of each row's loss, `[rows]`.
/// Error: `2^-20 * |g|`; the softmax itself is within `2^-21` relative.
///
/// # Errors
/// When a length does not match the shape, or a target is not a class.
pub fn cross_entropy_gradient<T: Element>(
    shape: Rows,
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
    targets_are_classes(OP, shape, targets)?;
    if elements == 0 {
        return Ok(());
    }
    let past = T::IS_F32 && stream::pays(size_of_val(out));
    let rows = shape.per_piece();
    pool::each(
        x.chunks(rows * shape.dim)
            .zip(out.chunks_mut(rows * shape.dim))
            .zip(targets.chunks(rows).zip(g.chunks(rows))),
        0.9 * elements as f64,
        || {
            let converted = if T::IS_F32 { 0 } else { shape.dim };
            (
                vec![0.0; converted],
                vec![0.0; shape.dim],
                vec![0.0; converted],
            )
        },
        |(wide, powers, narrow), ((x, out), (targets, g))| {
            let rows = x
                .chunks_exact(shape.dim)
                .zip(out.chunks_exact_mut(shape.dim));
            for ((x, out), (target, g)) in rows.zip(targets.iter().zip(g)) {
                let x = T::read(x, wide);
                T::write(out, narrow, |out| {
                    let scale = simd::dispatch(Powers { x, out: powers }) * g;
                    if past {
                        simd::dispatch(Scale::<true> { scale, powers, out });
                    } else {
                        simd::dispatch(Scale::<false> { scale, powers, out });
                    }
                    out[*target as usize] -= g;
                });
            }
            if past {
                stream::finish();
            }
        },
    );
    Ok(())
}
