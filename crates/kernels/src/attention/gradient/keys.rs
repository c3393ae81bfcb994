//! Keys packed across lanes: the gradients of keys and values, over the queries of all heads that share them.

use pulp::Simd;

use super::{PACKED, Problem, STEP, Statistics, scratch_len};
use crate::attention::mask::HeadMask;
use crate::attention::packed_tile::{TileKernel, dispatch_tiles, pack, unpack};
use crate::attention::strided::HeadRows;
use crate::element::Element;
use crate::gemm::microkernel::{TILE_REGISTERS, as_tile, as_tile_mut, axpy_tile, gemm_tile};
use crate::parallel::parallel_for;
use crate::simd::lanes::Lanes;

/// Buffers of one thread.
struct Scratch {
    /// `[tiles, dim, tile]`: scaled keys; their gradient.
    keys: Vec<f32>,
    key_gradients: Vec<f32>,
    /// `[tiles, value_dim, tile]`: values; their gradient.
    values: Vec<f32>,
    value_gradients: Vec<f32>,
    /// `[STEP, tile]`: scores, then weights; products of values and the gradient of the output, then gradients of scores.
    scores: Vec<f32>,
    products: Vec<f32>,
    /// Rows that are not contiguous `f32`.
    queries: Vec<f32>,
    cotangents: Vec<f32>,
    row: Vec<f32>,
}

/// Sizes are checked, nothing is empty.
pub(super) fn differentiate<T: Element>(
    problem: Problem<T>,
    statistics: &[Statistics],
    key_gradient: &mut [T],
    value_gradient: &mut [T],
) {
    let shape = problem.shape;
    let (keys, dim, value_dim) = (shape.keys, shape.dim, shape.value_dim);
    let (kv_heads, group) = (shape.kv_heads, shape.heads / shape.kv_heads);
    let blocks: Vec<_> = key_gradient
        .chunks_mut(keys * dim)
        .zip(value_gradient.chunks_mut(keys * value_dim))
        .enumerate()
        .flat_map(|(head, (key_gradient, value_gradient))| {
            let blocks = key_gradient.chunks_mut(PACKED * dim);
            let blocks = blocks.zip(value_gradient.chunks_mut(PACKED * value_dim));
            blocks
                .enumerate()
                .map(move |(block, outputs)| (head, block, outputs))
        })
        .collect();
    let inputs = problem.inputs;
    parallel_for(
        blocks.into_iter(),
        0.04 * shape.multiply_adds(),
        || Scratch {
            keys: vec![0.0; PACKED * dim],
            key_gradients: vec![0.0; PACKED * dim],
            values: vec![0.0; PACKED * value_dim],
            value_gradients: vec![0.0; PACKED * value_dim],
            scores: vec![0.0; PACKED * STEP],
            products: vec![0.0; PACKED * STEP],
            queries: vec![0.0; scratch_len(inputs.queries.of_head(0, 0, dim))],
            cotangents: vec![0.0; scratch_len(problem.cotangent.of_head(0, 0, value_dim))],
            row: vec![0.0; dim.max(value_dim)],
        },
        |scratch, (batch_head, block, (key_gradient, value_gradient))| {
            let (batch, kv_head) = (batch_head / kv_heads, batch_head % kv_heads);
            dispatch_tiles(Block {
                problem,
                statistics,
                heads: (batch, kv_head * group, group),
                first: block * PACKED,
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

/// The queries of one head of one step.
struct QueryStep<'a, T> {
    start: usize,
    queries: HeadRows<'a, T>,
    cotangents: HeadRows<'a, T>,
    mask: HeadMask<'a, T>,
    statistics: &'a [Statistics],
}

impl<T: Element> TileKernel for Block<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let Problem {
            shape,
            inputs,
            cotangent,
            scale,
        } = self.problem;
        let (tile, count) = (TILE_REGISTERS * S::F32_LANES, self.count);
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
            for start in (first..shape.queries).step_by(STEP) {
                let count = STEP.min(shape.queries - start);
                let step = QueryStep {
                    start,
                    queries: inputs.queries.of_head(batch, head, shape.dim),
                    cotangents: cotangent.of_head(batch, head, shape.value_dim),
                    mask,
                    statistics: &self.statistics[at + start..][..count],
                };
                self.add_step::<S, ROWS>(simd, step);
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
}

impl<T: Element> Block<'_, T> {
    /// Adds the contributions of the queries of a step.
    #[inline(always)]
    fn add_step<S: Simd, const ROWS: usize>(&mut self, simd: S, step: QueryStep<T>) {
        let (tile, count) = (TILE_REGISTERS * S::F32_LANES, step.statistics.len());
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let one = [simd.splat_f32s(1.0); TILE_REGISTERS];
        let scratch = &mut *self.scratch;
        let queries = step.queries.block(step.start, count, &mut scratch.queries);
        let cotangents = step
            .cotangents
            .block(step.start, count, &mut scratch.cotangents);
        for index in 0..self.count.div_ceil(tile) {
            let (at, value_at) = (index * dim * tile, index * value_dim * tile);
            let keys = as_tile::<S>(&scratch.keys[at..][..dim * tile]);
            let scores = as_tile_mut::<S>(&mut scratch.scores[..count * tile]);
            gemm_tile::<S, ROWS>(simd, queries, keys, scores);
            let values = as_tile::<S>(&scratch.values[value_at..][..value_dim * tile]);
            let score_gradients = as_tile_mut::<S>(&mut scratch.products[..count * tile]);
            gemm_tile::<S, ROWS>(simd, cotangents, values, score_gradients);
            let first = self.first + index * tile;
            let n_keys = tile.min(self.count - index * tile);
            if step.mask.masks_any(step.start, first + n_keys - 1) {
                let scores = scratch.scores[..count * tile].chunks_exact_mut(tile);
                for (query, scores) in (step.start..).zip(scores) {
                    for (key, score) in (first..).zip(&mut scores[..n_keys]) {
                        *score = step.mask.apply(query, key, *score);
                    }
                }
            }
            let scores = as_tile_mut::<S>(&mut scratch.scores[..count * tile]);
            for ((scores, score_gradients), statistics) in scores
                .iter_mut()
                .zip(&mut *score_gradients)
                .zip(step.statistics)
            {
                let max = Lanes::splat(simd, statistics.max);
                let inverse = Lanes::splat(simd, statistics.inverse);
                let delta = Lanes::splat(simd, statistics.delta);
                for i in 0..TILE_REGISTERS {
                    let exp = Lanes::new(simd, scores[i]) - max;
                    let weight = exp.exp_nonpositive() * inverse;
                    scores[i] = weight.value;
                    score_gradients[i] =
                        (weight * (Lanes::new(simd, score_gradients[i]) - delta)).value;
                }
            }
            let panel = &mut scratch.value_gradients[value_at..][..value_dim * tile];
            let panel = as_tile_mut::<S>(panel);
            axpy_tile::<S, ROWS>(simd, cotangents, scores, one, panel);
            let panel = &mut scratch.key_gradients[at..][..dim * tile];
            let panel = as_tile_mut::<S>(panel);
            axpy_tile::<S, ROWS>(simd, queries, score_gradients, one, panel);
        }
    }
}
