//! Attention of a few queries (decode): the keys are split over threads (split-K, as flash-decoding does), and the partial
//! results are merged in order.
//!
//! Keys and values are read once, for all the queries that share them, and converted if they are in half precision.

use pulp::{Simd, WithSimd};

use super::head_rows::{Heads, RowBlocks};
use super::mask::HeadMask;
use super::strided::row_to_f32;
use super::{AttentionInputs, AttentionShape};
use crate::element::Element;
use crate::parallel::parallel_for;
use crate::rowwise::row_fold::row_max;
use crate::simd::lanes::Lanes;
use crate::simd::{self, prefetch};

/// Keys of a task: the same for any number of threads.
const SPLIT: usize = 512;
/// Keys that are read at once.
const AT_ONCE: usize = 4;
/// How many rows ahead keys and values are prefetched.
const PREFETCH_ROWS: usize = 16;
/// Numbers of a cache line.
const LINE: usize = 16;
/// Keys that are converted at a time: few enough to be in the L1 cache when they are read.
const F32_BLOCK: usize = 32;

/// Lengths are checked; there are queries and keys.
pub(super) fn decode<'a, T: Element, K: Heads<'a>>(
    shape: AttentionShape,
    inputs: AttentionInputs<'a, T, K>,
    scale: f32,
    out: &mut [T],
) {
    let [batch, heads, queries, keys] = shape.score_sizes();
    let (kv_heads, dim, value_dim) = (shape.kv_heads, shape.dim, shape.value_dim);
    let group = heads / kv_heads;
    let splits = keys.div_ceil(SPLIT);
    // A partial result: the maximum, the sum, and the output relative to them.
    let partial = value_dim + 2;
    let rows = group * queries;
    let mut partials = vec![0.0; batch * kv_heads * splits * rows * partial];
    let nanoseconds = 0.1 * shape.multiply_adds();
    parallel_for(
        partials.chunks_exact_mut(rows * partial).enumerate(),
        nanoseconds,
        || Scratch {
            queries: vec![0.0; rows * dim],
            scores: vec![0.0; rows * SPLIT.min(keys)],
            block_f32: vec![
                0.0;
                if K::Rows::IN_PLACE {
                    0
                } else {
                    F32_BLOCK * dim.max(value_dim)
                }
            ],
        },
        |scratch, (task, partials)| {
            let (kv, split) = (task / splits, task % splits);
            let (batch, kv_head) = (kv / kv_heads, kv % kv_heads);
            for (row, query) in scratch.queries.chunks_exact_mut(dim).enumerate() {
                let head = kv_head * group + row / queries;
                let head = inputs.queries.of_head(batch, head, dim);
                row_to_f32(head.row(row % queries), query);
            }
            simd::dispatch(KeySplit {
                shape,
                mask: |row: usize| {
                    inputs
                        .mask
                        .of_head(shape, batch, kv_head * group + row / queries)
                },
                keys: inputs.keys.of_head(batch, kv_head, dim),
                values: inputs.values.of_head(batch, kv_head, value_dim),
                start: split * SPLIT,
                count: SPLIT.min(keys - split * SPLIT),
                scale,
                scratch,
                partials,
            });
        },
    );
    let mut block_f32 = vec![0.0; value_dim];
    for (at, out) in out.chunks_exact_mut(value_dim).enumerate() {
        let (batch, head, query) = (at / queries / heads, at / queries % heads, at % queries);
        let kv = batch * kv_heads + head / group;
        let row = head % group * queries + query;
        let parts = (0..splits)
            .map(|split| &partials[((kv * splits + split) * rows + row) * partial..][..partial]);
        let sink = inputs.sinks.map(|sinks| sinks[head]);
        T::write(out, &mut block_f32, |out| merge(parts, sink, out));
    }
}

/// Adds partial results relative to their common maximum.
fn merge<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, sink: Option<f32>, out: &mut [f32]) {
    let first = sink.unwrap_or(f32::MIN).max(f32::MIN);
    let max = parts.clone().fold(first, |max, part| max.max(part[0]));
    let mut sum = sink.map_or(0.0, |sink| (sink - max).exp());
    out.fill(0.0);
    for part in parts {
        let correction = (part[0] - max).exp();
        sum += part[1] * correction;
        for (out, part) in out.iter_mut().zip(&part[2..]) {
            *out += part * correction;
        }
    }
    let inverse = if sum == 0.0 { 0.0 } else { 1.0 / sum };
    out.iter_mut().for_each(|out| *out *= inverse);
}

