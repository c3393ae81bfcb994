//! Attention of few queries: runs of keys go to threads, and their partial results are merged in order.

use pulp::{Simd, WithSimd};

use super::mask::HeadMask;
use super::{AttentionInputs, AttentionShape};
use crate::lanes::Lanes;
use crate::softmax::maximum;
use crate::{pool, simd};

/// Keys of a run: the same for any number of threads.
const RUN: usize = 512;

/// Lengths are checked; there are queries and keys.
pub(super) fn run(shape: AttentionShape, inputs: AttentionInputs, scale: f32, out: &mut [f32]) {
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
    let group = heads / kv_heads;
    let runs = keys.div_ceil(RUN);
    // A partial result: the maximum, the sum, and the output about them.
    let partial = value_dim + 2;
    let rows = group * queries;
    let mut partials = vec![0.0; batch * kv_heads * runs * rows * partial];
    let nanoseconds = 0.1 * (batch * heads * queries * keys * (dim + value_dim)) as f64;
    pool::each(
        partials.chunks_exact_mut(rows * partial).enumerate(),
        nanoseconds,
        || vec![0.0; RUN],
        |scores, (piece, partials)| {
            let (kv, run) = (piece / runs, piece % runs);
            let start = run * RUN;
            let count = RUN.min(keys - start);
            for (row, partial) in partials.chunks_exact_mut(partial).enumerate() {
                let (batch, head) = (kv / kv_heads, kv % kv_heads * group + row / queries);
                let query = row % queries;
                let at = (batch * heads + head) * queries + query;
                simd::dispatch(Part {
                    query: &inputs.queries[at * dim..][..dim],
                    keys: &inputs.keys[(kv * capacity + start) * dim..][..count * dim],
                    values: &inputs.values[(kv * capacity + start) * value_dim..]
                        [..count * value_dim],
                    mask: inputs.mask.of_head(shape, batch, head),
                    place: (query, start, keys),
                    scale,
                    scores: &mut scores[..count],
                    partial,
                });
            }
        },
    );
    for (at, out) in out.chunks_exact_mut(value_dim).enumerate() {
        let (batch, head, query) = (at / queries / heads, at / queries % heads, at % queries);
        let kv = batch * kv_heads + head / group;
        let row = head % group * queries + query;
        let parts =
            (0..runs).map(|run| &partials[((kv * runs + run) * rows + row) * partial..][..partial]);
        merge(parts, inputs.sinks.map(|sinks| sinks[head]), out);
    }
}

/// Adds partial results about their common maximum.
fn merge<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, sink: Option<f32>, out: &mut [f32]) {
    let first = sink.unwrap_or(f32::MIN).max(f32::MIN);
    let largest = parts
        .clone()
        .fold(first, |largest, part| largest.max(part[0]));
    let mut sum = sink.map_or(0.0, |sink| (sink - largest).exp());
    out.fill(0.0);
    for part in parts {
        let correction = (part[0] - largest).exp();
        sum += part[1] * correction;
        for (out, part) in out.iter_mut().zip(&part[2..]) {
            *out += part * correction;
        }
    }
    let inverse = if sum == 0.0 { 0.0 } else { 1.0 / sum };
    out.iter_mut().for_each(|out| *out *= inverse);
}

/// One query and one run of keys.
struct Part<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    mask: HeadMask<'a>,
    /// The number of the query, of the first key, and of all keys.
    place: (usize, usize, usize),
    scale: f32,
    scores: &'a mut [f32],
    partial: &'a mut [f32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (query, start, keys) = self.place;
        for (score, key) in self
            .scores
            .iter_mut()
            .zip(self.keys.chunks_exact(self.query.len()))
        {
            *score = dot(simd, self.query, key) * self.scale;
        }
        if self.mask.touches(query, start + self.scores.len() - 1) {
            for (i, score) in self.scores.iter_mut().enumerate() {
                *score = self.mask.apply(query, start + i, keys, *score);
            }
        }
        let largest = maximum(simd, self.scores).max(f32::MIN);
        let center = Lanes::splat(simd, largest);
        let mut sum = Lanes::splat(simd, 0.0);
        let (body, tail) = S::as_mut_simd_f32s(self.scores);
        for score in body {
            let power = (Lanes::new(simd, *score) - center).exp_not_positive();
            sum = sum + power;
            *score = power.value;
        }
        let mut rest = 0.0;
        for score in tail {
            *score = (*score - largest).exp();
            rest += *score;
        }
        let (head, out) = self.partial.split_at_mut(2);
        head.copy_from_slice(&[largest, sum.sum() + rest]);
        weigh(simd, self.scores, self.values, out);
    }
}

/// The inner product, in two registers.
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, a_tail) = S::as_simd_f32s(a);
    let (b, b_tail) = S::as_simd_f32s(b);
    let (a_pairs, a_single) = a.as_chunks::<2>();
    let (b_pairs, b_single) = b.as_chunks::<2>();
    let mut sums = [simd.splat_f32s(0.0); 2];
    for (a, b) in a_pairs.iter().zip(b_pairs) {
        sums[0] = simd.mul_add_e_f32s(a[0], b[0], sums[0]);
        sums[1] = simd.mul_add_e_f32s(a[1], b[1], sums[1]);
    }
    for (a, b) in a_single.iter().zip(b_single) {
        sums[0] = simd.mul_add_e_f32s(*a, *b, sums[0]);
    }
    if !a_tail.is_empty() {
        let (a, b) = (
            simd.partial_load_f32s(a_tail),
            simd.partial_load_f32s(b_tail),
        );
        sums[1] = simd.mul_add_e_f32s(a, b, sums[1]);
    }
    simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]))
}

/// `out = sum over rows of weights[row] * values[row, :]`, four rows at a time.
#[inline(always)]
fn weigh<S: Simd>(_: S, weights: &[f32], values: &[f32], out: &mut [f32]) {
    let dim = out.len();
    out.fill(0.0);
    if dim == 0 {
        return;
    }
    let (quads, singles) = weights.as_chunks::<4>();
    let (body, rest) = values.split_at(quads.len() * 4 * dim);
    for ([a, b, c, d], values) in quads.iter().zip(body.chunks_exact(4 * dim)) {
        let (va, values) = values.split_at(dim);
        let (vb, values) = values.split_at(dim);
        let (vc, vd) = values.split_at(dim);
        for i in 0..dim {
            out[i] += (a * va[i] + b * vb[i]) + (c * vc[i] + d * vd[i]);
        }
    }
    for (weight, value) in singles.iter().zip(rest.chunks_exact(dim)) {
        for (out, value) in out.iter_mut().zip(value) {
            *out += weight * value;
        }
    }
}
