//! Normalization of each channel over all rows of a batch, and its gradient.
//!
//! Formula: `y[r, c] = (x[r, c] - mean[c]) * rsqrt(variance[c] + eps) * weight[c] + bias[c]`, mean and variance being those of
//! the channel over all rows.
//! Blocking: a pass for sums and one for results; a task has some rows, of which blocks of 16 KiB are read, a register of
//! channels after the other with its numbers in registers. Channels that do not fill registers are taken with those of the
//! next rows.
//! Limit: memory, twice `x` and once `y`; for the gradient twice `x` and `dy` and once `dx`. Error: sums are `f64` and the mean
//! is kept in two numbers, so that means far from 0 lose nothing; `2^-22` of the terms of `y`.

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::error::{Error, Result, length};
use crate::parallel::{parallel_for, threads};
use crate::simd;

const OP: &str = "batch_norm";
/// As many numbers are computed together.
const LANES: usize = 16;
/// Nanoseconds for an element of a pass on one thread.
const NANOSECONDS: f64 = 0.4;
/// Elements that are converted together.
const BLOCK: usize = 4096;

/// What is known of each channel of a batch, `[channels]` each.
#[derive(Debug, Default)]
pub struct BatchStatistics<T> {
    /// The mean.
    pub mean: T,
    /// What the mean lost when it was rounded.
    pub rest: T,
    /// The variance, over the number of rows.
    pub variance: T,
    /// `rsqrt(variance + eps)`.
    pub scale: T,
}

/// The weight and the bias of each channel, where there are any.
#[derive(Debug)]
pub struct Affine<'a, T> {
    /// `[channels]`.
    pub weight: Option<&'a [T]>,
    /// `[channels]`.
    pub bias: Option<&'a [T]>,
}

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

/// Writes `x`, `[rows, channels]`, with each channel normalized to `out`, and what is known of the channels.
///
/// ```
/// use mlx_kernels::{Affine, BatchStatistics, batch_norm};
///
/// let (mut mean, mut rest, mut variance, mut scale) = ([0.0], [0.0], [0.0], [0.0]);
/// let statistics = BatchStatistics {
///     mean: &mut mean[..], rest: &mut rest, variance: &mut variance, scale: &mut scale,
/// };
/// let mut y = [0.0; 2];
/// batch_norm(&[1.0, 3.0], Affine { weight: None, bias: None }, 0.0, &mut y, statistics)?;
/// assert_eq!((y, mean, variance), ([-1.0, 1.0], [2.0], [1.0]));
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When there are no channels, or a length is not a number of rows or the number of channels.
pub fn batch_norm<T: Element>(
    x: &[T],
    affine: Affine<'_, T>,
    eps: f32,
    out: &mut [T],
    statistics: BatchStatistics<&mut [f32]>,
) -> Result<()> {
    (T::kernels().batch_norm)(x, affine, eps, out, statistics)
}

/// Writes the gradients of [`batch_norm`] for the gradient `g` of its result, of which `statistics` are those it wrote.
///
/// With `n = (x - mean) * scale` and `h = g * weight`: `dx = scale * (h - mean(h) - n * mean(h * n))`, `dw = sum(g * n)` and
/// `db = sum(g)` over rows.
///
/// # Errors
/// As for [`batch_norm`].
pub fn batch_norm_gradient<T: Element>(
    x: &[T],
    weight: Option<&[T]>,
    statistics: BatchStatistics<&[f32]>,
    g: &[T],
    gradient: BatchNormGradient<'_, T>,
) -> Result<()> {
    (T::kernels().batch_norm_gradient)(x, weight, statistics, g, gradient)
}

