//! The gradient of the normalization of each channel over all rows.

use pulp::{Simd, WithSimd};

use super::channels::{Blocks, LANES, lanes, others, pair_totals, repeated, rows, wide};
use super::{BatchStatistics, NANOSECONDS, OP, check};
use crate::element::Element;
use crate::error::{Result, length};
use crate::parallel::parallel_for;
use crate::simd;

/// The outputs of the gradient of a batch norm.
#[derive(Debug)]
pub struct BatchNormGradient<'a, T> {
    /// The gradient of `x`, `[rows, channels]`.
    pub x: &'a mut [T],
    /// The gradient of the weight, `[channels]`; empty if it is not wanted.
    pub weight: &'a mut [T],
    /// The gradient of the bias, `[channels]`; empty if it is not wanted.
    pub bias: &'a mut [T],
}

/// Writes the gradients of [`batch_norm`](crate::batch_norm) for the gradient `g` of its result, of which `statistics` are those it wrote.
///
/// With `n = (x - mean) * scale` and `h = g * weight`: `dx = scale * (h - mean(h) - n * mean(h * n))`, `dw = sum(g * n)` and
/// `db = sum(g)` over rows.
///
/// # Errors
/// As for [`batch_norm`](crate::batch_norm).
pub fn batch_norm_gradient<T: Element>(
    x: &[T],
    weight: Option<&[T]>,
    statistics: BatchStatistics<&[f32]>,
    g: &[T],
    gradient: BatchNormGradient<'_, T>,
) -> Result<()> {
    (T::kernels().batch_norm_gradient)(x, weight, statistics, g, gradient)
}

/// [`batch_norm_gradient`], compiled in this crate.
pub(crate) fn batch_norm_gradient_instance<T: Element>(
    x: &[T],
    weight: Option<&[T]>,
    statistics: BatchStatistics<&[f32]>,
    g: &[T],
    gradient: BatchNormGradient<'_, T>,
) -> Result<()> {
    let channels = statistics.mean.len();
    check_gradient(x, weight, &statistics, g, &gradient)?;
    let repeat = |vector: &[f32]| repeated(vector, x.len());
    let (mean, rest) = (repeat(statistics.mean), repeat(statistics.rest));
    let width = mean.len();
    let totals = pair_totals(channels, (g, x), |g, x, sums| {
        simd::dispatch(Products {
            g,
            x,
            mean: &mean,
            rest: &rest,
            sums,
        });
    });
    let (sums, products) = totals.split_at(channels);
    let rows = (x.len() / channels).max(1) as f64;
    let weights = wide(weight, channels, 1.0);
    let mut by_weight = vec![0.0; channels];
    let mut vectors = [(); 3].map(|()| vec![0.0; channels]);
    for channel in 0..channels {
        let scale = f64::from(statistics.scale[channel]);
        let factor = scale * f64::from(weights[channel]);
        by_weight[channel] = (products[channel] * scale) as f32;
        // The factors of `g` and of `x - mean`, and what is added.
        vectors[0][channel] = factor as f32;
        vectors[1][channel] = (-factor * scale * scale * products[channel] / rows) as f32;
        vectors[2][channel] = (-factor * sums[channel] / rows) as f32;
    }
    if !gradient.weight.is_empty() {
        T::store(&by_weight, gradient.weight);
    }
    if !gradient.bias.is_empty() {
        let sums: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
        T::store(&sums, gradient.bias);
    }
    let [of_g, of_x, added] = vectors.map(|vector| repeat(&vector));
    let place = Blocks::of(x.len(), width);
    let tasks = x.chunks(place.task).zip(g.chunks(place.task));
    parallel_for(
        tasks.zip(gradient.x.chunks_mut(place.task)),
        NANOSECONDS * x.len() as f64,
        || [(); 3].map(|()| vec![0.0; place.scratch::<T>()]),
        |[read_x, read_g, written], ((x, g), out)| {
            let blocks = x.chunks(place.block).zip(g.chunks(place.block));
            for ((x, g), out) in blocks.zip(out.chunks_mut(place.block)) {
                let (x, g) = (T::read(x, read_x), T::read(g, read_g));
                T::write(out, written, |out| {
                    simd::dispatch(Pull {
                        x,
                        g,
                        vectors: [&mean, &rest, &of_g, &of_x, &added],
                        width,
                        out,
                    });
                });
            }
        },
    );
    Ok(())
}

