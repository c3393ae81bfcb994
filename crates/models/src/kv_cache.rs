//! Keys and values of a layer's past tokens, in buffers of fixed capacity.

use mlx::fast::{Offset, quantize_rows};
use mlx::{Array, Dtype, Op, bind};

/// Keys and values of one layer, `[batch, n_heads, capacity, head_dim]` each.
///
/// A quantized cache is of `uint8`, and its last axis is what [`quantize_rows`](mlx::fast::quantize_rows) makes of `head_dim`
/// numbers.
pub type LayerKvCache = (Array, Array);

/// How a cache holds keys and values in 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvQuantization {
    /// The numbers that share a scale and a bias: a divisor of `head_dim`.
    pub(crate) group_size: i32,
}

impl KvQuantization {
    /// Bytes of a scale and a bias.
    const PARAMETERS: i32 = 8;

    /// Returns how a cache is quantized; `None` if it has numbers.
    ///
    /// # Errors
    /// When its rows are not those of `head_dim` numbers in 8 bits.
    pub(crate) fn of((keys, _): &LayerKvCache, head_dim: i32) -> mlx::Result<Option<Self>> {
        if keys.dtype()? != Dtype::Uint8 {
            return Ok(None);
        }
        let bytes = keys.axis_size(-1)?.fixed();
        let group_sizes = [32, 64, 128].map(|group_size| Self { group_size });
        match group_sizes
            .iter()
            .find(|one| one.row_bytes(head_dim) == Some(bytes))
        {
            Some(found) => Ok(Some(*found)),
            None => Err(mlx::Error::op(
                "llama",
                format!("cache: wanted rows of {head_dim} numbers in 8 bits, got {bytes} bytes"),
            )),
        }
    }

    /// The bytes of a row of `head_dim` numbers; `None` where groups do not divide it.
    pub(crate) fn row_bytes(self, head_dim: i32) -> Option<i32> {
        let is_whole = head_dim > 0 && head_dim % self.group_size == 0;
        is_whole.then(|| head_dim + head_dim / self.group_size * Self::PARAMETERS)
    }

    /// Returns keys or values in 8 bits.
    pub(crate) fn quantize(self, x: &Array) -> Array {
        quantize_rows(x, self.group_size)
    }
}

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
