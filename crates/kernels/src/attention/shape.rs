//! The sizes and the inputs of attention.

use half::bf16;

use super::mask::Mask;
use super::strided::{Strided, Strides};
use crate::element::Element;

/// The sizes of attention.
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
    /// The length of a query and of a key.
    pub dim: usize,
    /// The length of a value.
    pub value_dim: usize,
}

impl AttentionShape {
    /// Returns `[batch, heads, queries, dim]`, the sizes of the queries.
    pub fn query_sizes(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.dim]
    }

    /// Returns `[batch, kv_heads, keys, dim]`, the sizes of the keys.
    pub fn key_sizes(&self) -> [usize; 4] {
        [self.batch, self.kv_heads, self.keys, self.dim]
    }

    /// Returns `[batch, kv_heads, keys, value_dim]`, the sizes of the values.
    pub fn value_sizes(&self) -> [usize; 4] {
        [self.batch, self.kv_heads, self.keys, self.value_dim]
    }

    /// Returns `[batch, heads, queries, keys]`, the sizes of the scores, and of a whole mask.
    pub fn score_sizes(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.keys]
    }

    /// Returns `[batch, heads, queries, value_dim]`, the sizes of the output.
    pub fn output_sizes(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.value_dim]
    }

    /// The multiply-adds of the scores and of the weighted values.
    pub(super) fn multiply_adds(&self) -> f64 {
        let scores = self.batch * self.heads * self.queries * self.keys;
        (scores * (self.dim + self.value_dim)) as f64
    }
}

/// The inputs of attention; `K` is what keys and values are stored as.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a, T = f32, K = Strided<'a, T>> {
    /// `[batch, heads, queries, dim]`.
    pub queries: Strided<'a, T>,
    /// `[batch, kv_heads, keys, dim]`.
    pub keys: K,
    /// `[batch, kv_heads, keys, value_dim]`.
    pub values: K,
    /// Which keys a query attends to.
    pub mask: Mask<'a, T>,
    /// `[heads]`: for each head the score of an attention sink, which has no value.
    pub sinks: Option<&'a [f32]>,
}

impl<'a, T: Element> AttentionInputs<'a, T> {
    /// The same, if the elements are `bf16`.
    pub(super) fn as_bf16(self) -> Option<AttentionInputs<'a, bf16>> {
        Some(AttentionInputs {
            queries: self.queries.as_bf16()?,
            keys: self.keys.as_bf16()?,
            values: self.values.as_bf16()?,
            mask: self.mask.as_bf16()?,
            sinks: self.sinks,
        })
    }

    /// Contiguous arrays, no mask and no sinks.
    pub fn contiguous(
        shape: AttentionShape,
        queries: &'a [T],
        keys: &'a [T],
        values: &'a [T],
    ) -> Self {
        let strided = |values, heads, rows, dim| Strided {
            values,
            strides: Strides::contiguous(heads, rows, dim),
        };
        Self {
            queries: strided(queries, shape.heads, shape.queries, shape.dim),
            keys: strided(keys, shape.kv_heads, shape.keys, shape.dim),
            values: strided(values, shape.kv_heads, shape.keys, shape.value_dim),
            mask: Mask::None,
            sinks: None,
        }
    }
}
