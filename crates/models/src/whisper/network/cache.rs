//! What does the decoder remember of the sound and of the tokens it has read?

use mlx::fast::Offset;
use mlx::{Array, Dtype, Op, Tree, bind};

use super::attention::KeyValue;
use crate::{Error, Result};

/// Keys and values of every decoder layer: of the sound, and of the tokens read so far.
///
/// Room for the whole context is made once; each step writes its tokens in place. MLX reuses the memory because
/// nobody else holds the array.
pub(super) struct Cache {
    pub(super) layers: Vec<LayerCache>,
    n_tokens: i32,
    capacity: i32,
}

/// The cache of one layer.
#[derive(Clone, Tree)]
pub(super) struct LayerCache {
    /// Of the sound: `[rows, n_heads, n_audio_ctx, dim]`, one memory for all rows.
    pub(super) sound: KeyValue,
    /// Of the tokens: `[rows, n_heads, capacity, dim]`.
    pub(super) tokens: KeyValue,
}

impl Cache {
    /// Returns the state with one row that has read no tokens.
    pub(super) fn new(sound: &[KeyValue], capacity: i32, dtype: Dtype) -> Result<Self> {
        let room = |sound: &KeyValue| -> Result<LayerCache> {
            let [_, n_heads, _, dim] = sound.0.dims().map_err(Error::model)?;
            let empty = || mlx::zeros([1, n_heads, capacity, dim], dtype);
            Ok(LayerCache {
                sound: sound.clone(),
                tokens: (empty(), empty()),
            })
        };
        Ok(Self {
            layers: sound.iter().map(room).collect::<Result<_>>()?,
            n_tokens: 0,
            capacity,
        })
    }

    /// Returns the number of tokens read.
    pub(super) fn n_tokens(&self) -> i32 {
        self.n_tokens
    }

    /// Makes row `i` what row `rows[i]` was.
    pub(super) fn select(&mut self, rows: &Array) -> Result<()> {
        let n_rows = rows.dim(0).map_err(Error::model)?;
        let shared = |array: &Array| -> mlx::Result<Array> {
            let [_, n_heads, length, dim] = array.dims()?;
            let one = Op::Slice {
                start: vec![0; 4],
                stop: vec![1, n_heads, length, dim],
                strides: vec![1; 4],
            };
            // A broadcast copies nothing: all rows hear the same sound.
            Ok(bind(one, &[array]).broadcast_to([n_rows, n_heads, length, dim]))
        };
        for layer in &mut self.layers {
            layer.sound = (shared(&layer.sound.0), shared(&layer.sound.1))
                .both()
                .map_err(Error::model)?;
            let take = |array: &Array| bind(Op::Take { axis: 0 }, &[array, rows]);
            layer.tokens = (take(&layer.tokens.0), take(&layer.tokens.1));
        }
        Ok(())
    }

    /// Refuses `n` further tokens when they do not fit.
    pub(super) fn check_room(&self, n: i32) -> Result<()> {
        let after = self.n_tokens + n;
        if after <= self.capacity {
            return Ok(());
        }
        Err(Error::Decoding(format!(
            "wanted at most {} tokens in the context, got {after}",
            self.capacity
        )))
    }

    /// Counts tokens whose keys and values every layer has taken in.
    pub(super) fn advance(&mut self, n: i32) {
        self.n_tokens += n;
    }

    /// Returns the arrays that change with each token.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &Array> {
        self.layers
            .iter()
            .flat_map(|layer| [&layer.tokens.0, &layer.tokens.1])
    }
}

impl LayerCache {
    /// Writes the keys and values of tokens that begin at `start`, and returns those that are looked at: of all tokens
    /// so far, or, where the start is known only when a graph runs, all room there is.
    pub(super) fn extend(
        &mut self,
        start: &Offset,
        (keys, values): &KeyValue,
    ) -> mlx::Result<KeyValue> {
        let all = |room: &mut Array, new: &Array| -> mlx::Result<Array> {
            let start = match start {
                Offset::Int(start) => *start,
                Offset::Array(start) => {
                    *room = room.slice_update(new, &start.reshape([1]), 2);
                    return Ok(room.clone());
                }
            };
            let [rows, n_heads, length, dim] = new.dims()?;
            let stop = vec![rows, n_heads, start + length, dim];
            let update = Op::SliceUpdate {
                start: vec![0, 0, start, 0],
                stop: stop.clone(),
                strides: vec![1; 4],
            };
            // The old array is dropped here, so MLX may write into its memory.
            *room = bind(update, &[room, new]);
            Ok(bind(
                Op::Slice {
                    start: vec![0; 4],
                    stop,
                    strides: vec![1; 4],
                },
                &[room],
            ))
        };
        (
            all(&mut self.tokens.0, keys),
            all(&mut self.tokens.1, values),
        )
            .both()
    }
}

/// Two results made one.
trait Both<T> {
    fn both(self) -> mlx::Result<(T, T)>;
}

impl<T> Both<T> for (mlx::Result<T>, mlx::Result<T>) {
    fn both(self) -> mlx::Result<(T, T)> {
        Ok((self.0?, self.1?))
    }
}
