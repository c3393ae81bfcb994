//! Gradients of `rms_norm` and `layer_norm`.
//!
//! Blocking: the rows are cut into chunks by the number of threads and the shape; each chunk has its own sums of the
//! gradients of weight and bias, which are added in order. Limit: memory bandwidth.
//! Error: `2^-20` of the largest term that is added, for rows of up to 65,536 elements.

use pulp::{Simd, WithSimd};

use super::norm::{Moments, row_moments};
use super::shape::RowMajorShape;
use crate::error::{Result, length};
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// The outputs of the gradient of a normalization.
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
    let inputs = Inputs {
        op: "rms_norm_gradient",
        is_centered: false,
        x,
        weight,
        eps,
        g,
    };
    gradient(shape, inputs, out)
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
    let inputs = Inputs {
        op: "layer_norm_gradient",
        is_centered: true,
        x,
        weight,
        eps,
        g,
    };
    gradient(shape, inputs, out)
}

/// What the gradient of a normalization is made from.
struct Inputs<'a> {
    op: &'static str,
    /// Whether the mean is subtracted.
    is_centered: bool,
    x: &'a [f32],
    weight: Option<&'a [f32]>,
    eps: f32,
    g: &'a [f32],
}

fn gradient(shape: RowMajorShape, inputs: Inputs<'_>, out: NormGradient<'_>) -> Result<()> {
    let Inputs {
        op,
        is_centered,
        x,
        weight,
        eps,
        g,
    } = inputs;
    let (dim, elements) = (shape.dim, shape.elements(op)?);
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
    let ones = vec![1.0; if weight.is_none() { dim } else { 0 }];
    let weight = weight.unwrap_or(&ones);
    let chunks = (4 * threads()).min(shape.rows.div_ceil(shape.rows_per_task()));
    let chunk = shape.rows.div_ceil(chunks) * dim;
    let mut sums = vec![0.0; 2 * dim * chunks];
    let tasks = x
        .chunks(chunk)
        .zip(g.chunks(chunk))
        .zip(out.x.chunks_mut(chunk));
    parallel_for(
        tasks.zip(sums.chunks_mut(2 * dim)),
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
                    is_centered,
                    out,
                    sum_weight: &mut *sum_weight,
                    sum_bias: &mut *sum_bias,
                });
            }
        },
    );
    for sums in sums.chunks_exact(2 * dim) {
        let (sum_weight, sum_bias) = sums.split_at(dim);
        add(out.weight, sum_weight);
        add(out.bias, sum_bias);
    }
    Ok(())
}

/// Adds sums to totals; there may be no totals.
fn add(totals: &mut [f32], sums: &[f32]) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total += sum;
    }
}

struct Row<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    g: &'a [f32],
    eps: f32,
    is_centered: bool,
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
            is_centered,
            out,
            sum_weight,
            sum_bias,
        } = self;
        let count = x.len() as f32;
        let Moments { mean, scale } = row_moments(simd, x, is_centered, eps);
        // `out` holds the normalized row first, and `h = g * weight` is formed twice: both are in the L1 cache.
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
        let mean_h = if is_centered {
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
