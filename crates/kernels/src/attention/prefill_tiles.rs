//! Attention of many queries in `bf16` by the processor's matrix tiles (AMX): blocks as in `prefill.rs`, scores as
//! `[queries, keys]`.
//!
//! Scores are products of the `bf16` that are given, scaled after. Their exponentials are split into two `bf16`, together
//! 16 bits of each, which are both multiplied with the values: the error is that of `f32` and `2^-16` of the largest value.
//! Keys and values are packed in pairs once for all the blocks of queries that a task has, if there is room for them.
//! Limit: the exponentials. Memory: about 150 KiB per thread, and up to 1 MiB of pairs.
//!
//! Tiles take denormal numbers for zero. Denormal inputs, and values below `2^-60` that are not zero, are left to
//! `prefill.rs`; exponentials below `2^-60` that are not zero are taken for `2^-60`.

use std::sync::atomic::{AtomicBool, Ordering};

use half::bf16;
use pulp::bytemuck::cast_slice_mut;
use pulp::{Simd, WithSimd};

use super::mask::HeadMask;
use super::prefill::{KEYS, QUERIES};
use super::strided::HeadRows;
use super::{AttentionInputs, AttentionShape};
use crate::element::Element;
use crate::element::private::Storage;
use crate::gemm::pairs::{RightPairs, n_pairs};
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd;
use crate::simd::amx::{self, SIDE, STEP, STRIP, Steps, TileProduct, Tiles};
use crate::simd::lanes::Lanes;
use crate::simd::magnitudes::Least;

/// The distance of rows of scores, and of their exponentials: not a power of two.
const SCORES: usize = KEYS + SIDE;
const EXPS: usize = KEYS + STEP;
/// The most pairs of keys and of values that blocks of queries share: 1 MiB, half of an L2 cache.
const MAX_SHARED: usize = 1 << 18;
/// The least exponential that is not zero, and the least exponent of values.
const LEAST: f32 = 1.0 / (1_u64 << 60) as f32;
const LEAST_EXPONENT: i32 = -60;

/// Computes attention and returns true; or false if there are no tiles, or if they might compute something else than `f32`
/// arithmetic does, and then `out` is unspecified. Lengths are checked; there are queries and keys.
pub(super) fn prefill<T: Element>(
    shape: AttentionShape,
    inputs: AttentionInputs<'_, T>,
    scale: f32,
    out: &mut [T],
) -> bool {
    match (inputs.as_bf16(), T::as_bf16_mut(out)) {
        (Some(inputs), Some(out)) => amx::is_available() && run(shape, inputs, scale, out),
        _ => false,
    }
}

fn run(
    shape: AttentionShape,
    inputs: AttentionInputs<'_, bf16>,
    scale: f32,
    out: &mut [bf16],
) -> bool {
    let (heads, queries) = (shape.heads, shape.queries);
    let (dim, value_dim) = (shape.dim, shape.value_dim);
    if dim == 0 || dim > Steps::MOST * STEP {
        return false;
    }
    let key_blocks = shape.keys.div_ceil(KEYS);
    let is_shared = key_blocks * Buffers::pairs(dim, value_dim) <= MAX_SHARED;
    let sizes = Buffers::sizes(dim, value_dim, if is_shared { key_blocks } else { 1 });
    // As many tasks as keep all threads at work.
    let blocks = queries.div_ceil(QUERIES);
    let per_task = if is_shared {
        let wanted = 4 * threads();
        (out.len() / (queries * value_dim) * blocks / wanted).clamp(1, blocks)
    } else {
        1
    };
    let tasks: Vec<(usize, usize, &mut [bf16])> = out
        .chunks_mut(queries * value_dim)
        .enumerate()
        .flat_map(|(head, out)| {
            let tasks = out.chunks_mut(per_task * QUERIES * value_dim).enumerate();
            tasks.map(move |(task, out)| (head, task * per_task * QUERIES, out))
        })
        .collect();
    let is_exact = AtomicBool::new(true);
    parallel_for(
        tasks.into_iter(),
        0.01 * shape.multiply_adds(),
        || Scratch::new(sizes.iter().sum()),
        |scratch, (batch_head, first, out)| {
            if !is_exact.load(Ordering::Relaxed) {
                return;
            }
            let (batch, head) = (batch_head / heads, batch_head % heads);
            let kv_head = head / (heads / shape.kv_heads);
            let done = simd::dispatch_beside_tiles(QueryBlocks {
                first,
                count: 0,
                queries: inputs.queries.of_head(batch, head, dim),
                keys: inputs.keys.of_head(batch, kv_head, dim),
                values: inputs.values.of_head(batch, kv_head, value_dim),
                n_keys: shape.keys,
                mask: inputs.mask.of_head(shape, batch, head),
                sink: inputs.sinks.map(|sinks| sinks[head]),
                scale,
                buffers: Buffers::of(scratch.as_mut_slice(), sizes),
                is_shared,
                packed_end: 0,
                max: [0.0; QUERIES],
                sums: [0.0; QUERIES],
                out,
            });
            if done != Some(true) {
                is_exact.store(false, Ordering::Relaxed);
            }
        },
    );
    is_exact.into_inner()
}

