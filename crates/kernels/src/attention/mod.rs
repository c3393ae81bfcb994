//! Attention by online softmax: `softmax(q k^T * scale + mask) v` without the matrix of scores.
//!
//! - Many queries (`blocks`): a block of 64 queries of one head goes to a thread, which walks over the keys in blocks of
//!   128 and keeps a running maximum, sum and output. Limit: multiply-adds. Memory: 100 KiB or so a thread.
//! - Few queries (`decode`): runs of 512 keys of one key head go to threads, for all the query heads that share it;
//!   the runs are merged in order. Limit: the bandwidth of reading keys and values once.

mod blocks;
mod check;
mod decode;
mod mask;

use crate::error::Result;
pub use mask::Mask;

/// Up to this many queries, work is split over the keys and not over the queries.
const FEW_QUERIES: usize = 4;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// The number of sequences.
    pub batch: usize,
    /// The number of query heads: a multiple of `kv_heads`.
    pub heads: usize,
    /// The number of key and value heads; query head `h` uses `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// The number of queries of each head.
    pub queries: usize,
    /// The number of keys and values of each head.
    pub keys: usize,
    /// The rows that a head of keys and values has room for, at least `keys`: a cache need not be copied to be read.
    pub capacity: usize,
    /// The length of a query and of a key.
    pub dim: usize,
    /// The length of a value.
    pub value_dim: usize,
}

/// What attention reads.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a> {
    /// `[batch, heads, queries, dim]`.
    pub queries: &'a [f32],
    /// `[batch, kv_heads, capacity, dim]`.
    pub keys: &'a [f32],
    /// `[batch, kv_heads, capacity, value_dim]`.
    pub values: &'a [f32],
    /// Which keys a query sees.
    pub mask: Mask<'a>,
    /// `[heads]`: for each head a score without a value, which takes its share of the softmax.
    pub sinks: Option<&'a [f32]>,
}

/// Writes `softmax(q k^T * scale + mask) v` to `out`, `[batch, heads, queries, value_dim]`.
///
/// A query that sees no key gets zeros. Error: `2^-24 * (32 + size)` of the largest value, where
/// `size` is the largest `scale * |q| * |k|`: a score is rounded before it becomes an exponent.
///
/// # Errors
/// When a length does not match the shape, or heads do not divide into groups.
pub fn attention(
    shape: AttentionShape,
    inputs: AttentionInputs,
    scale: f32,
    out: &mut [f32],
) -> Result<()> {
    check::check(shape, inputs, out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    if shape.keys == 0 {
        out.fill(0.0);
    } else if shape.queries <= FEW_QUERIES {
        decode::run(shape, inputs, scale, out);
    } else {
        blocks::run(shape, inputs, scale, out);
    }
    Ok(())
}