fn check_gradient<T>(
    x: &[T],
    weight: Option<&[T]>,
    statistics: &BatchStatistics<&[f32]>,
    g: &[T],
    gradient: &BatchNormGradient<'_, T>,
) -> Result<()> {
    let channels = statistics.mean.len();
    check(x.len(), channels)?;
    length(OP, "g", x.len(), g.len())?;
    length(OP, "gradient of x", x.len(), gradient.x.len())?;
    length(OP, "weight", channels, weight.map_or(channels, <[T]>::len))?;
    length(OP, "rest", channels, statistics.rest.len())?;
    length(OP, "scale", channels, statistics.scale.len())?;
    for (what, got) in [
        ("gradient of weight", gradient.weight.len()),
        ("gradient of bias", gradient.bias.len()),
    ] {
        if got > 0 {
            length(OP, what, channels, got)?;
        }
    }
    Ok(())
}

/// Adds gradients, and their products with the distance to the mean, to the sums of their channels.
struct Products<'a> {
    g: &'a [f32],
    x: &'a [f32],
    mean: &'a [f32],
    rest: &'a [f32],
    sums: &'a mut [f64],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let width = self.mean.len();
        let (sums, products) = self.sums.split_at_mut(width);
        let places = sums
            .chunks_exact_mut(LANES)
            .zip(products.chunks_exact_mut(LANES));
        for (number, (sums, products)) in places.enumerate() {
            let (mean, rest) = (
                lanes(self.mean, LANES * number),
                lanes(self.rest, LANES * number),
            );
            let (mut sum, mut product) = ([0.0; LANES], [0.0; LANES]);
            for at in rows(self.x.len(), width, LANES * number) {
                let (g, x) = (lanes(self.g, at), lanes(self.x, at));
                for lane in 0..LANES {
                    let distance = (x[lane] - mean[lane]) - rest[lane];
                    let g = f64::from(g[lane]);
                    sum[lane] += g;
                    product[lane] += g * f64::from(distance);
                }
            }
            for lane in 0..LANES {
                sums[lane] += sum[lane];
                products[lane] += product[lane];
            }
        }
        for (at, channel) in others(self.x.len(), width) {
            let g = f64::from(self.g[at]);
            let distance = (self.x[at] - self.mean[channel]) - self.rest[channel];
            sums[channel] += g;
            products[channel] += g * f64::from(distance);
        }
    }
}

/// Writes the gradients of elements.
struct Pull<'a> {
    x: &'a [f32],
    g: &'a [f32],
    /// Mean, what it lost, the factors of the gradient and of the distance to the mean, and what is added.
    vectors: [&'a [f32]; 5],
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for Pull<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for column in (0..self.width).step_by(LANES) {
            let [mean, rest, of_g, of_x, added] = self.vectors.map(|vector| lanes(vector, column));
            for at in rows(self.x.len(), self.width, column) {
                let (x, g) = (lanes(self.x, at), lanes(self.g, at));
                let out = &mut self.out[at..][..LANES];
                for lane in 0..LANES {
                    let distance = (x[lane] - mean[lane]) - rest[lane];
                    out[lane] = of_g[lane] * g[lane] + (of_x[lane] * distance + added[lane]);
                }
            }
        }
        let [mean, rest, of_g, of_x, added] = self.vectors;
        for (at, c) in others(self.x.len(), self.width) {
            let distance = (self.x[at] - mean[c]) - rest[c];
            self.out[at] = of_g[c] * self.g[at] + (of_x[c] * distance + added[c]);
        }
    }
}
