//! Keys and values of a layer's past tokens, in buffers of fixed capacity.

use mlx::fast::Offset;
use mlx::{Array, Op, bind};

/// Keys and values of one layer, `[batch, n_heads, capacity, head_dim]` each.
pub type LayerKvCache = (Array, Array);

/// Writes the keys and values of tokens whose first has position `start`, and returns the part that they attend to.
///
/// That is all tokens so far, or the whole capacity where `start` is an array, whose value a graph has only when it
/// runs. The buffers are written in place when there is no other reference to them.
pub(crate) fn append(
    (keys, values): &mut LayerKvCache,
    start: &Offset,
    (new_keys, new_values): &LayerKvCache,
) -> mlx::Result<LayerKvCache> {
    Ok((
        append_one(keys, start, new_keys)?,
        append_one(values, start, new_values)?,
    ))
}

fn append_one(buffer: &mut Array, start: &Offset, new: &Array) -> mlx::Result<Array> {
    let start = match start {
        Offset::Int(start) => *start,
        Offset::Array(start) => {
            *buffer = buffer.slice_update(new, &start.reshape([1]), 2);
            return Ok(buffer.clone());
        }
    };
    let [rows, n_heads, length, dim] = new.dims()?;
    let stop = vec![rows, n_heads, start + length, dim];
    let update = Op::SliceUpdate {
        start: vec![0, 0, start, 0],
        stop: stop.clone(),
        strides: vec![1; 4],
    };
    // The old array is dropped here, so that MLX may write into its memory.
    *buffer = bind(update, &[buffer, new]);
    let filled = Op::Slice {
        start: vec![0; 4],
        stop,
        strides: vec![1; 4],
    };
    Ok(bind(filled, &[buffer]))
}