/// [`batch_norm`], compiled in this crate.
pub(crate) fn batch_norm_instance<T: Element>(
    x: &[T],
    affine: Affine<'_, T>,
    eps: f32,
    out: &mut [T],
    statistics: BatchStatistics<&mut [f32]>,
) -> Result<()> {
    let channels = statistics.mean.len();
    check(x.len(), channels)?;
    length(OP, "out", x.len(), out.len())?;
    let of = |vector: Option<&[T]>| vector.map_or(channels, <[T]>::len);
    length(OP, "weight", channels, of(affine.weight))?;
    length(OP, "bias", channels, of(affine.bias))?;
    length(OP, "rest", channels, statistics.rest.len())?;
    length(OP, "variance", channels, statistics.variance.len())?;
    length(OP, "scale", channels, statistics.scale.len())?;
    let totals = totals(channels, x, |x, sums| simd::dispatch(Moments { x, sums }));
    let (sums, squares) = totals.split_at(channels);
    let rows = (x.len() / channels) as f64;
    for (channel, (sum, square)) in sums.iter().zip(squares).enumerate() {
        let mean = sum / rows;
        let variance = square / rows - mean * mean;
        // Of equal numbers it may be negative; NaN stays.
        let variance = if variance < 0.0 { 0.0 } else { variance };
        statistics.mean[channel] = mean as f32;
        statistics.rest[channel] = (mean - f64::from(mean as f32)) as f32;
        statistics.variance[channel] = variance as f32;
        statistics.scale[channel] = (1.0 / (variance + f64::from(eps)).sqrt()) as f32;
    }
    let statistics = BatchStatistics {
        mean: &*statistics.mean,
        rest: statistics.rest,
        variance: statistics.variance,
        scale: statistics.scale,
    };
    let mut factors = wide(affine.weight, channels, 1.0);
    for (factor, scale) in factors.iter_mut().zip(statistics.scale) {
        *factor *= scale;
    }
    let repeat = |vector: &[f32]| repeated(vector, x.len());
    let (mean, rest, factors) = (
        repeat(statistics.mean),
        repeat(statistics.rest),
        repeat(&factors),
    );
    let bias = repeat(&wide(affine.bias, channels, 0.0));
    let (place, width) = (Blocks::of(x.len(), mean.len()), mean.len());
    parallel_for(
        x.chunks(place.task).zip(out.chunks_mut(place.task)),
        NANOSECONDS * x.len() as f64,
        || {
            [
                vec![0.0; place.scratch::<T>()],
                vec![0.0; place.scratch::<T>()],
            ]
        },
        |[read, written], (x, out)| {
            for (x, out) in x.chunks(place.block).zip(out.chunks_mut(place.block)) {
                let x = T::read(x, read);
                T::write(out, written, |out| {
                    simd::dispatch(Normalize {
                        x,
                        vectors: [&mean, &rest, &factors, &bias],
                        width,
                        out,
                    });
                });
            }
        },
    );
    Ok(())
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

fn check(elements: usize, channels: usize) -> Result<()> {
    if channels == 0 || !elements.is_multiple_of(channels) {
        return Err(Error::Parameter {
            op: OP,
            what: "the number of channels",
            wanted: "a divisor of the number of elements",
            got: channels,
        });
    }
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

/// A vector as `f32`, or the same number for all channels.
fn wide<T: Element>(vector: Option<&[T]>, channels: usize, default: f32) -> Vec<f32> {
    match vector {
        Some(vector) => crate::element::to_f32_vec(vector),
        None => vec![default; channels],
    }
}

/// A vector over channels, again and again until it fills registers.
fn repeated(vector: &[f32], elements: usize) -> Vec<f32> {
    vector.repeat(repeats(vector.len(), elements))
}

/// So often that the channels are whole registers, if there are as many rows.
fn repeats(channels: usize, elements: usize) -> usize {
    let wanted = LANES >> channels.trailing_zeros().min(LANES.trailing_zeros());
    match elements / channels >= wanted {
        true => wanted,
        false => 1,
    }
}

/// How elements are cut into tasks and blocks: whole rows of repeated channels, but for the last.
struct Blocks {
    task: usize,
    block: usize,
}

impl Blocks {
    fn of(elements: usize, width: usize) -> Self {
        let block = (BLOCK / width).max(1) * width;
        let task = elements
            .div_ceil(8 * threads())
            .max(1)
            .next_multiple_of(block);
        Self { task, block }
    }

    /// The numbers of a block that must be converted.
    fn scratch<T: Element>(&self) -> usize {
        if T::IS_F32 { 0 } else { self.block }
    }
}

/// Adds up two sums for each channel over all rows: `[2, channels]`.
fn totals<T: Element>(
    channels: usize,
    x: &[T],
    add: impl Fn(&[f32], &mut [f64]) + Sync,
) -> Vec<f64> {
    pair_totals(channels, (x, x), |x, _, sums| add(x, sums))
}

/// The same of two arrays.
fn pair_totals<T: Element>(
    channels: usize,
    (a, b): (&[T], &[T]),
    add: impl Fn(&[f32], &[f32], &mut [f64]) + Sync,
) -> Vec<f64> {
    let width = channels * repeats(channels, a.len());
    let place = Blocks::of(a.len(), width);
    let n_tasks = a.len().div_ceil(place.task);
    let mut all = vec![0.0; n_tasks * 2 * width];
    let tasks = a.chunks(place.task).zip(b.chunks(place.task));
    parallel_for(
        tasks.zip(all.chunks_exact_mut(2 * width)),
        NANOSECONDS * a.len() as f64,
        || {
            [
                vec![0.0; place.scratch::<T>()],
                vec![0.0; place.scratch::<T>()],
            ]
        },
        |[read_a, read_b], ((a, b), sums)| {
            for (a, b) in a.chunks(place.block).zip(b.chunks(place.block)) {
                add(T::read(a, read_a), T::read(b, read_b), sums);
            }
        },
    );
    let mut totals = vec![0.0; 2 * channels];
    for sums in all.chunks_exact(2 * width) {
        let (first, second) = sums.split_at(width);
        let (total, other) = totals.split_at_mut(channels);
        for (sums, total) in [(first, total), (second, other)] {
            for sums in sums.chunks_exact(channels) {
                for (total, sum) in total.iter_mut().zip(sums) {
                    *total += sum;
                }
            }
        }
    }
    totals
}

/// The numbers of a register from a place on.
#[inline(always)]
fn lanes(numbers: &[f32], at: usize) -> [f32; LANES] {
    let found = numbers.get(at..).and_then(<[f32]>::first_chunk);
    found.copied().unwrap_or_default()
}

/// Whole rows of whole registers.
#[inline(always)]
fn whole_rows(elements: usize, width: usize) -> usize {
    if width.is_multiple_of(LANES) {
        elements / width
    } else {
        0
    }
}

/// The places of one register of a row in all these rows.
#[inline(always)]
fn rows(elements: usize, width: usize, column: usize) -> impl Iterator<Item = usize> {
    (0..whole_rows(elements, width)).map(move |row| row * width + column)
}

/// The elements that are in no such rows, and the channel of each.
#[inline(always)]
fn others(elements: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = whole_rows(elements, width) * width;
    (first..elements).map(move |at| (at, (at - first) % width))
}

/// Adds elements and their squares to the sums of their channels.
struct Moments<'a> {
    x: &'a [f32],
    sums: &'a mut [f64],
}

impl WithSimd for Moments<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (sums, squares) = self.sums.split_at_mut(self.sums.len() / 2);
        let width = sums.len();
        let places = sums
            .chunks_exact_mut(LANES)
            .zip(squares.chunks_exact_mut(LANES));
        for (number, (sums, squares)) in places.enumerate() {
            let (mut sum, mut square) = ([0.0; LANES], [0.0; LANES]);
            for at in rows(self.x.len(), width, LANES * number) {
                let x = lanes(self.x, at).map(f64::from);
                for lane in 0..LANES {
                    sum[lane] += x[lane];
                    square[lane] += x[lane] * x[lane];
                }
            }
            for lane in 0..LANES {
                sums[lane] += sum[lane];
                squares[lane] += square[lane];
            }
        }
        for (at, channel) in others(self.x.len(), width) {
            let x = f64::from(self.x[at]);
            sums[channel] += x;
            squares[channel] += x * x;
        }
    }
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

/// Writes normalized elements.
struct Normalize<'a> {
    x: &'a [f32],
    /// Mean, what it lost, factor, and bias, over repeated channels.
    vectors: [&'a [f32]; 4],
    width: usize,
    out: &'a mut [f32],
}

impl WithSimd for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for column in (0..self.width).step_by(LANES) {
            let [mean, rest, factor, bias] = self.vectors.map(|vector| lanes(vector, column));
            for at in rows(self.x.len(), self.width, column) {
                let x = lanes(self.x, at);
                let out = &mut self.out[at..][..LANES];
                for lane in 0..LANES {
                    out[lane] = ((x[lane] - mean[lane]) - rest[lane]) * factor[lane] + bias[lane];
                }
            }
        }
        let [mean, rest, factor, bias] = self.vectors;
        for (at, c) in others(self.x.len(), self.width) {
            self.out[at] = ((self.x[at] - mean[c]) - rest[c]) * factor[c] + bias[c];
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
