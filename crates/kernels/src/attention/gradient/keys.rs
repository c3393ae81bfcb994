//! Keys across lanes: the gradients of keys and values, over the queries of all heads that share them.

use pulp::{Simd, WithSimd};

use super::{ACROSS, ALONG, Problem, Statistics, room};
use crate::attention::mask::HeadMask;
use crate::attention::packed_tile::{pack, unpack};
use crate::attention::strided::HeadRows;
use crate::element::Element;
use crate::gemm::microkernel::{WIDE, accumulate, few_registers, products};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

/// Buffers of one thread.
struct Scratch {
    /// `[tiles, dim, tile]`: scaled keys; their gradient.
    keys: Vec<f32>,
    key_gradients: Vec<f32>,
    /// `[tiles, value_dim, tile]`: values; their gradient.
    values: Vec<f32>,
    value_gradients: Vec<f32>,
    /// `[ALONG, tile]`: scores, then weights; products of values and the gradient of the output, then gradients of scores.
    scores: Vec<f32>,
    products: Vec<f32>,
    /// Rows that do not lie side by side as `f32`.
    queries: Vec<f32>,
    cotangents: Vec<f32>,
    row: Vec<f32>,
}

/// Sizes are checked, nothing is empty.
pub(super) fn run<T: Element>(
    problem: Problem<T>,
    statistics: &[Statistics],
    key_gradient: &mut [T],
    value_gradient: &mut [T],
) {
    let shape = problem.shape;
    let (keys, dim, value_dim) = (shape.keys, shape.dim, shape.value_dim);
    let (kv_heads, group) = (shape.kv_heads, shape.heads / shape.kv_heads);
    let pairs = shape.batch * shape.heads * shape.queries * keys;
    let blocks: Vec<_> = key_gradient
        .chunks_mut(keys * dim)
        .zip(value_gradient.chunks_mut(keys * value_dim))
        .enumerate()
        .flat_map(|(head, (key_gradient, value_gradient))| {
            let blocks = key_gradient.chunks_mut(ACROSS * dim);
            let blocks = blocks.zip(value_gradient.chunks_mut(ACROSS * value_dim));
            blocks
                .enumerate()
                .map(move |(block, outputs)| (head, block, outputs))
        })
        .collect();
    let inputs = problem.inputs;
    parallel_for(
        blocks.into_iter(),
        0.04 * (pairs * (dim + value_dim)) as f64,
        || Scratch {
            keys: vec![0.0; ACROSS * dim],
            key_gradients: vec![0.0; ACROSS * dim],
            values: vec![0.0; ACROSS * value_dim],
            value_gradients: vec![0.0; ACROSS * value_dim],
            scores: vec![0.0; ACROSS * ALONG],
            products: vec![0.0; ACROSS * ALONG],
            queries: vec![0.0; room(inputs.queries.of_head(0, 0, dim))],
            cotangents: vec![0.0; room(problem.cotangent.of_head(0, 0, value_dim))],
            row: vec![0.0; dim.max(value_dim)],
        },
        |scratch, (batch_head, block, (key_gradient, value_gradient))| {
            let (batch, kv_head) = (batch_head / kv_heads, batch_head % kv_heads);
            simd::dispatch(Block {
                problem,
                statistics,
                heads: (batch, kv_head * group, group),
                first: block * ACROSS,
                count: key_gradient.len() / dim,
                keys: inputs.keys.of_head(batch, kv_head, dim),
                values: inputs.values.of_head(batch, kv_head, value_dim),
                scratch,
                key_gradient,
                value_gradient,
            });
        },
    );
}

/// One block of keys of one key head.
struct Block<'a, T> {
    problem: Problem<'a, T>,
    statistics: &'a [Statistics],
    /// The sequence, the first of the heads that share the keys, and how many do.
    heads: (usize, usize, usize),
    first: usize,
    count: usize,
    keys: HeadRows<'a, T>,
    values: HeadRows<'a, T>,
    scratch: &'a mut Scratch,
    key_gradient: &'a mut [T],
    value_gradient: &'a mut [T],
}

/// The queries of one head from `start` on that are walked over at a time.
struct Walk<'a, T> {
    start: usize,
    queries: HeadRows<'a, T>,
    cotangents: HeadRows<'a, T>,
    mask: HeadMask<'a, T>,
    statistics: &'a [Statistics],
}

impl<T: Element> WithSimd for Block<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if few_registers::<S>() {
            self.run::<S, 4>(simd);
        } else {
            self.run::<S, 8>(simd);
        }
    }
}

