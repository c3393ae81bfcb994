//! Attention of many queries (prefill): a block of queries is packed across the lanes of registers, keys are read in blocks.
//!
//! Scores are transposed, `[keys, queries]`, so that the maximum and the sum over keys never cross lanes, and both products
//! read keys and values as they are stored, broadcasting one number to a register of queries.

use pulp::Simd;

use super::head_rows::{Heads, RowBlocks};
use super::mask::HeadMask;
use super::packed_tile::{TileKernel, dispatch_tiles, pack, unpack};
use super::strided::HeadRows;
use super::{AttentionInputs, AttentionShape};
use crate::element::Element;
use crate::gemm::microkernel::{TILE_REGISTERS, as_tile, as_tile_mut, axpy_tile, gemm_tile};
use crate::parallel::parallel_for;
use crate::simd::lanes::Lanes;

/// Queries of a task.
pub(super) const QUERIES: usize = 64;
/// Keys between two rescalings of the running output.
pub(super) const KEYS: usize = 128;

/// Buffers of one thread.
struct Scratch {
    /// `[tiles, dim, tile]`: the scaled queries, transposed.
    queries: Vec<f32>,
    /// `[KEYS, tile]`: scores, then their exponentials.
    scores: Vec<f32>,
    /// `[tiles, value_dim, tile]`: the running output, transposed.
    outputs: Vec<f32>,
    /// `[KEYS, dim]` and `[KEYS, value_dim]`: rows that are not contiguous `f32`; empty if all are.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// A row of queries or of the output.
    row: Vec<f32>,
    /// `[QUERIES]` each: the running maximum and sum.
    max: [f32; QUERIES],
    sums: [f32; QUERIES],
}

/// Lengths are checked; there are queries and keys.
pub(super) fn prefill<'a, T: Element, K: Heads<'a>>(
    shape: AttentionShape,
    inputs: AttentionInputs<'a, T, K>,
    scale: f32,
    out: &mut [T],
) {
    let (heads, queries, keys) = (shape.heads, shape.queries, shape.keys);
    let (kv_heads, dim, value_dim) = (shape.kv_heads, shape.dim, shape.value_dim);
    let per_head = queries.div_ceil(QUERIES);
    let nanoseconds = 0.02 * shape.multiply_adds();
    let blocks: Vec<(usize, usize, &mut [T])> = out
        .chunks_mut(queries * value_dim)
        .enumerate()
        .flat_map(|(head, out)| {
            let blocks = out.chunks_mut(QUERIES * value_dim).enumerate();
            blocks.map(move |(block, out)| (head, block, out))
        })
        .collect();
    debug_assert_eq!(blocks.len(), shape.batch * heads * per_head);
    parallel_for(
        blocks.into_iter(),
        nanoseconds,
        || Scratch {
            queries: vec![0.0; QUERIES * dim],
            scores: vec![0.0; QUERIES * KEYS],
            outputs: vec![0.0; QUERIES * value_dim],
            keys: vec![0.0; scratch_len(inputs.keys.of_head(0, 0, dim), dim)],
            values: vec![0.0; scratch_len(inputs.values.of_head(0, 0, value_dim), value_dim)],
            row: vec![0.0; dim.max(value_dim)],
            max: [0.0; QUERIES],
            sums: [0.0; QUERIES],
        },
        |scratch, (batch_head, block, out)| {
            let (batch, head) = (batch_head / heads, batch_head % heads);
            let kv_head = head / (heads / kv_heads);
            dispatch_tiles(QueryBlock {
                first: block * QUERIES,
                count: out.len() / value_dim,
                queries: inputs.queries.of_head(batch, head, dim),
                keys: inputs.keys.of_head(batch, kv_head, dim),
                values: inputs.values.of_head(batch, kv_head, value_dim),
                n_keys: keys,
                dim,
                value_dim,
                mask: inputs.mask.of_head(shape, batch, head),
                sink: inputs.sinks.map(|sinks| sinks[head]),
                scale,
                scratch,
                out,
            });
        },
    );
}

/// How many numbers of scratch a block of rows needs.
fn scratch_len(rows: impl RowBlocks, dim: usize) -> usize {
    if rows.is_direct() { 0 } else { KEYS * dim }
}

/// One block of queries of one head.
struct QueryBlock<'a, T, R> {
    first: usize,
    count: usize,
    queries: HeadRows<'a, T>,
    keys: R,
    values: R,
    n_keys: usize,
    dim: usize,
    value_dim: usize,
    mask: HeadMask<'a, T>,
    sink: Option<f32>,
    scale: f32,
    scratch: &'a mut Scratch,
    out: &'a mut [T],
}

impl<T: Element, R: RowBlocks> TileKernel for QueryBlock<'_, T, R> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(mut self, simd: S) {
        let tile = TILE_REGISTERS * S::F32_LANES;
        let tiles = self.count.div_ceil(tile);
        self.init(tile);
        let n_keys = self
            .mask
            .n_visible_keys(self.first + self.count - 1, self.n_keys);
        let mut key_scratch = std::mem::take(&mut self.scratch.keys);
        let mut value_scratch = std::mem::take(&mut self.scratch.values);
        let (key_rows, value_rows) = (self.keys, self.values);
        for start in (0..n_keys).step_by(KEYS) {
            let end = (start + KEYS).min(n_keys);
            let keys = key_rows.block(start, end - start, &mut key_scratch);
            let values = value_rows.block(start, end - start, &mut value_scratch);
            for index in 0..tiles {
                self.scores::<S, ROWS>(simd, index, keys);
                let first = self.first + index * tile;
                if self.mask.masks_any(first, end - 1) {
                    self.apply_mask(tile, index, start, end);
                }
                let corrections = self.softmax_step(simd, index, end - start);
                self.accumulate_values::<S, ROWS>(simd, index, values, corrections);
            }
        }
        self.scratch.keys = key_scratch;
        self.scratch.values = value_scratch;
        self.finish(tile);
    }
}

