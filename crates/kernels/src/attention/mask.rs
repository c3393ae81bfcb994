//! Masks: which keys a query attends to, and how scores are masked.

use half::bf16;

use super::AttentionShape;
use super::strided::check_reach;
use crate::element::Element;
use crate::error::Result;

/// The strides, in elements, of a mask `[batch, head, query, key]`.
///
/// A stride of 0 repeats the mask along that axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskStrides {
    /// From one sequence to the next.
    pub batch: usize,
    /// From one head to the next.
    pub head: usize,
    /// From one query to the next.
    pub query: usize,
    /// From one key to the next.
    pub key: usize,
}

impl MaskStrides {
    /// The strides of a contiguous array of these sizes; an axis of size 1 is repeated.
    pub const fn contiguous([batch, heads, queries, keys]: [usize; 4]) -> Self {
        const fn stride(size: usize, inside: usize) -> usize {
            if size == 1 { 0 } else { inside }
        }
        let (matrix, sequence) = (
            queries.saturating_mul(keys),
            heads.saturating_mul(queries).saturating_mul(keys),
        );
        Self {
            batch: stride(batch, sequence),
            head: stride(heads, matrix),
            query: stride(queries, keys),
            key: stride(keys, 1),
        }
    }
}

/// Which keys a query attends to.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Mask<'a, T = f32> {
    /// All.
    #[default]
    None,
    /// Query `i` attends to key `j` if `j <= i + keys - queries`: the last query attends to all.
    Causal,
    /// Those for which the array is true.
    Boolean {
        /// Whether a query sees a key.
        values: &'a [bool],
        /// Where they are.
        strides: MaskStrides,
    },
    /// All, with a number added to each score; `-inf` hides a key.
    Additive {
        /// What is added.
        values: &'a [T],
        /// Where they are.
        strides: MaskStrides,
    },
}

/// The mask of one head of one sequence.
#[derive(Clone, Copy)]
pub(super) enum HeadMask<'a, T> {
    None,
    /// How many keys more than its own number a query sees, less one; negative if there are more queries than keys.
    Causal(isize),
    Boolean(Plane<'a, bool>),
    Additive(Plane<'a, T>),
}

/// The mask of one head, with the strides of queries and keys.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a, V> {
    values: &'a [V],
    query: usize,
    key: usize,
}

impl<'a, V: Copy> Plane<'a, V> {
    fn new(values: &'a [V], strides: MaskStrides, batch: usize, head: usize) -> Self {
        Self {
            values: &values[batch * strides.batch + head * strides.head..],
            query: strides.query,
            key: strides.key,
        }
    }

    #[inline(always)]
    fn at(self, query: usize, key: usize) -> V {
        self.values[query * self.query + key * self.key]
    }
}

impl<'a, T: Element> Mask<'a, T> {
    /// The same, if what it adds is `bf16`.
    pub(super) fn as_bf16(self) -> Option<Mask<'a, bf16>> {
        Some(match self {
            Self::None => Mask::None,
            Self::Causal => Mask::Causal,
            Self::Boolean { values, strides } => Mask::Boolean { values, strides },
            Self::Additive { values, strides } => Mask::Additive {
                values: T::as_bf16(values)?,
                strides,
            },
        })
    }

    /// Refuses an array that ends before the last pair of `[batch, heads, queries, keys]`.
    pub(super) fn check(self, op: &'static str, sizes: [usize; 4]) -> Result<()> {
        let (got, strides) = match self {
            Self::None | Self::Causal => return Ok(()),
            Self::Boolean { values, strides } => (values.len(), strides),
            Self::Additive { values, strides } => (values.len(), strides),
        };
        let strides = [strides.batch, strides.head, strides.query, strides.key];
        check_reach(op, "mask", sizes, strides, got)
    }

    /// The part for one head.
    pub(super) fn of_head(
        self,
        shape: AttentionShape,
        batch: usize,
        head: usize,
    ) -> HeadMask<'a, T> {
        match self {
            Self::None => HeadMask::None,
            Self::Causal => HeadMask::Causal(shape.keys as isize - shape.queries as isize),
            Self::Boolean { values, strides } => {
                HeadMask::Boolean(Plane::new(values, strides, batch, head))
            }
            Self::Additive { values, strides } => {
                HeadMask::Additive(Plane::new(values, strides, batch, head))
            }
        }
    }
}

impl<T: Element> HeadMask<'_, T> {
    /// How many keys, from the first, the queries up to `query` can attend to.
    pub(super) fn n_visible_keys(self, query: usize, keys: usize) -> usize {
        match self {
            Self::Causal(offset) => {
                let last = query as isize + offset;
                usize::try_from(last + 1).unwrap_or(0).min(keys)
            }
            _ => keys,
        }
    }

    /// The first query that can attend to key `key` or one after it.
    pub(super) fn first_query(self, key: usize) -> usize {
        match self {
            Self::Causal(offset) => usize::try_from(key as isize - offset).unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether the mask changes a score of queries from `first_query` on and keys up to `last_key`.
    pub(super) fn masks_any(self, first_query: usize, last_key: usize) -> bool {
        match self {
            Self::None => false,
            Self::Causal(offset) => last_key as isize > first_query as isize + offset,
            Self::Boolean(_) | Self::Additive(_) => true,
        }
    }

    /// Masks the scores of a query for the keys from `first` on.
    #[inline(always)]
    pub(super) fn apply_row(self, query: usize, first: usize, scores: &mut [f32]) {
        if let Self::Causal(offset) = self {
            let n_seen = query as isize + offset + 1 - first as isize;
            let n_seen = usize::try_from(n_seen).unwrap_or(0).min(scores.len());
            scores[n_seen..].fill(f32::NEG_INFINITY);
            return;
        }
        for (key, score) in (first..).zip(scores) {
            *score = self.apply(query, key, *score);
        }
    }

    /// The score of a pair under the mask.
    #[inline(always)]
    pub(super) fn apply(self, query: usize, key: usize, score: f32) -> f32 {
        match self {
            Self::None => score,
            Self::Causal(offset) if key as isize <= query as isize + offset => score,
            Self::Boolean(plane) if plane.at(query, key) => score,
            Self::Additive(plane) => score + T::read_inline(&[plane.at(query, key)], &mut [0.0])[0],
            _ => f32::NEG_INFINITY,
        }
    }
}
