//! Checks of the arguments of attention.

use super::head_rows::Heads;
use super::{AttentionInputs, AttentionShape};
use crate::element::Element;
use crate::error::{Error, Result, length, product};

/// Refuses inconsistent sizes, and slices that end before the last row.
pub(super) fn check<'a, T: Element, K: Heads<'a>>(
    op: &'static str,
    shape: AttentionShape,
    inputs: AttentionInputs<'a, T, K>,
) -> Result<()> {
    let (heads, kv_heads) = (shape.heads, shape.kv_heads);
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
    if shape.dim == 0 {
        return refuse("dim", "at least 1", shape.dim);
    }
    // A stride of 0 lets a slice of any length hold any number of keys: their number is bounded here.
    let [batch, heads, queries, keys] = shape.score_sizes();
    product(op, &[batch, heads, queries, keys, 2])?;
    inputs.queries.check(op, "queries", shape.query_sizes())?;
    inputs.keys.check(op, "keys", shape.key_sizes())?;
    inputs.values.check(op, "values", shape.value_sizes())?;
    if let Some(sinks) = inputs.sinks {
        length(op, "sinks", heads, sinks.len())?;
    }
    inputs.mask.check(op, shape.score_sizes())
}
