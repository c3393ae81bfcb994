//! Gradients of `rms_norm` and `layer_norm`.
//!
//! Blocking: the rows are cut into as many runs as a thread count and the shape say; each run sums the gradients of
//! weight and bias for itself, and the runs are added in order. Limit: memory bandwidth.
//! Error: `2^-20` of the largest term that is added, for rows of up to 65,536 elements.

use pulp::{Simd, WithSimd};

use super::norm::{Moments, moments};
use super::row_fold::sum_of;
use super::shape::RowMajorShape;
use crate::error::{Result, length};
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// Where the gradients of a normalization go.
#[derive(Debug)]
pub struct NormGradient<'a> {
    /// The gradient of `x`, `[rows, dim]`.
    pub x: &'a mut [f32],
    /// The gradient of the weight, `[dim]`, summed over the rows.
    pub weight: &'a mut [f32],
    /// The gradient of the bias, `[dim]`; empty if it is not wanted. `rms_norm` has none.
    pub bias: &'a mut [f32],
}

/// Writes the gradients of [`rms_norm`](crate::rms_norm) for the gradient `g` of its result.
///
/// With `r = rsqrt(mean(x^2) + eps)`: `dx = r * g * w - x * r^3 * mean(g * w * x)` and `dw = sum(g * x * r)` over rows.
///
/// # Errors
/// When a length does not match the shape.
pub fn rms_norm_gradient(
    shape: RowMajorShape,
    x: &[f32],
    weight: Option<&[f32]>,
    eps: f32,
    g: &[f32],
    out: NormGradient,
) -> Result<()> {
    length("rms_norm_gradient", "bias", 0, out.bias.len())?;
    gradient("rms_norm_gradient", shape, x, weight, eps, g, out, false)
}

/// Writes the gradients of [`layer_norm`](crate::layer_norm) for the gradient `g` of its result.
///
/// With `n = (x - mean(x)) * r` and `h = g * w`: `dx = r * (h - mean(h) - n * mean(h * n))`,
/// `dw = sum(g * n)` and `db = sum(g)` over rows.
///
/// # Errors
/// When a length does not match the shape.
pub fn layer_norm_gradient(
    shape: RowMajorShape,
    x: &[f32],
    weight: Option<&[f32]>,
    eps: f32,
    g: &[f32],
    out: NormGradient,
) -> Result<()> {
    gradient("layer_norm_gradient", shape, x, weight, eps, g, out, true)
}

#[expect(clippy::too_many_arguments, reason = "two public functions, one body")]
fn gradient(
    op: &'static str,
    shape: RowMajorShape,
    x: &[f32],
    weight: Option<&[f32]>,
    eps: f32,
    g: &[f32],
    out: NormGradient,
    centered: bool,
) -> Result<()> {
    let dim = shape.dim;
    let elements = shape.elements(op)?;
    length(op, "x", elements, x.len())?;
    length(op, "g", elements, g.len())?;
    length(op, "weight", dim, weight.map_or(dim, <[f32]>::len))?;
    length(op, "gradient of x", elements, out.x.len())?;
    length(op, "gradient of weight", dim, out.weight.len())?;
    if !out.bias.is_empty() {
        length(op, "gradient of bias", dim, out.bias.len())?;
    }
    out.weight.fill(0.0);
    out.bias.fill(0.0);
    if elements == 0 {
        return Ok(());
    }
    let ones = if weight.is_none() {
        vec![1.0; dim]
    } else {
        Vec::new()
    };
    let weight = weight.unwrap_or(&ones);
    let runs = (4 * threads()).min(shape.rows.div_ceil(shape.rows_per_task()));
    let run = shape.rows.div_ceil(runs) * dim;
    let mut sums = vec![0.0; 2 * dim * runs];
    let pieces = x.chunks(run).zip(g.chunks(run)).zip(out.x.chunks_mut(run));
    parallel_for(
        pieces.zip(sums.chunks_mut(2 * dim)),
        0.9 * elements as f64,
        || (),
        |(), (((x, g), out), sums)| {
            let (sum_weight, sum_bias) = sums.split_at_mut(dim);
            let rows = x.chunks_exact(dim).zip(g.chunks_exact(dim));
            for ((x, g), out) in rows.zip(out.chunks_exact_mut(dim)) {
                simd::dispatch(Row {
                    x,
                    weight,
                    g,
                    eps,
                    centered,
                    out,
                    sum_weight: &mut *sum_weight,
                    sum_bias: &mut *sum_bias,
                });
            }
        },
    );
    for sums in sums.chunks_exact(2 * dim) {
        let (sum_weight, sum_bias) = sums.split_at(dim);
        out.weight
            .iter_mut()
            .zip(sum_weight)
            .for_each(|(total, sum)| *total += sum);
        out.bias
            .iter_mut()
            .zip(sum_bias)
            .for_each(|(total, sum)| *total += sum);
    }
    Ok(())
}

struct Row<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    g: &'a [f32],
    eps: f32,
    centered: bool,
    out: &'a mut [f32],
    sum_weight: &'a mut [f32],
    sum_bias: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            x,
            weight,
            g,
            eps,
            centered,
            out,
            sum_weight,
            sum_bias,
        } = self;
        let count = x.len() as f32;
        let Moments { mean, scale } = if centered {
            moments(simd, x, eps)
        } else {
            let squares = sum_of(simd, x, |x| x * x);
            Moments {
                mean: 0.0,
                scale: 1.0 / (squares / count + eps).sqrt(),
            }
        };
        // `out` holds the normalized row first, and `h = g * weight` is formed twice: both are in the first cache.
        let mut sum_h = [0.0_f32; 16];
        let mut sum_h_normal = [0.0_f32; 16];
        for (start, out) in out.chunks_mut(16).enumerate().map(|(i, out)| (16 * i, out)) {
            let end = start + out.len();
            let inputs = x[start..end]
                .iter()
                .zip(&weight[start..end])
                .zip(&g[start..end]);
            for (lane, (out, ((x, weight), g))) in out.iter_mut().zip(inputs).enumerate() {
                *out = (x - mean) * scale;
                sum_h[lane] += g * weight;
                sum_h_normal[lane] += g * weight * *out;
            }
        }
        let mean_h = if centered {
            sum_h.iter().sum::<f32>() / count
        } else {
            0.0
        };
        let mean_h_normal = sum_h_normal.iter().sum::<f32>() / count;
        let sums = sum_weight.iter_mut().zip(sum_bias.iter_mut());
        let inputs = weight.iter().zip(g).zip(sums);
        for (out, ((weight, g), (sum_weight, sum_bias))) in out.iter_mut().zip(inputs) {
            let normal = *out;
            *sum_weight += g * normal;
            *sum_bias += g;
            *out = scale * (g * weight - mean_h - normal * mean_h_normal);
        }
    }
}