impl<T: Element, R: RowBlocks> QueryBlock<'_, T, R> {
    /// Transposes and scales the queries, and starts the running maximum and sum.
    #[inline(always)]
    fn init(&mut self, tile: usize) {
        let Scratch { queries, row, .. } = &mut *self.scratch;
        let rows = (self.first, self.count);
        pack(self.queries, rows, self.scale, tile, row, queries);
        self.scratch.outputs.fill(0.0);
        // The most negative finite number keeps `score - maximum` from being `-inf + inf`.
        self.scratch.max = [self.sink.unwrap_or(f32::MIN).max(f32::MIN); QUERIES];
        let sink_exp = f32::from(u8::from(
            self.sink.is_some_and(|sink| sink > f32::NEG_INFINITY),
        ));
        self.scratch.sums = [sink_exp; QUERIES];
    }

    /// `scores[key, query] = sum over d of keys[key, d] * queries[d, query]`.
    #[inline(always)]
    fn scores<S: Simd, const ROWS: usize>(&mut self, simd: S, index: usize, keys: &[f32]) {
        let (dim, tile) = (self.dim, TILE_REGISTERS * S::F32_LANES);
        let queries = &self.scratch.queries[index * dim * tile..][..dim * tile];
        let queries = as_tile::<S>(queries);
        let scores = &mut self.scratch.scores[..keys.len() / dim * tile];
        let scores = as_tile_mut::<S>(scores);
        gemm_tile::<S, ROWS>(simd, keys, queries, scores);
    }

    /// Masks a block of scores.
    #[inline(always)]
    fn apply_mask(&mut self, tile: usize, index: usize, start: usize, end: usize) {
        let first = self.first + index * tile;
        let count = tile.min(self.count - index * tile);
        let scores = &mut self.scratch.scores[..(end - start) * tile];
        for (key, scores) in (start..end).zip(scores.chunks_exact_mut(tile)) {
            for (query, score) in scores[..count].iter_mut().enumerate() {
                *score = self.mask.apply(first + query, key, *score);
            }
        }
    }

    /// One step of the online softmax: replaces scores by their exponentials relative to the new maximum, and returns what
    /// earlier sums and outputs are to be multiplied by.
    #[inline(always)]
    fn softmax_step<S: Simd>(
        &mut self,
        simd: S,
        index: usize,
        count: usize,
    ) -> [S::f32s; TILE_REGISTERS] {
        let tile = TILE_REGISTERS * S::F32_LANES;
        let at = index * tile..(index + 1) * tile;
        let scores = as_tile_mut::<S>(&mut self.scratch.scores[..count * tile]);
        let max = S::as_mut_simd_f32s(&mut self.scratch.max[at.clone()]).0;
        let sums = S::as_mut_simd_f32s(&mut self.scratch.sums[at]).0;
        // Loops and no `from_fn` around vectors: its closure may be compiled without the instruction set.
        let mut before = [Lanes::splat(simd, 0.0); TILE_REGISTERS];
        for i in 0..TILE_REGISTERS {
            before[i] = Lanes::new(simd, max[i]);
        }
        let mut now = before;
        for scores in scores.iter() {
            for i in 0..TILE_REGISTERS {
                now[i] = Lanes::new(simd, scores[i]).max(now[i]);
            }
        }
        let mut sum = [Lanes::splat(simd, 0.0); TILE_REGISTERS];
        for scores in scores.iter_mut() {
            for i in 0..TILE_REGISTERS {
                let exp = (Lanes::new(simd, scores[i]) - now[i]).exp_nonpositive();
                sum[i] = sum[i] + exp;
                scores[i] = exp.value;
            }
        }
        let mut corrections = [simd.splat_f32s(0.0); TILE_REGISTERS];
        for i in 0..TILE_REGISTERS {
            let correction = (before[i] - now[i]).exp_nonpositive();
            max[i] = now[i].value;
            sums[i] = Lanes::new(simd, sums[i]).mul_add(correction, sum[i]).value;
            corrections[i] = correction.value;
        }
        corrections
    }

    /// `outputs[d, query] = outputs[d, query] * correction + sum over keys of values[key, d] * exps[key, query]`.
    #[inline(always)]
    fn accumulate_values<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        index: usize,
        values: &[f32],
        corrections: [S::f32s; TILE_REGISTERS],
    ) {
        let (dim, tile) = (self.value_dim, TILE_REGISTERS * S::F32_LANES);
        let exps = &self.scratch.scores[..values.len() / dim * tile];
        let exps = as_tile::<S>(exps);
        let outputs = &mut self.scratch.outputs[index * dim * tile..][..dim * tile];
        let outputs = as_tile_mut::<S>(outputs);
        axpy_tile::<S, ROWS>(simd, values, exps, corrections, outputs);
    }

    /// Divides by the sums and transposes back.
    #[inline(always)]
    fn finish(&mut self, tile: usize) {
        let dim = self.value_dim;
        let Scratch {
            sums, outputs, row, ..
        } = &mut *self.scratch;
        let inverse = |i: usize| if sums[i] == 0.0 { 0.0 } else { 1.0 / sums[i] };
        unpack(outputs, inverse, (tile, dim), row, self.out);
    }
}