/// Buffers of one thread.
struct Scratch {
    /// `[rows, dim]`.
    queries: Vec<f32>,
    /// `[rows, SPLIT]`: scores, then their exponentials.
    scores: Vec<f32>,
    /// `[F32_BLOCK, dim or value_dim]`, empty if nothing is converted.
    block_f32: Vec<f32>,
}

/// One part of the keys of one key head, and all queries that share it.
struct KeySplit<'a, R, M> {
    shape: AttentionShape,
    /// The mask of a row of the scratch.
    mask: M,
    keys: R,
    values: R,
    start: usize,
    count: usize,
    scale: f32,
    scratch: &'a mut Scratch,
    /// `[rows, 2 + value_dim]`.
    partials: &'a mut [f32],
}

impl<'m, T: Element, R: RowBlocks, M: Fn(usize) -> HeadMask<'m, T>> WithSimd
    for KeySplit<'_, R, M>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        self.scores(simd);
        let partial = self.shape.value_dim + 2;
        let scores = self.scratch.scores.chunks_exact_mut(self.count);
        let partials = self.partials.chunks_exact_mut(partial);
        for (row, (scores, partial)) in scores.zip(partials).enumerate() {
            let (query, mask) = (row % self.shape.queries, (self.mask)(row));
            if mask.masks_any(query, self.start + self.count - 1) {
                for (key, score) in (self.start..).zip(scores.iter_mut()) {
                    *score = mask.apply(query, key, *score);
                }
            }
            let (max, sum) = softmax_scores(simd, scores);
            partial.fill(0.0);
            partial[..2].copy_from_slice(&[max, sum]);
        }
        self.accumulate_values(simd);
    }
}

impl<R: RowBlocks, M> KeySplit<'_, R, M> {
    /// `scores[row, key] = scale * sum over d of queries[row, d] * keys[key, d]`.
    #[inline(always)]
    fn scores<S: Simd>(&mut self, simd: S) {
        let (dim, count, scale) = (self.shape.dim, self.count, self.scale);
        let Scratch {
            queries,
            scores,
            block_f32,
        } = &mut *self.scratch;
        for begin in (0..count).step_by(F32_BLOCK) {
            let end = (begin + F32_BLOCK).min(count);
            let whole = end - (end - begin) % AT_ONCE;
            let keys = self.keys.view(self.start + begin, end - begin, block_f32);
            for first in (begin..whole).step_by(AT_ONCE) {
                let (stride, keys) = (keys.1, rows::<AT_ONCE>(keys, first - begin, dim));
                if R::IN_PLACE {
                    prefetch_rows(keys, PREFETCH_ROWS * stride);
                }
                let pairs = queries.chunks_exact(dim);
                for (query, scores) in pairs.zip(scores.chunks_exact_mut(count)) {
                    let dots = dot_rows(simd, query, keys);
                    for (score, dot) in scores[first..first + AT_ONCE].iter_mut().zip(dots) {
                        *score = dot * scale;
                    }
                }
            }
            for key in whole..end {
                let keys = rows::<1>(keys, key - begin, dim);
                let pairs = queries.chunks_exact(dim);
                for (query, scores) in pairs.zip(scores.chunks_exact_mut(count)) {
                    scores[key] = dot_rows(simd, query, keys)[0] * scale;
                }
            }
        }
    }

    /// `partials[row, 2..] = sum over keys of exps[row, key] * values[key, :]`.
    #[inline(always)]
    fn accumulate_values<S: Simd>(&mut self, simd: S) {
        let (count, dim) = (self.count, self.shape.value_dim);
        let Scratch {
            scores, block_f32, ..
        } = &mut *self.scratch;
        for begin in (0..count).step_by(F32_BLOCK) {
            let end = (begin + F32_BLOCK).min(count);
            let whole = end - (end - begin) % AT_ONCE;
            let values = self.values.view(self.start + begin, end - begin, block_f32);
            for first in (begin..whole).step_by(AT_ONCE) {
                let (stride, values) = (values.1, rows::<AT_ONCE>(values, first - begin, dim));
                if R::IN_PLACE {
                    prefetch_rows(values, PREFETCH_ROWS * stride);
                }
                let outs = self.partials.chunks_exact_mut(dim + 2);
                for (scores, out) in scores.chunks_exact(count).zip(outs) {
                    let weights = std::array::from_fn(|i| scores[first + i]);
                    axpy_rows(simd, weights, values, &mut out[2..]);
                }
            }
            for key in whole..end {
                let values = rows::<1>(values, key - begin, dim);
                let outs = self.partials.chunks_exact_mut(dim + 2);
                for (scores, out) in scores.chunks_exact(count).zip(outs) {
                    axpy_rows(simd, [scores[key]], values, &mut out[2..]);
                }
            }
        }
    }
}

