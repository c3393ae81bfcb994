//! Chunks of rows of a quantized matrix for threads, and scales broadcast to the lanes that need them.

use pulp::Simd;

use super::Quantized;
use super::layout::{UNITS, numbers_per_unit};
use crate::element::Element;
use crate::gemm::MatrixShape;
use crate::parallel::{parallel_for, weight_chunk_bytes};

/// Some rows, with scales and biases in `f32`.
pub(super) struct RowChunk<'a> {
    /// Numbers of a row.
    pub(super) columns: usize,
    pub(super) bits: usize,
    pub(super) group_size: usize,
    /// `[rows, columns * bits / 32]`.
    pub(super) weights: &'a [u32],
    /// `[rows, columns / group_size]`.
    pub(super) scales: &'a [f32],
    pub(super) biases: &'a [f32],
    /// Room for a scale for each unit of a row.
    pub(super) unit_scales: &'a mut [f32],
    /// `[rows, vectors]`.
    pub(super) results: &'a mut [f32],
}

/// Nanoseconds in which one thread reads a byte of weights that are not in a cache, as those of a network are not.
const NS_PER_BYTE: f64 = 0.12;

/// Lets `work` compute the results of chunks of rows, on all threads.
pub(super) fn for_each_chunk<S: Element>(
    matrix: Quantized<S>,
    vectors: usize,
    nanoseconds: f64,
    out: &mut [f32],
    work: impl Fn(RowChunk) + Sync,
) {
    let MatrixShape { rows, columns } = matrix.shape;
    let (words, groups) = (columns / 32 * matrix.bits, columns / matrix.group_size);
    let chunk =
        (weight_chunk_bytes(size_of_val(matrix.weights)) / (columns * matrix.bits / 8)).max(4);
    let mut transposed = vec![0.0; if vectors == 1 { 0 } else { out.len() }];
    let results = if vectors == 1 {
        &mut *out
    } else {
        transposed.as_mut_slice()
    };
    let scales = matrix
        .scales
        .chunks(chunk * groups)
        .zip(matrix.biases.chunks(chunk * groups));
    let tasks = matrix.weights.chunks(chunk * words).zip(scales);
    let nanoseconds = nanoseconds.max(size_of_val(matrix.weights) as f64 * NS_PER_BYTE);
    let room = if S::IS_F32 { 0 } else { chunk * groups };
    parallel_for(
        tasks.zip(results.chunks_mut(chunk * vectors)),
        nanoseconds,
        || {
            let units = (columns / numbers_per_unit(matrix.bits)).next_multiple_of(UNITS);
            (vec![0.0; units], vec![0.0; room], vec![0.0; room])
        },
        |(unit_scales, scales_f32, biases_f32), ((weights, (scales, biases)), results)| {
            work(RowChunk {
                columns,
                bits: matrix.bits,
                group_size: matrix.group_size,
                weights,
                scales: S::read(scales, scales_f32),
                biases: S::read(biases, biases_f32),
                unit_scales,
                results,
            });
        },
    );
    for (row, results) in transposed.chunks_exact(vectors).enumerate() {
        for (out, result) in out.chunks_exact_mut(rows).zip(results) {
            out[row] = *result;
        }
    }
}

/// One row.
pub(super) struct Row<'a> {
    pub(super) weights: &'a [u32],
    /// A scale for each unit, then zeros up to a whole block.
    pub(super) unit_scales: &'a [f32],
    pub(super) scales: &'a [f32],
    pub(super) biases: &'a [f32],
    /// One for each vector.
    pub(super) results: &'a mut [f32],
}

impl RowChunk<'_> {
    pub(super) fn count(&self) -> usize {
        self.scales.len() * self.group_size / self.columns
    }

    #[inline(always)]
    pub(super) fn row<S: Simd>(&mut self, simd: S, index: usize) -> Row<'_> {
        let words = self.columns / 32 * self.bits;
        let groups = self.columns / self.group_size;
        let vectors = self.results.len() / self.count();
        let scales = &self.scales[index * groups..][..groups];
        broadcast_scales(
            simd,
            scales,
            self.group_size / numbers_per_unit(self.bits),
            self.unit_scales,
        );
        Row {
            weights: &self.weights[index * words..][..words],
            unit_scales: self.unit_scales,
            scales,
            biases: &self.biases[index * groups..][..groups],
            results: &mut self.results[index * vectors..][..vectors],
        }
    }
}

/// Repeats each scale `times` times.
#[inline(always)]
pub(super) fn broadcast_scales<S: Simd>(simd: S, scales: &[f32], times: usize, out: &mut [f32]) {
    #[inline(always)]
    fn repeat<const N: usize>(scales: &[f32], out: &mut [f32]) {
        for (out, scale) in out.as_chunks_mut::<N>().0.iter_mut().zip(scales) {
            *out = [*scale; N];
        }
    }
    if times >= S::F32_LANES {
        // With explicit registers, or the compiler scatters single numbers.
        let (registers, _) = S::as_mut_simd_f32s(out);
        let runs = registers.chunks_exact_mut(times / S::F32_LANES);
        for (run, scale) in runs.zip(scales) {
            for register in run {
                *register = simd.splat_f32s(*scale);
            }
        }
        return;
    }
    match times {
        1 => out[..scales.len()].copy_from_slice(scales),
        2 => repeat::<2>(scales, out),
        4 => repeat::<4>(scales, out),
        _ => repeat::<8>(scales, out),
    }
}

/// `sum of a * b`, in eight sums.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_tail) = a.as_chunks::<8>();
    let (b, b_tail) = b.as_chunks::<8>();
    let mut totals = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            totals[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    totals.iter().sum::<f32>() + rest
}
