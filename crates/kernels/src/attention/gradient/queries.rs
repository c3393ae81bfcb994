//! Queries across lanes: the statistics of each query, and its gradient.

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
    /// `[tiles, dim, tile]`: scaled queries; their gradient.
    queries: Vec<f32>,
    gradients: Vec<f32>,
    /// `[tiles, value_dim, tile]`: the gradient of the output.
    cotangents: Vec<f32>,
    /// `[ALONG, tile]`: scores, then their gradients; products of values and the gradient of the output.
    scores: Vec<f32>,
    products: Vec<f32>,
    /// Rows that do not lie side by side as `f32`.
    keys: Vec<f32>,
    values: Vec<f32>,
    row: Vec<f32>,
}

/// Sizes are checked, nothing is empty.
pub(super) fn run<T: Element>(
    problem: Problem<T>,
    statistics: &mut [Statistics],
    gradient: &mut [T],
) {
    let shape = problem.shape;
    let (heads, queries, dim, value_dim) = (shape.heads, shape.queries, shape.dim, shape.value_dim);
    let pairs = shape.batch * heads * queries * shape.keys;
    let blocks: Vec<_> = gradient
        .chunks_mut(queries * dim)
        .zip(statistics.chunks_mut(queries))
        .enumerate()
        .flat_map(|(head, (gradient, statistics))| {
            let blocks = gradient.chunks_mut(ACROSS * dim);
            let blocks = blocks.zip(statistics.chunks_mut(ACROSS)).enumerate();
            blocks.map(move |(block, outputs)| (head, block, outputs))
        })
        .collect();
    let inputs = problem.inputs;
    parallel_for(
        blocks.into_iter(),
        0.04 * (pairs * (dim + value_dim)) as f64,
        || Scratch {
            queries: vec![0.0; ACROSS * dim],
            gradients: vec![0.0; ACROSS * dim],
            cotangents: vec![0.0; ACROSS * value_dim],
            scores: vec![0.0; ACROSS * ALONG],
            products: vec![0.0; ACROSS * ALONG],
            keys: vec![0.0; room(inputs.keys.of_head(0, 0, dim))],
            values: vec![0.0; room(inputs.values.of_head(0, 0, value_dim))],
            row: vec![0.0; dim.max(value_dim)],
        },
        |scratch, (batch_head, block, (gradient, statistics))| {
            let (batch, head) = (batch_head / heads, batch_head % heads);
            let kv_head = head / (heads / shape.kv_heads);
            simd::dispatch(Block {
                first: block * ACROSS,
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

/// The running maximum, sum, and sum of weighted products, of the queries of a tile.
#[derive(Clone, Copy)]
struct Running<S: Simd> {
    largest: [Lanes<S>; WIDE],
    sum: [Lanes<S>; WIDE],
    delta: [Lanes<S>; WIDE],
}

impl<T: Element> Block<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let (tile, count) = (WIDE * S::F32_LANES, self.statistics.len());
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let Scratch {
            queries,
            cotangents,
            row,
            gradients,
            ..
        } = &mut *self.scratch;
        let place = (self.first, count);
        pack(self.queries, place, self.scale, tile, row, queries);
        pack(self.cotangents, place, 1.0, tile, row, cotangents);
        gradients[..count.next_multiple_of(tile) * dim].fill(0.0);
        let reach = self.mask.reach(self.first + count - 1, self.n_keys);
        for index in 0..count.div_ceil(tile) {
            let running = self.learn::<S, ROWS>(simd, index, reach);
            self.keep(running, index);
            for start in (0..reach).step_by(ALONG) {
                let end = (start + ALONG).min(reach);
                if reach > ALONG {
                    self.scores::<S, ROWS>(simd, index, start, end);
                }
                self.differentiate(simd, running, end - start);
                let keys = self.keys.block(start, end - start, &mut self.scratch.keys);
                let panel = &mut self.scratch.gradients[index * dim * tile..][..dim * tile];
                let panel = S::as_mut_simd_f32s(panel).0.as_chunks_mut::<WIDE>().0;
                let scores = S::as_simd_f32s(&self.scratch.scores[..(end - start) * tile]).0;
                let one = [simd.splat_f32s(1.0); WIDE];
                accumulate::<S, ROWS>(simd, keys, scores.as_chunks::<WIDE>().0, one, panel);
            }
        }
        debug_assert!(value_dim > 0);
        let Scratch { gradients, row, .. } = &mut *self.scratch;
        unpack(gradients, |_| self.scale, (tile, dim), row, self.gradient);
    }

    /// Scores under the mask, and products of values and the gradient of the output, for one tile and block of keys.
    #[inline(always)]
    fn scores<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        index: usize,
        start: usize,
        end: usize,
    ) {
        let (tile, count) = (WIDE * S::F32_LANES, end - start);
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let scratch = &mut *self.scratch;
        let keys = self.keys.block(start, count, &mut scratch.keys);
        let queries = S::as_simd_f32s(&scratch.queries[index * dim * tile..][..dim * tile]).0;
        let scores = S::as_mut_simd_f32s(&mut scratch.scores[..count * tile]).0;
        let scores = scores.as_chunks_mut::<WIDE>().0;
        products::<S, ROWS>(simd, keys, queries.as_chunks::<WIDE>().0, scores);
        let values = self.values.block(start, count, &mut scratch.values);
        let size = value_dim * tile;
        let cotangents = S::as_simd_f32s(&scratch.cotangents[index * size..][..size]).0;
        let out = S::as_mut_simd_f32s(&mut scratch.products[..count * tile]).0;
        let out = out.as_chunks_mut::<WIDE>().0;
        products::<S, ROWS>(simd, values, cotangents.as_chunks::<WIDE>().0, out);
        let first = self.first + index * tile;
        if self.mask.touches(first, end - 1) {
            let seen = tile.min(self.statistics.len() - index * tile);
            let scores = scratch.scores.chunks_exact_mut(tile);
            for (key, scores) in (start..end).zip(scores) {
                for (query, score) in scores[..seen].iter_mut().enumerate() {
                    *score = self.mask.apply(first + query, key, *score);
                }
            }
        }
    }

    /// Walks over the keys for the statistics.
    #[inline(always)]
    fn learn<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        index: usize,
        reach: usize,
    ) -> Running<S> {
        let tile = WIDE * S::F32_LANES;
        let zero = Lanes::splat(simd, 0.0);
        // The most negative finite number keeps `score - maximum` from being `-inf + inf`.
        let largest = self.sink.unwrap_or(f32::MIN).max(f32::MIN);
        let has_sink = self.sink.is_some_and(|sink| sink > f32::NEG_INFINITY);
        let share = if has_sink { 1.0 } else { 0.0 };
        let mut running = Running {
            largest: [Lanes::splat(simd, largest); WIDE],
            sum: [Lanes::splat(simd, share); WIDE],
            delta: [zero; WIDE],
        };
        for start in (0..reach).step_by(ALONG) {
            let end = (start + ALONG).min(reach);
            self.scores::<S, ROWS>(simd, index, start, end);
            let size = (end - start) * tile;
            let scores = S::as_simd_f32s(&self.scratch.scores[..size]).0;
            let scores = scores.as_chunks::<WIDE>().0;
            let products = S::as_simd_f32s(&self.scratch.products[..size]).0;
            let products = products.as_chunks::<WIDE>().0;
            for i in 0..WIDE {
                let before = running.largest[i];
                let mut now = before;
                for scores in scores {
                    now = Lanes::new(simd, scores[i]).max(now);
                }
                let (mut sum, mut delta) = (zero, zero);
                for (scores, products) in scores.iter().zip(products) {
                    let power = (Lanes::new(simd, scores[i]) - now).exp_nonpositive();
                    sum = sum + power;
                    delta = power.mul_add(Lanes::new(simd, products[i]), delta);
                }
                let correction = (before - now).exp_nonpositive();
                running.largest[i] = now;
                running.sum[i] = running.sum[i].mul_add(correction, sum);
                running.delta[i] = running.delta[i].mul_add(correction, delta);
            }
        }
        // The sum becomes its inverse, zero where no key is seen.
        for i in 0..WIDE {
            let none = running.sum[i].equal(zero);
            let inverse = Lanes::splat(simd, 1.0) / running.sum[i];
            running.sum[i] = Lanes::select(none, zero, inverse);
            running.delta[i] = running.delta[i] * running.sum[i];
        }
        running
    }

    /// Writes the statistics of a tile.
    #[inline(always)]
    fn keep<S: Simd>(&mut self, running: Running<S>, index: usize) {
        let tile = WIDE * S::F32_LANES;
        let seen = self.statistics.chunks_mut(tile).nth(index);
        for (i, statistics) in seen.into_iter().flatten().enumerate() {
            let (wide, lane) = (i / S::F32_LANES, i % S::F32_LANES);
            let at = |lanes: [Lanes<S>; WIDE]| {
                let register = [lanes[wide].value];
                pulp::bytemuck::cast_slice::<S::f32s, f32>(&register)[lane]
            };
            *statistics = Statistics {
                largest: at(running.largest),
                inverse: at(running.sum),
                delta: at(running.delta),
            };
        }
    }

    /// Turns scores into their gradients.
    #[inline(always)]
    fn differentiate<S: Simd>(&mut self, simd: S, running: Running<S>, count: usize) {
        let size = count * WIDE * S::F32_LANES;
        let scores = S::as_mut_simd_f32s(&mut self.scratch.scores[..size]).0;
        let products = S::as_simd_f32s(&self.scratch.products[..size]).0;
        let rows = scores.as_chunks_mut::<WIDE>().0.iter_mut();
        for (scores, products) in rows.zip(products.as_chunks::<WIDE>().0) {
            for i in 0..WIDE {
                let power = Lanes::new(simd, scores[i]) - running.largest[i];
                let weight = power.exp_nonpositive() * running.sum[i];
                let change = Lanes::new(simd, products[i]) - running.delta[i];
                scores[i] = (weight * change).value;
            }
        }
    }
}
