//! Normalization of rows: `rms_norm` and `layer_norm`.
//!
//! Blocking: a task has 64 KiB of rows; a row is read from memory once and is in the L1 cache for the second pass.
//! Limit: memory bandwidth. Error: `2^-21` of the largest result of the row for rows of up to 65,536 elements.

use pulp::{Simd, WithSimd};

use super::row_fold::{REGISTERS_PER_SUM, row_sum};
use super::shape::RowMajorShape;
use crate::element::{Element, to_f32_vec};
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd::half_lanes::{HalfLanes, MAX_LANES};
use crate::simd::lanes::Lanes;
use crate::simd::{self, prefetch, streaming_store};

/// Elements that are computed before they are written out.
const BLOCK: usize = 4096;
/// What an element costs on one thread, about.
const NANOSECONDS: f64 = 0.18;

/// Writes `x * rsqrt(mean(x^2) + eps) * weight` to `out`, row by row; no weight counts as ones.
///
/// `x` and `out` are `[rows, dim]`, `weight` is `[dim]`; the mean is taken in `f32`.
///
/// # Errors
/// When a length does not match the shape.
pub fn rms_norm<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    weight: Option<&[T]>,
    eps: f32,
    out: &mut [T],
) -> Result<()> {
    (T::kernels().rms_norm)(shape, x, weight, eps, out)
}

/// [`rms_norm`], compiled in this crate.
pub(crate) fn rms_norm_instance<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    weight: Option<&[T]>,
    eps: f32,
    out: &mut [T],
) -> Result<()> {
    let parameters = Parameters {
        op: "rms_norm",
        is_centered: false,
        weight,
        bias: None,
        eps,
    };
    normalize(shape, parameters, x, out)
}

/// Writes `(x - mean(x)) * rsqrt(var(x) + eps) * weight + bias` to `out`, row by row.
///
/// `x` and `out` are `[rows, dim]`, `weight` and `bias` are `[dim]`; without them they count as ones and zeros.
/// The variance is the mean of squared differences, taken after the mean: large means do not cancel.
///
/// # Errors
/// When a length does not match the shape.
pub fn layer_norm<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f32,
    out: &mut [T],
) -> Result<()> {
    (T::kernels().layer_norm)(shape, x, weight, bias, eps, out)
}

/// [`layer_norm`], compiled in this crate.
pub(crate) fn layer_norm_instance<T: Element>(
    shape: RowMajorShape,
    x: &[T],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
    eps: f32,
    out: &mut [T],
) -> Result<()> {
    let parameters = Parameters {
        op: "layer_norm",
        is_centered: true,
        weight,
        bias,
        eps,
    };
    normalize(shape, parameters, x, out)
}

/// What distinguishes the two normalizations.
struct Parameters<'a, T> {
    op: &'static str,
    /// Whether the mean is subtracted.
    is_centered: bool,
    weight: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    eps: f32,
}

fn normalize<T: Element>(
    shape: RowMajorShape,
    parameters: Parameters<'_, T>,
    x: &[T],
    out: &mut [T],
) -> Result<()> {
    let Parameters {
        op, weight, bias, ..
    } = parameters;
    let (dim, elements) = (shape.dim, shape.elements(op)?);
    length(op, "x", elements, x.len())?;
    length(op, "out", elements, out.len())?;
    length(op, "weight", dim, weight.map_or(dim, <[T]>::len))?;
    length(op, "bias", dim, bias.map_or(dim, <[T]>::len))?;
    if elements == 0 {
        return Ok(());
    }
    let row = NormalizedRow {
        weight: &weight.map_or_else(|| vec![1.0; dim], to_f32_vec),
        bias: &bias.map_or_else(|| vec![0.0; dim], to_f32_vec),
        is_centered: parameters.is_centered,
        eps: parameters.eps,
        stream: T::IS_F32 && streaming_store::should_stream(size_of_val(out)),
    };
    if simd::f32_lanes() == MAX_LANES {
        if let (Some(x), Some(out)) = (T::as_f16(x), T::as_f16_mut(out)) {
            normalize_half(shape, &row, x, out);
            return Ok(());
        }
        if let (Some(x), Some(out)) = (T::as_bf16(x), T::as_bf16_mut(out)) {
            normalize_half(shape, &row, x, out);
            return Ok(());
        }
    }
    let task = shape.rows_per_task() * dim;
    parallel_for(
        x.chunks(task).zip(out.chunks_mut(task)),
        NANOSECONDS * elements as f64,
        || (vec![0.0; if T::IS_F32 { 0 } else { dim }], [0.0; BLOCK]),
        |(x_f32, result), (x, out)| {
            for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                row.write(T::read(x, x_f32), result, out);
            }
            if row.stream {
                streaming_store::sfence();
            }
        },
    );
    Ok(())
}