impl<T: Element> Block<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let Problem {
            shape,
            inputs,
            cotangent,
            scale,
        } = self.problem;
        let (tile, count) = (WIDE * S::F32_LANES, self.count);
        let Scratch {
            keys,
            values,
            key_gradients,
            value_gradients,
            row,
            ..
        } = &mut *self.scratch;
        pack(self.keys, (self.first, count), scale, tile, row, keys);
        pack(self.values, (self.first, count), 1.0, tile, row, values);
        key_gradients.fill(0.0);
        value_gradients.fill(0.0);
        let (batch, first_head, group) = self.heads;
        for head in first_head..first_head + group {
            let mask = inputs.mask.of_head(shape, batch, head);
            let at = (batch * shape.heads + head) * shape.queries;
            let first = mask.first_query(self.first).min(shape.queries);
            for start in (first..shape.queries).step_by(ALONG) {
                let walked = ALONG.min(shape.queries - start);
                let walk = Walk {
                    start,
                    queries: inputs.queries.of_head(batch, head, shape.dim),
                    cotangents: cotangent.of_head(batch, head, shape.value_dim),
                    mask,
                    statistics: &self.statistics[at + start..][..walked],
                };
                self.walk::<S, ROWS>(simd, walk);
            }
        }
        let Scratch {
            key_gradients,
            value_gradients,
            row,
            ..
        } = &mut *self.scratch;
        let (dim, value_dim) = (shape.dim, shape.value_dim);
        unpack(
            key_gradients,
            |_| scale,
            (tile, dim),
            row,
            self.key_gradient,
        );
        let sizes = (tile, value_dim);
        unpack(value_gradients, |_| 1.0, sizes, row, self.value_gradient);
    }

    /// Adds what some queries of one head give.
    #[inline(always)]
    fn walk<S: Simd, const ROWS: usize>(&mut self, simd: S, walk: Walk<T>) {
        let (tile, count) = (WIDE * S::F32_LANES, walk.statistics.len());
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let one = [simd.splat_f32s(1.0); WIDE];
        let scratch = &mut *self.scratch;
        let queries = walk.queries.block(walk.start, count, &mut scratch.queries);
        let cotangents = walk
            .cotangents
            .block(walk.start, count, &mut scratch.cotangents);
        for index in 0..self.count.div_ceil(tile) {
            let (at, value_at) = (index * dim * tile, index * value_dim * tile);
            let keys = S::as_simd_f32s(&scratch.keys[at..][..dim * tile]).0;
            let scores = S::as_mut_simd_f32s(&mut scratch.scores[..count * tile]).0;
            let scores = scores.as_chunks_mut::<WIDE>().0;
            products::<S, ROWS>(simd, queries, keys.as_chunks::<WIDE>().0, scores);
            let values = S::as_simd_f32s(&scratch.values[value_at..][..value_dim * tile]).0;
            let changes = S::as_mut_simd_f32s(&mut scratch.products[..count * tile]).0;
            let changes = changes.as_chunks_mut::<WIDE>().0;
            products::<S, ROWS>(simd, cotangents, values.as_chunks::<WIDE>().0, changes);
            let first = self.first + index * tile;
            let seen = tile.min(self.count - index * tile);
            if walk.mask.touches(walk.start, first + seen - 1) {
                let scores = scratch.scores[..count * tile].chunks_exact_mut(tile);
                for (query, scores) in (walk.start..).zip(scores) {
                    for (key, score) in (first..).zip(&mut scores[..seen]) {
                        *score = walk.mask.apply(query, key, *score);
                    }
                }
            }
            let scores = S::as_mut_simd_f32s(&mut scratch.scores[..count * tile]).0;
            let scores = scores.as_chunks_mut::<WIDE>().0;
            for ((scores, changes), statistics) in
                scores.iter_mut().zip(&mut *changes).zip(walk.statistics)
            {
                let largest = Lanes::splat(simd, statistics.largest);
                let inverse = Lanes::splat(simd, statistics.inverse);
                let delta = Lanes::splat(simd, statistics.delta);
                for i in 0..WIDE {
                    let power = Lanes::new(simd, scores[i]) - largest;
                    let weight = power.exp_nonpositive() * inverse;
                    scores[i] = weight.value;
                    changes[i] = (weight * (Lanes::new(simd, changes[i]) - delta)).value;
                }
            }
            let panel = &mut scratch.value_gradients[value_at..][..value_dim * tile];
            let panel = S::as_mut_simd_f32s(panel).0.as_chunks_mut::<WIDE>().0;
            accumulate::<S, ROWS>(simd, cotangents, scores, one, panel);
            let panel = &mut scratch.key_gradients[at..][..dim * tile];
            let panel = S::as_mut_simd_f32s(panel).0.as_chunks_mut::<WIDE>().0;
            accumulate::<S, ROWS>(simd, queries, changes, one, panel);
        }
    }
}