/// Prefetches what is `distance` numbers after these rows. Rows of interleaved heads are short and far apart, which the
/// hardware prefetcher does not predict.
#[inline(always)]
fn prefetch_rows(rows: [&[f32]; AT_ONCE], distance: usize) {
    for row in rows {
        for line in row.chunks(LINE) {
            prefetch(&line[0], distance);
        }
    }
}

/// Rows `first..first + N` of numbers with a stride between rows.
#[inline(always)]
fn rows<const N: usize>(
    (values, stride): (&[f32], usize),
    first: usize,
    dim: usize,
) -> [&[f32]; N] {
    // Loops and not closures, here and below: one that is not inlined is compiled without the instructions of `S`.
    let mut rows: [&[f32]; N] = [&[]; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &values[(first + i) * stride..][..dim];
    }
    rows
}

/// Replaces scores by their exponentials relative to their maximum; returns it and the sum.
#[inline(always)]
fn softmax_scores<S: Simd>(simd: S, scores: &mut [f32]) -> (f32, f32) {
    let max = row_max(simd, scores).max(f32::MIN);
    let shift = Lanes::splat(simd, max);
    let mut sum = Lanes::splat(simd, 0.0);
    let (body, tail) = S::as_mut_simd_f32s(scores);
    for score in body {
        let exp = (Lanes::new(simd, *score) - shift).exp_nonpositive();
        sum = sum + exp;
        *score = exp.value;
    }
    let mut rest = 0.0;
    for score in tail {
        *score = (*score - max).exp();
        rest += *score;
    }
    (max, sum.sum() + rest)
}

/// The inner products of `a` with each of `rows`.
#[inline(always)]
fn dot_rows<S: Simd, const N: usize>(simd: S, a: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let (body, tail) = S::as_simd_f32s(a);
    let mut bodies: [&[S::f32s]; N] = [&[]; N];
    for (body_of_row, row) in bodies.iter_mut().zip(rows) {
        *body_of_row = &S::as_simd_f32s(row).0[..body.len()];
    }
    let mut sums = [simd.splat_f32s(0.0); N];
    for (i, a) in body.iter().enumerate() {
        for row in 0..N {
            sums[row] = simd.mul_add_e_f32s(*a, bodies[row][i], sums[row]);
        }
    }
    if !tail.is_empty() {
        let a = simd.partial_load_f32s(tail);
        for row in 0..N {
            let b = simd.partial_load_f32s(S::as_simd_f32s(rows[row]).1);
            sums[row] = simd.mul_add_e_f32s(a, b, sums[row]);
        }
    }
    let mut dots = [0.0; N];
    for (dot, sum) in dots.iter_mut().zip(sums) {
        *dot = simd.reduce_sum_f32s(sum);
    }
    dots
}

/// `out += sum over rows of weights[row] * rows[row]`.
#[inline(always)]
fn axpy_rows<S: Simd, const N: usize>(
    simd: S,
    weights: [f32; N],
    rows: [&[f32]; N],
    out: &mut [f32],
) {
    let mut factors = [simd.splat_f32s(0.0); N];
    for (factor, weight) in factors.iter_mut().zip(weights) {
        *factor = simd.splat_f32s(weight);
    }
    let (body, tail) = S::as_mut_simd_f32s(out);
    let mut bodies: [&[S::f32s]; N] = [&[]; N];
    for (body_of_row, row) in bodies.iter_mut().zip(rows) {
        *body_of_row = &S::as_simd_f32s(row).0[..body.len()];
    }
    for (i, out) in body.iter_mut().enumerate() {
        let mut sum = *out;
        for row in 0..N {
            sum = simd.mul_add_e_f32s(factors[row], bodies[row][i], sum);
        }
        *out = sum;
    }
    let first = rows[0].len() - tail.len();
    for (i, out) in tail.iter_mut().enumerate() {
        for row in 0..N {
            *out += weights[row] * rows[row][first + i];
        }
    }
}