/// Rows of half precision, with registers that are loaded from it and stored to it.
fn normalize_half<T: HalfLanes + Send + Sync>(
    shape: RowMajorShape,
    row: &NormalizedRow<'_>,
    x: &[T],
    out: &mut [T],
) {
    let dim = shape.dim;
    let task = shape.rows_per_task() * dim;
    parallel_for(
        x.chunks(task).zip(out.chunks_mut(task)),
        NANOSECONDS * x.len() as f64,
        || vec![0.0; dim],
        |x_f32, (x, out)| {
            for (x, out) in x.chunks_exact(dim).zip(out.chunks_exact_mut(dim)) {
                simd::dispatch(HalfRow { row, x, x_f32, out });
            }
        },
    );
}

/// A row of half precision: it is converted while its mean is taken, and written without a copy.
struct HalfRow<'a, T> {
    row: &'a NormalizedRow<'a>,
    x: &'a [T],
    x_f32: &'a mut [f32],
    out: &'a mut [T],
}

impl<T: HalfLanes> WithSimd for HalfRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { row, x, x_f32, out } = self;
        let &NormalizedRow {
            weight,
            bias,
            is_centered,
            eps,
            ..
        } = row;
        let moments = if is_centered {
            let sum = widen_with_sum(simd, x, x_f32, |x| x);
            centered_moments(simd, x_f32, sum, eps)
        } else {
            let squares = widen_with_sum(simd, x, x_f32, |x| x * x);
            Moments::of_squares(squares, x.len(), eps)
        };
        let n = S::F32_LANES;
        let mean = Lanes::splat(simd, moments.mean);
        let scale = Lanes::splat(simd, moments.scale);
        let normal = |x, weight, bias| {
            let scaled = (Lanes::new(simd, x) - mean) * scale;
            scaled.mul_add(Lanes::new(simd, weight), Lanes::new(simd, bias))
        };
        let (x, x_tail) = S::as_simd_f32s(x_f32);
        let (weight, weight_tail) = S::as_simd_f32s(weight);
        let (bias, bias_tail) = S::as_simd_f32s(bias);
        let (out, out_tail) = out.split_at_mut(n * x.len());
        let parameters = weight.iter().zip(bias);
        for ((out, x), (weight, bias)) in out.chunks_exact_mut(n).zip(x).zip(parameters) {
            T::store(normal(*x, *weight, *bias), out);
        }
        if !x_tail.is_empty() {
            let tails = [x_tail, weight_tail, bias_tail];
            let [x, weight, bias] = tails.map(|part| simd.partial_load_f32s(part));
            T::store_part(normal(x, weight, bias), out_tail);
        }
    }
}

/// Converts a row, and returns the sum of `f` of each element, where `f(0) = 0`.
#[inline(always)]
fn widen_with_sum<S: Simd, T: HalfLanes>(
    simd: S,
    x: &[T],
    x_f32: &mut [f32],
    f: impl Fn(Lanes<S>) -> Lanes<S>,
) -> f32 {
    let n = S::F32_LANES;
    let zero = Lanes::splat(simd, 0.0);
    let mut sum = zero;
    let block = REGISTERS_PER_SUM * n;
    for (x, x_f32) in x.chunks(block).zip(x_f32.chunks_mut(block)) {
        let mut sums = [zero; 4];
        let (wide, tail) = S::as_mut_simd_f32s(x_f32);
        let (quads, singles) = wide.as_chunks_mut::<4>();
        let (x_quads, x) = x.split_at(4 * n * quads.len());
        for (quad, x) in quads.iter_mut().zip(x_quads.chunks_exact(4 * n)) {
            for ((sum, wide), x) in sums.iter_mut().zip(quad).zip(x.chunks_exact(n)) {
                let value = T::load(simd, x);
                *wide = value.value;
                *sum = *sum + f(value);
            }
        }
        let (x, x_tail) = x.split_at(n * singles.len());
        for ((sum, wide), x) in sums.iter_mut().zip(singles).zip(x.chunks_exact(n)) {
            let value = T::load(simd, x);
            *wide = value.value;
            *sum = *sum + f(value);
        }
        if !x_tail.is_empty() {
            let value = T::load_part(simd, x_tail);
            simd.partial_store_f32s(tail, value.value);
            sums[3] = sums[3] + f(value);
        }
        let [a, b, c, d] = sums;
        sum = sum + ((a + b) + (c + d));
    }
    sum.sum()
}

/// How a row is normalized.
struct NormalizedRow<'a> {
    weight: &'a [f32],
    bias: &'a [f32],
    is_centered: bool,
    eps: f32,
    /// Whether it is written with streaming stores.
    stream: bool,
}