/// Scratch memory of a thread; rows are followed by zeros to the end of a step.
struct Buffers<'a> {
    /// `[QUERIES, dim]`, and the distance of its rows.
    queries: &'a mut [bf16],
    dim_stride: usize,
    /// Pairs of the keys and of the values of a block, or of all blocks.
    key_pairs: &'a mut [u32],
    value_pairs: &'a mut [u32],
    /// `[QUERIES, KEYS]`.
    scores: &'a mut [f32],
    /// The exponentials in two parts, `[2, QUERIES, KEYS]`.
    exps: &'a mut [bf16],
    /// `[QUERIES, value_dim]`: the running output, and the distance of its rows.
    outputs: &'a mut [f32],
    value_stride: usize,
}

impl<'a> Buffers<'a> {
    /// The pairs of keys and values of a block.
    fn pairs(dim: usize, value_dim: usize) -> usize {
        KEYS / 2 * (dim.next_multiple_of(STEP) + value_dim.next_multiple_of(STRIP))
    }

    /// The lengths of all of them in numbers of 4 bytes, with pairs of `blocks` blocks of keys.
    fn sizes(dim: usize, value_dim: usize, blocks: usize) -> [usize; 6] {
        let (dim, value_dim) = (
            dim.next_multiple_of(STEP),
            value_dim.next_multiple_of(STRIP),
        );
        [
            QUERIES * (dim + STEP) / 2,
            blocks * KEYS / 2 * dim,
            blocks * KEYS / 2 * value_dim,
            QUERIES * SCORES,
            QUERIES * EXPS,
            QUERIES * (value_dim + SIDE),
        ]
    }

    fn of(memory: &'a mut [f32], sizes: [usize; 6]) -> Self {
        let (queries, memory) = memory.split_at_mut(sizes[0]);
        let (key_pairs, memory) = memory.split_at_mut(sizes[1]);
        let (value_pairs, memory) = memory.split_at_mut(sizes[2]);
        let (scores, memory) = memory.split_at_mut(sizes[3]);
        let (exps, outputs) = memory.split_at_mut(sizes[4]);
        Self {
            queries: cast_slice_mut(queries),
            dim_stride: 2 * sizes[0] / QUERIES,
            key_pairs: cast_slice_mut(key_pairs),
            value_pairs: cast_slice_mut(value_pairs),
            scores,
            exps: cast_slice_mut(exps),
            value_stride: outputs.len() / QUERIES,
            outputs,
        }
    }
}

/// Neighbouring blocks of queries of one head.
struct QueryBlocks<'a, 'b> {
    /// The first query of the block at hand, and how many it has.
    first: usize,
    count: usize,
    queries: HeadRows<'a, bf16>,
    keys: HeadRows<'a, bf16>,
    values: HeadRows<'a, bf16>,
    n_keys: usize,
    mask: HeadMask<'a, bf16>,
    sink: Option<f32>,
    scale: f32,
    buffers: Buffers<'b>,
    /// Whether there is room for the pairs of all keys.
    is_shared: bool,
    /// Where the keys end that are packed.
    packed_end: usize,
    /// The running maximum and sum of each query of the block.
    max: [f32; QUERIES],
    sums: [f32; QUERIES],
    /// Of all blocks.
    out: &'b mut [bf16],
}

impl WithSimd for QueryBlocks<'_, '_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> bool {
        let Some(tiles) = Tiles::configure() else {
            return false;
        };
        let dim = self.values.dim();
        let out = std::mem::take(&mut self.out);
        if self.is_shared {
            let last = self.first + out.len() / dim - 1;
            let n_keys = self.mask.n_visible_keys(last, self.n_keys);
            for start in (0..n_keys).step_by(KEYS) {
                if !self.pack(simd, (start, KEYS.min(n_keys - start))) {
                    return false;
                }
            }
        }
        for out in out.chunks_mut(QUERIES * dim) {
            self.count = out.len() / dim;
            if !self.block(simd, &tiles, out) {
                return false;
            }
            self.first += self.count;
        }
        true
    }
}

