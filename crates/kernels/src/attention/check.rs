//! What attention asks of its arguments.

use super::{AttentionInputs, AttentionShape};
use crate::error::{Error, Result, length, product};

const OP: &str = "attention";

/// Refuses lengths that do not match the shape.
pub(super) fn check(shape: AttentionShape, inputs: AttentionInputs, out: usize) -> Result<()> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        capacity,
        dim,
        value_dim,
    } = shape;
    let refuse = |what, wanted, got| {
        Err(Error::Parameter {
            op: OP,
            what,
            wanted,
            got,
        })
    };
    if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
        return refuse("heads", "a multiple of kv_heads", heads);
    }
    if capacity < keys {
        return refuse("capacity", "at least the number of keys", capacity);
    }
    if dim == 0 {
        return refuse("dim", "at least 1", dim);
    }
    length(
        OP,
        "queries",
        product(OP, &[batch, heads, queries, dim])?,
        inputs.queries.len(),
    )?;
    length(
        OP,
        "keys",
        product(OP, &[batch, kv_heads, capacity, dim])?,
        inputs.keys.len(),
    )?;
    let values = product(OP, &[batch, kv_heads, capacity, value_dim])?;
    length(OP, "values", values, inputs.values.len())?;
    length(
        OP,
        "out",
        product(OP, &[batch, heads, queries, value_dim])?,
        out,
    )?;
    if let Some(sinks) = inputs.sinks {
        length(OP, "sinks", heads, sinks.len())?;
    }
    inputs.mask.check(shape)
}
