//! Queries packed across lanes: the statistics of each query, and its gradient.

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
    /// `[tiles, dim, tile]`: scaled queries; their gradient.
    queries: Vec<f32>,
    gradients: Vec<f32>,
    /// `[tiles, value_dim, tile]`: the gradient of the output.
    cotangents: Vec<f32>,
    /// `[STEP, tile]`: scores, then their gradients; products of values and the gradient of the output.
    scores: Vec<f32>,
    products: Vec<f32>,
    /// Rows that are not contiguous `f32`.
    keys: Vec<f32>,
    values: Vec<f32>,
    row: Vec<f32>,
}

/// Sizes are checked, nothing is empty.
pub(super) fn differentiate<T: Element>(
    problem: Problem<T>,
    statistics: &mut [Statistics],
    gradient: &mut [T],
) {
    let shape = problem.shape;
    let (heads, queries, dim, value_dim) = (shape.heads, shape.queries, shape.dim, shape.value_dim);
    let blocks: Vec<_> = gradient
        .chunks_mut(queries * dim)
        .zip(statistics.chunks_mut(queries))
        .enumerate()
        .flat_map(|(head, (gradient, statistics))| {
            let blocks = gradient.chunks_mut(PACKED * dim);
            let blocks = blocks.zip(statistics.chunks_mut(PACKED)).enumerate();
            blocks.map(move |(block, outputs)| (head, block, outputs))
        })
        .collect();
    let inputs = problem.inputs;
    parallel_for(
        blocks.into_iter(),
        0.04 * shape.multiply_adds(),
        || Scratch {
            queries: vec![0.0; PACKED * dim],
            gradients: vec![0.0; PACKED * dim],
            cotangents: vec![0.0; PACKED * value_dim],
            scores: vec![0.0; PACKED * STEP],
            products: vec![0.0; PACKED * STEP],
            keys: vec![0.0; scratch_len(inputs.keys.of_head(0, 0, dim))],
            values: vec![0.0; scratch_len(inputs.values.of_head(0, 0, value_dim))],
            row: vec![0.0; dim.max(value_dim)],
        },
        |scratch, (batch_head, block, (gradient, statistics))| {
            let (batch, head) = (batch_head / heads, batch_head % heads);
            let kv_head = head / (heads / shape.kv_heads);
            dispatch_tiles(Block {
                first: block * PACKED,
                queries: inputs.queries.of_head(batch, head, dim),
                cotangents: problem.cotangent.of_head(batch, head, value_dim),
                keys: inputs.keys.of_head(batch, kv_head, dim),
                values: inputs.values.of_head(batch, kv_head, value_dim),
                n_keys: shape.keys,
                mask: inputs.mask.of_head(shape, batch, head),
                sink: inputs.sinks.map(|sinks| sinks[head]),
                scale: problem.scale,
                scratch,
                gradient,
                statistics,
            });
        },
    );
}

/// One block of queries of one head.
struct Block<'a, T> {
    first: usize,
    queries: HeadRows<'a, T>,
    cotangents: HeadRows<'a, T>,
    keys: HeadRows<'a, T>,
    values: HeadRows<'a, T>,
    n_keys: usize,
    mask: HeadMask<'a, T>,
    sink: Option<f32>,
    scale: f32,
    scratch: &'a mut Scratch,
    gradient: &'a mut [T],
    statistics: &'a mut [Statistics],
}

/// The running maximum, sum, and sum of weighted products of the queries of a tile.
#[derive(Clone, Copy)]
struct Running<S: Simd> {
    max: [Lanes<S>; TILE_REGISTERS],
    sum: [Lanes<S>; TILE_REGISTERS],
    delta: [Lanes<S>; TILE_REGISTERS],
}

impl<T: Element> TileKernel for Block<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let (tile, count) = (TILE_REGISTERS * S::F32_LANES, self.statistics.len());
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let Scratch {
            queries,
            cotangents,
            row,
            gradients,
            ..
        } = &mut *self.scratch;
        let rows = (self.first, count);
        pack(self.queries, rows, self.scale, tile, row, queries);
        pack(self.cotangents, rows, 1.0, tile, row, cotangents);
        gradients[..count.next_multiple_of(tile) * dim].fill(0.0);
        let n_keys = self
            .mask
            .n_visible_keys(self.first + count - 1, self.n_keys);
        for index in 0..count.div_ceil(tile) {
            let running = self.statistics_of_tile::<S, ROWS>(simd, index, n_keys);
            self.store_statistics(running, index);
            for start in (0..n_keys).step_by(STEP) {
                let end = (start + STEP).min(n_keys);
                if n_keys > STEP {
                    self.scores::<S, ROWS>(simd, index, start, end);
                }
                self.score_gradients(simd, running, end - start);
                let keys = self.keys.block(start, end - start, &mut self.scratch.keys);
                let panel = &mut self.scratch.gradients[index * dim * tile..][..dim * tile];
                let panel = as_tile_mut::<S>(panel);
                let scores = as_tile::<S>(&self.scratch.scores[..(end - start) * tile]);
                let one = [simd.splat_f32s(1.0); TILE_REGISTERS];
                axpy_tile::<S, ROWS>(simd, keys, scores, one, panel);
            }
        }
        debug_assert!(value_dim > 0);
        let Scratch { gradients, row, .. } = &mut *self.scratch;
        unpack(gradients, |_| self.scale, (tile, dim), row, self.gradient);
    }
}

