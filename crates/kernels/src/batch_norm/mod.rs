//! Normalization of each channel over all rows of a batch, and its gradient.
//!
//! Formula: `y[r, c] = (x[r, c] - mean[c]) * rsqrt(variance[c] + eps) * weight[c] + bias[c]`, mean and variance being those of
//! the channel over all rows.
//! Blocking: a pass for sums and one for results; a task has some rows, of which blocks of 16 KiB are read, a register of
//! channels after the other with its numbers in registers. Channels that do not fill registers are taken with those of the
//! next rows.
//! Limit: memory, twice `x` and once `y`; for the gradient twice `x` and `dy` and once `dx`. Error: sums are `f64` and the mean
//! is kept in two numbers, so that means far from 0 lose nothing; `2^-22` of the terms of `y`.

mod channels;
mod gradient;

use pulp::{Simd, WithSimd};

use crate::element::Element;
use crate::error::{Error, Result, length};
use crate::parallel::parallel_for;
use crate::simd;
use channels::{Blocks, LANES, lanes, others, repeated, rows, totals, wide};

pub(crate) use gradient::batch_norm_gradient_instance;
pub use gradient::{BatchNormGradient, batch_norm_gradient};

const OP: &str = "batch_norm";
/// Nanoseconds for an element of a pass on one thread.
const NANOSECONDS: f64 = 0.4;

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
/// When there are no channels, or a length does not match them.
pub fn batch_norm<T: Element>(
    x: &[T],
    affine: Affine<'_, T>,
    eps: f32,
    out: &mut [T],
    statistics: BatchStatistics<&mut [f32]>,
) -> Result<()> {
    (T::kernels().batch_norm)(x, affine, eps, out, statistics)
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
