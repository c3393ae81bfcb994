//! Which keys a query sees, and how a mask is laid over a block of scores.

use super::AttentionShape;
use crate::error::{Result, length, product};

/// Which keys a query sees.
///
/// An array of a mask is `[batch or 1, heads or 1, queries, keys]`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Mask<'a> {
    /// All.
    #[default]
    None,
    /// Query `i` sees key `j` if `j <= i + keys - queries`: the last query sees all.
    Causal,
    /// Those for which the array is true.
    Boolean {
        /// Whether a query sees a key.
        values: &'a [bool],
        /// Whether each sequence has its own.
        per_batch: bool,
        /// Whether each head has its own.
        per_head: bool,
    },
    /// All, with a number added to each score; `-inf` hides a key.
    Additive {
        /// What is added.
        values: &'a [f32],
        /// Whether each sequence has its own.
        per_batch: bool,
        /// Whether each head has its own.
        per_head: bool,
    },
}

/// The mask of one head of one sequence, `[queries, keys]`.
#[derive(Clone, Copy)]
pub(super) enum HeadMask<'a> {
    None,
    /// How many keys more than its own number a query sees, less one; negative if there are more queries than keys.
    Causal(isize),
    Boolean(&'a [bool]),
    Additive(&'a [f32]),
}

impl<'a> Mask<'a> {
    pub(super) fn check(self, shape: AttentionShape) -> Result<()> {
        let (got, per_batch, per_head) = match self {
            Self::None | Self::Causal => return Ok(()),
            Self::Boolean {
                values,
                per_batch,
                per_head,
            } => (values.len(), per_batch, per_head),
            Self::Additive {
                values,
                per_batch,
                per_head,
            } => (values.len(), per_batch, per_head),
        };
        let batch = if per_batch { shape.batch } else { 1 };
        let heads = if per_head { shape.heads } else { 1 };
        let wanted = product("attention", &[batch, heads, shape.queries, shape.keys])?;
        length("attention", "mask", wanted, got)
    }

    /// The part for one head.
    pub(super) fn of_head(self, shape: AttentionShape, batch: usize, head: usize) -> HeadMask<'a> {
        let size = shape.queries * shape.keys;
        let start = |per_batch, per_head| {
            let heads = if per_head { shape.heads } else { 1 };
            let batch = if per_batch { batch } else { 0 };
            (batch * heads + if per_head { head } else { 0 }) * size
        };
        match self {
            Self::None => HeadMask::None,
            Self::Causal => HeadMask::Causal(shape.keys as isize - shape.queries as isize),
            Self::Boolean {
                values,
                per_batch,
                per_head,
            } => HeadMask::Boolean(&values[start(per_batch, per_head)..][..size]),
            Self::Additive {
                values,
                per_batch,
                per_head,
            } => HeadMask::Additive(&values[start(per_batch, per_head)..][..size]),
        }
    }
}

impl HeadMask<'_> {
    /// How many keys, from the first, any query up to `query` can see.
    pub(super) fn reach(self, query: usize, keys: usize) -> usize {
        match self {
            Self::Causal(offset) => {
                let last = query as isize + offset;
                usize::try_from(last + 1).unwrap_or(0).min(keys)
            }
            _ => keys,
        }
    }

    /// Whether the score of a pair changes; the last query's reach bounds the keys already.
    pub(super) fn touches(self, first_query: usize, last_key: usize) -> bool {
        match self {
            Self::None => false,
            Self::Causal(offset) => last_key as isize > first_query as isize + offset,
            Self::Boolean(_) | Self::Additive(_) => true,
        }
    }

    /// The score of a pair under the mask.
    #[inline(always)]
    pub(super) fn apply(self, query: usize, key: usize, keys: usize, score: f32) -> f32 {
        match self {
            Self::None => score,
            Self::Causal(offset) if key as isize <= query as isize + offset => score,
            Self::Boolean(values) if values[query * keys + key] => score,
            Self::Additive(values) => score + values[query * keys + key],
            _ => f32::NEG_INFINITY,
        }
    }
}