impl<T: Element> Block<'_, T> {
    /// Masked scores, and products of values and the gradient of the output, for one tile and block of keys.
    #[inline(always)]
    fn scores<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        index: usize,
        start: usize,
        end: usize,
    ) {
        let (tile, count) = (TILE_REGISTERS * S::F32_LANES, end - start);
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let scratch = &mut *self.scratch;
        let keys = self.keys.block(start, count, &mut scratch.keys);
        let queries = as_tile::<S>(&scratch.queries[index * dim * tile..][..dim * tile]);
        let scores = as_tile_mut::<S>(&mut scratch.scores[..count * tile]);
        gemm_tile::<S, ROWS>(simd, keys, queries, scores);
        let values = self.values.block(start, count, &mut scratch.values);
        let size = value_dim * tile;
        let cotangents = as_tile::<S>(&scratch.cotangents[index * size..][..size]);
        let out = as_tile_mut::<S>(&mut scratch.products[..count * tile]);
        gemm_tile::<S, ROWS>(simd, values, cotangents, out);
        let first = self.first + index * tile;
        if self.mask.masks_any(first, end - 1) {
            let n_queries = tile.min(self.statistics.len() - index * tile);
            let scores = scratch.scores.chunks_exact_mut(tile);
            for (key, scores) in (start..end).zip(scores) {
                for (query, score) in scores[..n_queries].iter_mut().enumerate() {
                    *score = self.mask.apply(first + query, key, *score);
                }
            }
        }
    }

    /// Computes the statistics of a tile by online softmax over the keys.
    #[inline(always)]
    fn statistics_of_tile<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        index: usize,
        n_keys: usize,
    ) -> Running<S> {
        let tile = TILE_REGISTERS * S::F32_LANES;
        let zero = Lanes::splat(simd, 0.0);
        // The most negative finite number keeps `score - maximum` from being `-inf + inf`.
        let max = self.sink.unwrap_or(f32::MIN).max(f32::MIN);
        let has_sink = self.sink.is_some_and(|sink| sink > f32::NEG_INFINITY);
        let sink_exp = if has_sink { 1.0 } else { 0.0 };
        let mut running = Running {
            max: [Lanes::splat(simd, max); TILE_REGISTERS],
            sum: [Lanes::splat(simd, sink_exp); TILE_REGISTERS],
            delta: [zero; TILE_REGISTERS],
        };
        for start in (0..n_keys).step_by(STEP) {
            let end = (start + STEP).min(n_keys);
            self.scores::<S, ROWS>(simd, index, start, end);
            let size = (end - start) * tile;
            let scores = as_tile::<S>(&self.scratch.scores[..size]);
            let products = as_tile::<S>(&self.scratch.products[..size]);
            for i in 0..TILE_REGISTERS {
                let before = running.max[i];
                let mut now = before;
                for scores in scores {
                    now = Lanes::new(simd, scores[i]).max(now);
                }
                let (mut sum, mut delta) = (zero, zero);
                for (scores, products) in scores.iter().zip(products) {
                    let exp = (Lanes::new(simd, scores[i]) - now).exp_nonpositive();
                    sum = sum + exp;
                    delta = exp.mul_add(Lanes::new(simd, products[i]), delta);
                }
                let correction = (before - now).exp_nonpositive();
                running.max[i] = now;
                running.sum[i] = running.sum[i].mul_add(correction, sum);
                running.delta[i] = running.delta[i].mul_add(correction, delta);
            }
        }
        // The sum becomes its inverse, 0 where a query attends to no key.
        for i in 0..TILE_REGISTERS {
            let none = running.sum[i].equal(zero);
            let inverse = Lanes::splat(simd, 1.0) / running.sum[i];
            running.sum[i] = Lanes::select(none, zero, inverse);
            running.delta[i] = running.delta[i] * running.sum[i];
        }
        running
    }

    /// Writes the statistics of a tile.
    #[inline(always)]
    fn store_statistics<S: Simd>(&mut self, running: Running<S>, index: usize) {
        let tile = TILE_REGISTERS * S::F32_LANES;
        let of_tile = self.statistics.chunks_mut(tile).nth(index);
        for (i, statistics) in of_tile.into_iter().flatten().enumerate() {
            let (register, lane) = (i / S::F32_LANES, i % S::F32_LANES);
            let at = |lanes: [Lanes<S>; TILE_REGISTERS]| {
                let lanes = [lanes[register].value];
                pulp::bytemuck::cast_slice::<S::f32s, f32>(&lanes)[lane]
            };
            *statistics = Statistics {
                max: at(running.max),
                inverse: at(running.sum),
                delta: at(running.delta),
            };
        }
    }

    /// Replaces scores by their gradients.
    #[inline(always)]
    fn score_gradients<S: Simd>(&mut self, simd: S, running: Running<S>, count: usize) {
        let size = count * TILE_REGISTERS * S::F32_LANES;
        let scores = as_tile_mut::<S>(&mut self.scratch.scores[..size]);
        let products = as_tile::<S>(&self.scratch.products[..size]);
        for (scores, products) in scores.iter_mut().zip(products) {
            for i in 0..TILE_REGISTERS {
                let exp = Lanes::new(simd, scores[i]) - running.max[i];
                let weight = exp.exp_nonpositive() * running.sum[i];
                let change = Lanes::new(simd, products[i]) - running.delta[i];
                scores[i] = (weight * change).value;
            }
        }
    }
}
