//! Attention of many queries: blocks of queries lie across the lanes of registers, keys are walked in blocks.
//!
//! Scores are kept transposed, `[keys, queries]`, so that the maximum and the sum over keys never cross lanes, and
//! both products read keys and values as they lie in memory, one number at a time for a whole register of queries.

use pulp::{Simd, WithSimd};

use super::mask::HeadMask;
use super::packed_tile::{pack, unpack};
use super::strided::HeadRows;
use super::{AttentionInputs, AttentionShape};
use crate::element::Element;
use crate::gemm::microkernel::{WIDE, accumulate, few_registers, products};
use crate::parallel::parallel_for;
use crate::simd;
use crate::simd::lanes::Lanes;

/// Queries that one thread takes at a time.
const QUERIES: usize = 64;
/// Keys between two corrections of the running output.
const KEYS: usize = 128;

/// Buffers of one thread.
struct Scratch {
    /// `[tiles, dim, tile]`: the scaled queries, transposed.
    queries: Vec<f32>,
    /// `[KEYS, tile]`: scores, then powers.
    scores: Vec<f32>,
    /// `[tiles, value_dim, tile]`: the running output, transposed.
    outputs: Vec<f32>,
    /// `[KEYS, dim]` and `[KEYS, value_dim]`: rows that do not lie side by side as `f32`; empty if all do.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// A row of queries or of the output.
    row: Vec<f32>,
    /// `[QUERIES]` each: the running maximum and sum.
    largest: [f32; QUERIES],
    sums: [f32; QUERIES],
}

/// Lengths are checked; there are queries and keys.
pub(super) fn run<T: Element>(
    shape: AttentionShape,
    inputs: AttentionInputs<T>,
    scale: f32,
    out: &mut [T],
) {
    let AttentionShape {
        heads,
        kv_heads,
        queries,
        keys,
        dim,
        value_dim,
        ..
    } = shape;
    let per_head = queries.div_ceil(QUERIES);
    let nanoseconds = 0.02 * (shape.batch * heads * queries * keys * (dim + value_dim)) as f64;
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
            keys: vec![0.0; room(inputs.keys.of_head(0, 0, dim), dim)],
            values: vec![0.0; room(inputs.values.of_head(0, 0, value_dim), value_dim)],
            row: vec![0.0; dim.max(value_dim)],
            largest: [0.0; QUERIES],
            sums: [0.0; QUERIES],
        },
        |scratch, (batch_head, block, out)| {
            let (batch, head) = (batch_head / heads, batch_head % heads);
            let kv_head = head / (heads / kv_heads);
            simd::dispatch(Block {
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
fn room<T: Element>(rows: HeadRows<T>, dim: usize) -> usize {
    if rows.is_direct() { 0 } else { KEYS * dim }
}

/// One block of queries of one head.
struct Block<'a, T> {
    first: usize,
    count: usize,
    queries: HeadRows<'a, T>,
    keys: HeadRows<'a, T>,
    values: HeadRows<'a, T>,
    n_keys: usize,
    dim: usize,
    value_dim: usize,
    mask: HeadMask<'a, T>,
    sink: Option<f32>,
    scale: f32,
    scratch: &'a mut Scratch,
    out: &'a mut [T],
}

impl<T: Element> WithSimd for Block<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if few_registers::<S>() {
            self.run::<S, 4>(simd)
        } else {
            self.run::<S, 8>(simd)
        }
    }
}