impl QueryBlocks<'_, '_> {
    /// Computes a block; false if there are numbers that tiles are not for.
    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, tiles: &Tiles, out: &mut [bf16]) -> bool {
        if !self.copy_queries::<S>() {
            return false;
        }
        // The most negative finite number keeps `score - maximum` from being `-inf + inf`.
        self.max = [self.sink.unwrap_or(f32::MIN).max(f32::MIN); QUERIES];
        let adds_sink = self.sink.is_some_and(|sink| sink > f32::NEG_INFINITY);
        self.sums = [f32::from(u8::from(adds_sink)); QUERIES];
        self.buffers.outputs.fill(0.0);
        let last = self.first + self.count - 1;
        let n_keys = self.mask.n_visible_keys(last, self.n_keys);
        for start in (0..n_keys).step_by(KEYS) {
            let keys = (start, KEYS.min(n_keys - start));
            if !self.is_shared && !self.pack(simd, keys) {
                return false;
            }
            self.scores(tiles, keys);
            self.softmax_step(simd, keys);
            self.add_values(tiles, keys);
        }
        self.finish(out);
        true
    }

    /// Where the pairs of the block that begins with a key are.
    #[inline(always)]
    fn pairs_at(&self, start: usize) -> (usize, usize) {
        if self.is_shared {
            let (dim, value_dim) = (self.keys.dim(), self.values.dim());
            let half = start / 2;
            (
                half * dim.next_multiple_of(STEP),
                half * value_dim.next_multiple_of(STRIP),
            )
        } else {
            (0, 0)
        }
    }

    /// Packs keys and values in pairs; false if there are denormal keys, or values that are too small.
    #[inline(always)]
    fn pack<S: Simd>(&mut self, simd: S, (start, n_keys): (usize, usize)) -> bool {
        self.packed_end = start + n_keys;
        let (dim, value_dim) = (self.keys.dim(), self.values.dim());
        let at = self.pairs_at(start);
        let len = n_keys.div_ceil(STRIP) * n_pairs(dim) * STRIP;
        let pairs = &mut self.buffers.key_pairs[at.0..][..len];
        let keys = self.keys.as_matrix().transposed();
        let of_keys = keys.pack_pairs(simd, (0, dim), (start, n_keys), pairs);
        let len = value_dim.div_ceil(STRIP) * n_pairs(n_keys) * STRIP;
        let pairs = &mut self.buffers.value_pairs[at.1..][..len];
        let values = self.values.as_matrix();
        let of_values = values.pack_pairs(simd, (start, n_keys), (0, value_dim), pairs);
        of_keys.are_at_least(f32::MIN_EXP - 1) && of_values.are_at_least(LEAST_EXPONENT)
    }

    /// False if there are denormal numbers.
    #[inline(always)]
    fn copy_queries<S: Simd>(&mut self) -> bool {
        let dim = self.queries.dim();
        let mut least = Least::NONE;
        let rows = self
            .buffers
            .queries
            .chunks_exact_mut(self.buffers.dim_stride);
        for (i, row) in rows.take(self.count).enumerate() {
            let (row, rest) = row.split_at_mut(dim);
            least.copy::<S>(self.queries.row(self.first + i), row);
            rest.fill(bf16::ZERO);
        }
        least.magnitudes::<S>().are_at_least(f32::MIN_EXP - 1)
    }

    /// `scores[query, key] = sum over d of queries[query, d] * keys[key, d]`.
    #[inline(always)]
    fn scores(&mut self, tiles: &Tiles, (start, n_keys): (usize, usize)) {
        let dim = self.keys.dim();
        let len = n_pairs(dim) * STRIP;
        let steps = Steps::adjacent(dim.div_ceil(STEP));
        let pairs = &self.buffers.key_pairs[self.pairs_at(start).0..];
        let strips = pairs.chunks_exact(len).take(n_keys.div_ceil(STRIP));
        for (strip, right) in strips.enumerate() {
            for row in (0..self.count).step_by(STRIP) {
                tiles.multiply::<2, 2>(TileProduct {
                    left: &self.buffers.queries[row * self.buffers.dim_stride..],
                    left_stride: self.buffers.dim_stride,
                    steps,
                    right,
                    sums: &mut self.buffers.scores[row * SCORES + strip * STRIP..],
                    sums_stride: SCORES,
                    adds: false,
                });
            }
        }
    }

    /// One step of the online softmax: masks scores, writes their exponentials relative to the new maximum, and multiplies
    /// earlier sums and outputs by what the maximum has changed.
    #[inline(always)]
    fn softmax_step<S: Simd>(&mut self, simd: S, (start, n_keys): (usize, usize)) {
        let width = n_keys.next_multiple_of(STRIP);
        let scale = Lanes::splat(simd, self.scale);
        let (high, low) = self.buffers.exps.split_at_mut(QUERIES * EXPS);
        let exps = high.chunks_exact_mut(EXPS).zip(low.chunks_exact_mut(EXPS));
        let rows = self.buffers.scores.chunks_exact_mut(SCORES).zip(exps);
        for (i, (scores, (high, low))) in rows.take(self.count).enumerate() {
            let query = self.first + i;
            let scores = &mut scores[..width];
            let before = self.max[i];
            let mut max = Lanes::splat(simd, before);
            for score in S::as_mut_simd_f32s(scores).0 {
                let scaled = Lanes::new(simd, *score) * scale;
                *score = scaled.value;
                max = scaled.max(max);
            }
            let is_masked = self.mask.masks_any(query, start + n_keys - 1);
            if is_masked || n_keys < width {
                scores[n_keys..].fill(f32::NEG_INFINITY);
                if is_masked {
                    self.mask.apply_row(query, start, &mut scores[..n_keys]);
                }
                max = Lanes::splat(simd, before);
                for score in S::as_simd_f32s(scores).0 {
                    max = Lanes::new(simd, *score).max(max);
                }
            }
            let max = simd.reduce_max_f32s(max.value);
            let all = Lanes::splat(simd, max);
            let mut sum = Lanes::splat(simd, 0.0);
            let (high, low) = (high.as_chunks_mut().0, low.as_chunks_mut().0);
            let scores = scores.as_chunks::<STEP>().0;
            for (scores, (high, low)) in scores.iter().zip(high.iter_mut().zip(low)) {
                let mut exps = [0.0; STEP];
                let targets = S::as_mut_simd_f32s(&mut exps).0;
                for (score, target) in S::as_simd_f32s(scores).0.iter().zip(targets) {
                    let exp = (Lanes::new(simd, *score) - all).exp_nonpositive();
                    sum = sum + exp;
                    *target = exp.value;
                }
                split(&exps, high, low);
            }
            let mut correction = 1.0;
            if max != before {
                correction = (Lanes::splat(simd, before) - all).exp_nonpositive().first();
                let stride = self.buffers.value_stride;
                let outputs = &mut self.buffers.outputs[i * stride..][..stride];
                for output in outputs {
                    *output *= correction;
                }
            }
            self.max[i] = max;
            self.sums[i] = self.sums[i].mul_add(correction, sum.sum());
        }
    }

    /// `outputs[query, d] += sum over keys of exps[query, key] * values[key, d]`.
    #[inline(always)]
    fn add_values(&mut self, tiles: &Tiles, (start, n_keys): (usize, usize)) {
        let (dim, stride) = (self.values.dim(), self.buffers.value_stride);
        // More keys than the block of queries sees may be packed.
        let len = n_pairs(KEYS.min(self.packed_end - start)) * STRIP;
        let steps = Steps::adjacent(n_keys.div_ceil(STEP));
        let pairs = &self.buffers.value_pairs[self.pairs_at(start).1..];
        let strips = pairs.chunks_exact(len).take(dim.div_ceil(STRIP));
        for (strip, right) in strips.enumerate() {
            for part in self.buffers.exps.chunks_exact(QUERIES * EXPS) {
                for row in (0..self.count).step_by(STRIP) {
                    tiles.multiply::<2, 2>(TileProduct {
                        left: &part[row * EXPS..],
                        left_stride: EXPS,
                        steps,
                        right,
                        sums: &mut self.buffers.outputs[row * stride + strip * STRIP..],
                        sums_stride: stride,
                        adds: true,
                    });
                }
            }
        }
    }

    /// Divides by the sums.
    #[inline(always)]
    fn finish(&mut self, out: &mut [bf16]) {
        let dim = self.values.dim();
        let rows = self.buffers.outputs.chunks_mut(self.buffers.value_stride);
        for (i, (row, out)) in rows.zip(out.chunks_exact_mut(dim)).enumerate() {
            let sum = self.sums[i];
            let factor = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            let row = &mut row[..dim];
            for number in &mut *row {
                *number *= factor;
            }
            bf16::store(row, out);
        }
    }
}

/// Splits exponentials into two `bf16` whose sum they nearly are.
///
/// Neither part of what is not zero is below [`LEAST`], so that an infinite value remains one.
#[inline(always)]
fn split(exps: &[f32; STEP], high: &mut [bf16; STEP], low: &mut [bf16; STEP]) {
    for ((exp, high), low) in exps.iter().zip(high).zip(low) {
        let is_small = *exp > 0.0 && *exp < LEAST;
        let exp = if is_small { LEAST } else { *exp };
        let bits = exp.to_bits();
        let rest = exp - f32::from_bits(bits & 0xffff_0000);
        let rest = if rest > LEAST { rest } else { LEAST };
        let rest = if exp == 0.0 { 0.0 } else { rest };
        *high = bf16::from_bits((bits >> 16) as u16);
        *low = bf16::from_bits(((rest.to_bits() + 0x8000) >> 16) as u16);
    }
}