impl NormalizedRow<'_> {
    fn write<T: Element>(&self, x: &[f32], result: &mut [f32; BLOCK], out: &mut [T]) {
        let &Self {
            is_centered, eps, ..
        } = self;
        let moments = simd::dispatch(Statistics {
            x,
            is_centered,
            eps,
        });
        let parameters = self.weight.chunks(BLOCK).zip(self.bias.chunks(BLOCK));
        let blocks = x.chunks(BLOCK).zip(parameters).zip(out.chunks_mut(BLOCK));
        for ((block, (weight, bias)), out) in blocks {
            T::write(out, result, |out| {
                let block = Block {
                    x: block,
                    weight,
                    bias,
                    moments,
                    is_centered,
                    next_row: x.len(),
                    out,
                };
                if self.stream {
                    simd::dispatch(Stored::<true>(block));
                } else {
                    simd::dispatch(Stored::<false>(block));
                }
            });
        }
    }
}

/// The moments of a row.
struct Statistics<'a> {
    x: &'a [f32],
    is_centered: bool,
    eps: f32,
}

impl WithSimd for Statistics<'_> {
    type Output = Moments;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Moments {
        row_moments(simd, self.x, self.is_centered, self.eps)
    }
}

/// Part of a row.
struct Block<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    moments: Moments,
    is_centered: bool,
    /// How far the next row is: it is prefetched while this one is written with streaming stores. With a second pass for
    /// the variance that gains nothing.
    next_row: usize,
    out: &'a mut [f32],
}

/// A block that is written with streaming stores if `STREAM`.
struct Stored<'a, const STREAM: bool>(Block<'a>);

impl<const STREAM: bool> WithSimd for Stored<'_, STREAM> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Block {
            x,
            weight,
            bias,
            moments,
            is_centered,
            next_row,
            out,
        } = self.0;
        let mean = Lanes::splat(simd, moments.mean);
        let scale = Lanes::splat(simd, moments.scale);
        let normal = |x, weight, bias| {
            let scaled = (Lanes::new(simd, x) - mean) * scale;
            scaled
                .mul_add(Lanes::new(simd, weight), Lanes::new(simd, bias))
                .value
        };
        // Without centering, the mean and the bias are zeros.
        let part = |x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]| {
            if !x.is_empty() {
                let [x, weight, bias] = [x, weight, bias].map(|part| simd.partial_load_f32s(part));
                simd.partial_store_f32s(out, normal(x, weight, bias));
            }
        };
        let head = if STREAM {
            streaming_store::alignment_prefix::<S>(out)
        } else {
            0
        };
        let (x_head, x) = x.split_at(head);
        let (weight_head, weight) = weight.split_at(head);
        let (bias_head, bias) = bias.split_at(head);
        let (out_head, out) = out.split_at_mut(head);
        part(x_head, weight_head, bias_head, out_head);
        let (x, x_tail) = S::as_simd_f32s(x);
        let (weight, weight_tail) = S::as_simd_f32s(weight);
        let (bias, bias_tail) = S::as_simd_f32s(bias);
        let (out, out_tail) = S::as_mut_simd_f32s(out);
        if is_centered {
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                streaming_store::store::<S, STREAM>(out, normal(*x, *weight, *bias));
            }
        } else {
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                if STREAM {
                    prefetch(x, next_row);
                }
                let value = Lanes::new(simd, *x) * scale * Lanes::new(simd, *weight);
                streaming_store::store::<S, STREAM>(out, value.value);
            }
        }
        part(x_tail, weight_tail, bias_tail, out_tail);
    }
}

/// What a row is normalized by.
#[derive(Clone, Copy)]
pub(super) struct Moments {
    pub(super) mean: f32,
    /// `1 / sqrt(variance + eps)`.
    pub(super) scale: f32,
}

impl Moments {
    /// Without a mean, of the sum of squares.
    fn of_squares(squares: f32, count: usize, eps: f32) -> Self {
        Self {
            mean: 0.0,
            scale: 1.0 / (squares / count as f32 + eps).sqrt(),
        }
    }
}

/// The mean of a row, 0 unless centered, and then the mean square about it.
#[inline(always)]
pub(super) fn row_moments<S: Simd>(simd: S, x: &[f32], is_centered: bool, eps: f32) -> Moments {
    if is_centered {
        centered_moments(simd, x, row_sum(simd, x, |x| x), eps)
    } else {
        Moments::of_squares(row_sum(simd, x, |x| x * x), x.len(), eps)
    }
}

/// The mean of a row, of its sum, and the mean square about it.
#[inline(always)]
fn centered_moments<S: Simd>(simd: S, x: &[f32], sum: f32, eps: f32) -> Moments {
    let count = x.len() as f32;
    let mean = sum / count;
    let center = Lanes::splat(simd, mean);
    let (body, tail) = x.split_at(x.len() - x.len() % S::F32_LANES);
    let squares = row_sum(simd, body, |x| (x - center) * (x - center));
    // The padding of a partial register is not part of the row.
    let rest: f32 = tail.iter().map(|x| (x - mean) * (x - mean)).sum();
    Moments {
        mean,
        scale: 1.0 / ((squares + rest) / count + eps).sqrt(),
    }
}
