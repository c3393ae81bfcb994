//! The gradient of attention, by recomputing the weights block by block: no matrix of scores is stored.
//!
//! With weights `p = softmax(s)`, `s = q k^T * scale + mask`, and the gradient `g` of the output:
//! `dv = p^T g`, `t = g v^T`, `delta = sum over keys of p * t`, `ds = p * (t - delta)`, `dq = ds k * scale`,
//! `dk = ds^T q * scale`.
//!
//! - First (`queries`), a task has 64 queries and iterates over the keys twice: for the maximum, the sum and `delta` of each
//!   query, by online softmax, and for `dq`. Scores of up to 128 keys are computed once.
//! - Then (`keys`), a task has 64 keys of one key head and iterates over the queries of all heads that share it, in order,
//!   for `dk` and `dv`. So each number is summed by one thread, always in the same order.
//!
//! Limit: multiply-adds, nine products of the size of the scores. Memory: three numbers for each query and head, and
//! about 200 KiB per thread.

mod keys;
mod queries;

use super::strided::{HeadRows, Strided};
use super::{AttentionInputs, AttentionShape, check};
use crate::element::Element;
use crate::error::{Result, length, product};

/// Queries or keys that are packed across lanes in one block.
const PACKED: usize = 64;
/// Keys or queries of an iteration over the others.
const STEP: usize = 128;

/// The outputs of the gradient of attention; arrays are contiguous.
#[derive(Debug)]
pub struct AttentionGradient<'a, T = f32> {
    /// `[batch, heads, queries, dim]`.
    pub queries: &'a mut [T],
    /// `[batch, kv_heads, keys, dim]`.
    pub keys: &'a mut [T],
    /// `[batch, kv_heads, keys, value_dim]`.
    pub values: &'a mut [T],
}

/// The statistics of a query from the first pass: its weights are `exp(score - max) * inverse`.
#[derive(Clone, Copy, Default)]
struct Statistics {
    max: f32,
    inverse: f32,
    delta: f32,
}

/// Writes the gradient of [`attention`](super::attention) with respect to queries, keys and values.
///
/// `cotangent` is the gradient of the output, `[batch, heads, queries, value_dim]`. Where a stride of an input is 0, the
/// gradient is that of the repeated array, not summed. A query that attends to no key adds nothing.
///
/// Error: with weights off by a factor of `1 + e`, `e = 2^-24 * (32 + size + keys)` as for attention, a number of `dv` is
/// off by `e * sum(p * |g|)`, and one of `dq` or `dk` by `4 * e * scale * sum(p * max|t| * |k|)` or the same with `|q|`,
/// and far less on average; in half precision the result is then rounded once.
///
/// # Errors
/// When a slice ends before its last row, one to write does not match the shape, or heads do not divide into groups.
pub fn attention_gradient<T: Element>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    cotangent: Strided<T>,
    gradient: AttentionGradient<T>,
) -> Result<()> {
    (T::kernels().attention_gradient)(shape, inputs, scale, cotangent, gradient)
}

/// [`attention_gradient`], compiled in this crate.
pub(crate) fn attention_gradient_instance<T: Element>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    cotangent: Strided<T>,
    gradient: AttentionGradient<T>,
) -> Result<()> {
    const OP: &str = "attention_gradient";
    check::check(OP, shape, inputs)?;
    cotangent.check(OP, "cotangent", shape.output_sizes())?;
    let sizes = [
        ("queries", shape.query_sizes(), gradient.queries.len()),
        ("keys", shape.key_sizes(), gradient.keys.len()),
        ("values", shape.value_sizes(), gradient.values.len()),
    ];
    for (what, sizes, got) in sizes {
        length(OP, what, product(OP, &sizes)?, got)?;
    }
    let [batch, heads, queries, keys] = shape.score_sizes();
    if batch * heads * queries * keys * shape.value_dim == 0 {
        gradient.queries.fill(T::default());
        gradient.keys.fill(T::default());
        gradient.values.fill(T::default());
        return Ok(());
    }
    let problem = Problem {
        shape,
        inputs,
        cotangent,
        scale,
    };
    let mut statistics = vec![Statistics::default(); batch * heads * queries];
    queries::differentiate(problem, &mut statistics, gradient.queries);
    keys::differentiate(problem, &statistics, gradient.keys, gradient.values);
    Ok(())
}

/// All inputs.
#[derive(Clone, Copy)]
struct Problem<'a, T> {
    shape: AttentionShape,
    inputs: AttentionInputs<'a, T>,
    cotangent: Strided<'a, T>,
    scale: f32,
}

/// How many numbers of scratch a step over rows needs.
fn scratch_len<T: Element>(rows: HeadRows<T>) -> usize {
    if rows.is_direct() {
        0
    } else {
        STEP * rows.dim()
    }
}