impl<T: Element> Block<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(&mut self, simd: S) {
        let tile = WIDE * S::F32_LANES;
        let tiles = self.count.div_ceil(tile);
        self.start(tile);
        let reach = self.mask.reach(self.first + self.count - 1, self.n_keys);
        let mut key_scratch = std::mem::take(&mut self.scratch.keys);
        let mut value_scratch = std::mem::take(&mut self.scratch.values);
        for start in (0..reach).step_by(KEYS) {
            let end = (start + KEYS).min(reach);
            let keys = self.keys.block(start, end - start, &mut key_scratch);
            let values = self.values.block(start, end - start, &mut value_scratch);
            for index in 0..tiles {
                self.scores::<S, ROWS>(simd, index, keys);
                let first = self.first + index * tile;
                if self.mask.touches(first, end - 1) {
                    self.hide(tile, index, start, end);
                }
                let corrections = self.powers(simd, index, end - start);
                self.accumulate::<S, ROWS>(simd, index, values, corrections);
            }
        }
        self.scratch.keys = key_scratch;
        self.scratch.values = value_scratch;
        self.finish(tile);
    }

    /// Transposes and scales the queries, and starts the running maximum and sum.
    #[inline(always)]
    fn start(&mut self, tile: usize) {
        let Scratch { queries, row, .. } = &mut *self.scratch;
        let place = (self.first, self.count);
        pack(self.queries, place, self.scale, tile, row, queries);
        self.scratch.outputs.fill(0.0);
        // The most negative finite number keeps `score - maximum` from being `-inf + inf`.
        self.scratch.largest = [self.sink.unwrap_or(f32::MIN).max(f32::MIN); QUERIES];
        let share = f32::from(u8::from(
            self.sink.is_some_and(|sink| sink > f32::NEG_INFINITY),
        ));
        self.scratch.sums = [share; QUERIES];
    }

    /// `scores[key, query] = sum over d of keys[key, d] * queries[d, query]`.
    #[inline(always)]
    fn scores<S: Simd, const ROWS: usize>(&mut self, simd: S, index: usize, keys: &[f32]) {
        let (dim, tile) = (self.dim, WIDE * S::F32_LANES);
        let queries = &self.scratch.queries[index * dim * tile..][..dim * tile];
        let queries = S::as_simd_f32s(queries).0.as_chunks::<WIDE>().0;
        let scores = &mut self.scratch.scores[..keys.len() / dim * tile];
        let scores = S::as_mut_simd_f32s(scores).0.as_chunks_mut::<WIDE>().0;
        products::<S, ROWS>(simd, keys, queries, scores);
    }

    /// Lays the mask over a block of scores.
    #[inline(always)]
    fn hide(&mut self, tile: usize, index: usize, start: usize, end: usize) {
        let first = self.first + index * tile;
        let count = tile.min(self.count - index * tile);
        let scores = &mut self.scratch.scores[..(end - start) * tile];
        for (key, scores) in (start..end).zip(scores.chunks_exact_mut(tile)) {
            for (query, score) in scores[..count].iter_mut().enumerate() {
                *score = self.mask.apply(first + query, key, *score);
            }
        }
    }

    /// Turns scores into powers about the new maximum; returns what earlier sums and outputs are to be multiplied by.
    #[inline(always)]
    fn powers<S: Simd>(&mut self, simd: S, index: usize, count: usize) -> [S::f32s; WIDE] {
        let tile = WIDE * S::F32_LANES;
        let at = index * tile..(index + 1) * tile;
        let scores = S::as_mut_simd_f32s(&mut self.scratch.scores[..count * tile]).0;
        let scores = scores.as_chunks_mut::<WIDE>().0;
        let largest = S::as_mut_simd_f32s(&mut self.scratch.largest[at.clone()]).0;
        let sums = S::as_mut_simd_f32s(&mut self.scratch.sums[at]).0;
        // Loops and no `from_fn` around vectors: its closure may be compiled without the instruction set.
        let mut before = [Lanes::splat(simd, 0.0); WIDE];
        for i in 0..WIDE {
            before[i] = Lanes::new(simd, largest[i]);
        }
        let mut now = before;
        for scores in scores.iter() {
            for i in 0..WIDE {
                now[i] = Lanes::new(simd, scores[i]).max(now[i]);
            }
        }
        let mut sum = [Lanes::splat(simd, 0.0); WIDE];
        for scores in scores.iter_mut() {
            for i in 0..WIDE {
                let power = (Lanes::new(simd, scores[i]) - now[i]).exp_nonpositive();
                sum[i] = sum[i] + power;
                scores[i] = power.value;
            }
        }
        let mut corrections = [simd.splat_f32s(0.0); WIDE];
        for i in 0..WIDE {
            let correction = (before[i] - now[i]).exp_nonpositive();
            largest[i] = now[i].value;
            sums[i] = Lanes::new(simd, sums[i]).mul_add(correction, sum[i]).value;
            corrections[i] = correction.value;
        }
        corrections
    }

    /// `outputs[d, query] = outputs[d, query] * correction + sum over keys of values[key, d] * powers[key, query]`.
    #[inline(always)]
    fn accumulate<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        index: usize,
        values: &[f32],
        corrections: [S::f32s; WIDE],
    ) {
        let (dim, tile) = (self.value_dim, WIDE * S::F32_LANES);
        let powers = &self.scratch.scores[..values.len() / dim * tile];
        let powers = S::as_simd_f32s(powers).0.as_chunks::<WIDE>().0;
        let outputs = &mut self.scratch.outputs[index * dim * tile..][..dim * tile];
        let outputs = S::as_mut_simd_f32s(outputs).0.as_chunks_mut::<WIDE>().0;
        accumulate::<S, ROWS>(simd, values, powers, corrections, outputs);
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
