//! Attention by online softmax: `softmax(q k^T * scale + mask) v` without the matrix of scores.
//!
//! - Many queries (`prefill`): a task has 64 queries of one head, reads the keys in blocks of 128 and has a running maximum,
//!   sum and output. Limit: multiply-adds. Memory: about 100 KiB per thread. In `bf16` by matrix tiles where the processor
//!   has them (`prefill_tiles`).
//! - A few queries (`decode`): a task has 512 keys of one key head, for all the query heads that share it (split-K); the
//!   partial results are merged in order. Limit: the bandwidth of reading keys and values once.
//! - The gradient (`gradient`) recomputes the weights, block by block.
//!
//! Inputs and masks are read by their strides, in `f32`, `f16` or `bf16`; arithmetic is `f32`.

mod check;
mod decode;
mod gradient;
mod head_rows;
mod mask;
mod packed_tile;
mod prefill;
mod prefill_tiles;
mod quantized_rows;
mod shape;
mod strided;

use crate::element::Element;
use crate::error::{Result, length, product};
pub(crate) use gradient::attention_gradient_instance;
pub use gradient::{AttentionGradient, attention_gradient};
pub use mask::{Mask, MaskStrides};
pub use quantized_rows::{
    QuantizedRows, dequantize_rows, quantize_rows, quantized_attention, quantized_row_bytes,
};
pub use shape::{AttentionInputs, AttentionShape};
pub use strided::{Strided, Strides};

/// Up to this many queries, work is split over the keys and not over the queries.
const MAX_DECODE_QUERIES: usize = 4;

/// Writes `softmax(q k^T * scale + mask) v` to `out`, contiguous `[batch, heads, queries, value_dim]`.
///
/// Inputs are read in place, by their strides. Half precision is converted block by block, and the result is rounded
/// once. A query that attends to no key gets zeros.
///
/// Error before that rounding: `2^-24 * (32 + size + keys)` of the largest value, where `size` is the largest
/// `scale * |q| * |k|`: a score is rounded before it becomes an exponent; where matrix tiles multiply `bf16`, `2^-16` more. The share of `keys` is that of a sum whose
/// roundings all point one way; with random numbers it is not seen.
///
/// ```
/// use mlx_kernels::{AttentionInputs, AttentionShape, attention};
/// let shape = AttentionShape { batch: 1, heads: 1, kv_heads: 1, queries: 1, keys: 2, dim: 1, value_dim: 1 };
/// let inputs = AttentionInputs::contiguous(shape, &[0.0_f32], &[5.0, -5.0], &[1.0, 3.0]);
/// let mut out = [0.0];
/// attention(shape, inputs, 1.0, &mut out)?;
/// assert_eq!(out, [2.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a slice ends before its last row, `out` does not match the shape, or heads do not divide into groups.
pub fn attention<T: Element>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    out: &mut [T],
) -> Result<()> {
    (T::kernels().attention)(shape, inputs, scale, out)
}

/// [`attention`], compiled in this crate.
pub(crate) fn attention_instance<T: Element>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    out: &mut [T],
) -> Result<()> {
    const OP: &str = "attention";
    check::check(OP, shape, inputs)?;
    let sizes = [shape.batch, shape.heads, shape.queries, shape.value_dim];
    length(OP, "out", product(OP, &sizes)?, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.keys == 0 {
        out.fill(T::default());
    } else if shape.queries <= MAX_DECODE_QUERIES {
        decode::decode(shape, inputs, scale, out);
    } else if !prefill_tiles::prefill(shape, inputs, scale, out) {
        prefill::prefill(shape, inputs, scale, out);
    }
    Ok(())
}
