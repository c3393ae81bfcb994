//! Checks of the arguments of attention.

use super::{AttentionInputs, AttentionShape};
use crate::element::Element;
use crate::error::{Error, Result, length, product};

/// Refuses inconsistent sizes, and slices that end before the last row.
pub(super) fn check<T: Element>(
    op: &'static str,
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
) -> Result<()> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        dim,
        value_dim,
    } = shape;
    let refuse = |what, wanted, got| {
        Err(Error::Parameter {
            op,
            what,
            wanted,
            got,
        })
    };
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return refuse("heads", "a multiple of kv_heads", heads);
    }
    if dim == 0 {
        return refuse("dim", "at least 1", dim);
    }
    // A stride of 0 lets a slice of any length hold any number of keys: their number is bounded here.
    product(op, &[batch, heads, queries, keys, 2])?;
    let query_sizes = [batch, heads, queries, dim];
    let key_sizes = [batch, kv_heads, keys, dim];
    inputs.queries.check(op, "queries", query_sizes)?;
    inputs.keys.check(op, "keys", key_sizes)?;
    let value_sizes = [batch, kv_heads, keys, value_dim];
    inputs.values.check(op, "values", value_sizes)?;
    if let Some(sinks) = inputs.sinks {
        length(op, "sinks", heads, sinks.len())?;
    }
    inputs.mask.check(op, [batch, heads, queries, keys])
}
