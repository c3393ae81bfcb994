//! The gradient of the maximum of windows: elements that share a maximum share its gradient evenly, as in MLX.
//!
//! Formula: `dx[n, i.., c] = sum over the windows o that read i of (x[n, i, c] == y[n, o, c]) * dy[n, o, c] / count[n, o, c]`,
//! `y` being the maximum of a window and `count` how many of its elements equal it, those outside of `x`, which are
//! negative infinity, among them. Where the maximum is NaN nothing equals it, and the gradient is NaN.
//! Blocking: first `y` and `dy / count` line by line of the output, then `dx` line by line of the input, so that threads
//! never write the same element and sums are in one order. The numbers of a register of channels stay in registers for
//! all elements of a window, and for all windows of an element.
//! Limit: comparisons, two for each element of each window. Error: `2^-24` times the number of windows of an element, of
//! `sum(|dy / count|)`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::max::Lines;
use super::shape::Pool;
use crate::element::{Element, to_f32_vec};
use crate::error::{Result, length};
use crate::gemm::scratch::Scratch;
use crate::parallel::parallel_for;
use crate::simd;

const OP: &str = "max_pool_gradient";
/// Nanoseconds for an element of a window on one thread.
const NANOSECONDS: f64 = 0.2;

/// Writes the gradient of [`max_pool`](crate::max_pool) by `x` to `gradient`, of which `cotangent` is that by its output.
///
/// `x` and `gradient` are `[batch, input.., channels]`, `cotangent` is `[batch, output.., channels]`.
///
/// ```
/// use mlx_kernels::{Pool, PoolAxis, max_pool_gradient};
///
/// let axis = PoolAxis { input: 4, kernel: 2, output: 2, stride: 2, padding: 0 };
/// let pool = Pool { batch: 1, axes: &[axis], channels: 1 };
/// let mut gradient = [0.0; 4];
/// max_pool_gradient(pool, &[3.0, 1.0, 2.0, 2.0], &[1.0, 10.0], &mut gradient)?;
/// assert_eq!(gradient, [1.0, 0.0, 5.0, 5.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a size is 0 that must not be, or a length does not match the sizes.
pub fn max_pool_gradient<T: Element>(
    pool: Pool<'_>,
    x: &[T],
    cotangent: &[T],
    gradient: &mut [T],
) -> Result<()> {
    (T::kernels().max_pool_gradient)(pool, x, cotangent, gradient)
}

/// [`max_pool_gradient`], compiled in this crate.
pub(crate) fn max_pool_gradient_instance<T: Element>(
    pool: Pool<'_>,
    x: &[T],
    cotangent: &[T],
    gradient: &mut [T],
) -> Result<()> {
    pool.check(OP, x.len(), cotangent.len())?;
    length(OP, "gradient", x.len(), gradient.len())?;
    if gradient.is_empty() {
        return Ok(());
    }
    if cotangent.is_empty() {
        gradient.fill(T::default());
        return Ok(());
    }
    let converted = (!T::IS_F32).then(|| to_f32_vec(x));
    let x = converted.as_deref().unwrap_or_else(|| T::read(x, &mut []));
    let shape = Lines::of(pool);
    let mut maxima = Scratch::new(cotangent.len());
    let mut shares = Scratch::new(cotangent.len());
    let (line, out_line) = (shape.line(), shape.out_line());
    let along = shape.axes[2];
    let window: usize = shape.axes.iter().map(|axis| axis.kernel).product();
    let nanoseconds = NANOSECONDS * cotangent.len() as f64 * window as f64;
    let per_task = shape.lines_of_task(cotangent.len() / out_line);
    let pixels: Vec<Range<usize>> = (0..along.output).map(|at| along.inside(at)).collect();
    let tasks = maxima.as_mut_slice().chunks_mut(per_task * out_line);
    let tasks = tasks.zip(shares.as_mut_slice().chunks_mut(per_task * out_line));
    parallel_for(
        tasks.enumerate(),
        nanoseconds,
        || (Scratch::new(out_line), Vec::new()),
        |(converted, lines), (task, (maxima, shares))| {
            let all = maxima.chunks_exact_mut(out_line);
            for (number, (maxima, shares)) in all.zip(shares.chunks_exact_mut(out_line)).enumerate()
            {
                let number = task * per_task + number;
                let cotangent = &cotangent[number * out_line..][..out_line];
                shape.lines_of(number, x, lines);
                simd::dispatch(Shares {
                    channels: shape.channels,
                    pixels: &pixels,
                    window,
                    lines,
                    cotangent: T::read(cotangent, converted.as_mut_slice()),
                    maxima,
                    shares,
                });
            }
        },
    );
    let (maxima, shares) = (maxima.as_slice(), shares.as_slice());
    let per_task = shape.lines_of_task(x.len() / line);
    let windows: Vec<Range<usize>> = (0..along.input).map(|at| along.outputs(at)).collect();
    parallel_for(
        gradient.chunks_mut(per_task * line).enumerate(),
        nanoseconds,
        || (Scratch::new(line), Vec::new()),
        |(written, lines), (task, gradient)| {
            for (number, gradient) in gradient.chunks_exact_mut(line).enumerate() {
                let number = task * per_task + number;
                shape.windows_of(number, (maxima, shares), lines);
                T::write(gradient, written.as_mut_slice(), |gradient| {
                    simd::dispatch(AddShares {
                        channels: shape.channels,
                        windows: &windows,
                        lines,
                        x: &x[number * line..][..line],
                        gradient,
                    });
                });
            }
        },
    );
    Ok(())
}

impl Lines {
    /// The lines of the input that the windows of a line of the output read.
    fn lines_of<'a>(&self, number: usize, x: &'a [f32], lines: &mut Vec<&'a [f32]>) {
        let (batch, [i, j]) = self.place(number, |axis| axis.output);
        lines.clear();
        for i in self.axes[0].inside(i) {
            lines.extend(self.axes[1].inside(j).map(|j| self.input(x, (batch, i, j))));
        }
    }

    /// The maxima and shares of the lines of the output whose windows read a line of the input.
    fn windows_of<'a>(
        &self,
        number: usize,
        (maxima, shares): (&'a [f32], &'a [f32]),
        lines: &mut Vec<(&'a [f32], &'a [f32])>,
    ) {
        let (batch, [i, j]) = self.place(number, |axis| axis.input);
        lines.clear();
        for i in self.axes[0].outputs(i) {
            for j in self.axes[1].outputs(j) {
                let line = (batch * self.axes[0].output + i) * self.axes[1].output + j;
                let line = line * self.out_line()..(line + 1) * self.out_line();
                lines.push((&maxima[line.clone()], &shares[line]));
            }
        }
    }
}

/// The maxima of the windows of a line, and the cotangents over how many elements equal them.
struct Shares<'a> {
    channels: usize,
    /// The elements of a line of the input that each window reads.
    pixels: &'a [Range<usize>],
    /// The elements of a window.
    window: usize,
    lines: &'a [&'a [f32]],
    cotangent: &'a [f32],
    maxima: &'a mut [f32],
    shares: &'a mut [f32],
}

impl WithSimd for Shares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        let lowest = simd.splat_f32s(f32::NEG_INFINITY);
        for (pixel, inside) in self.pixels.iter().enumerate() {
            let outside = self.window - self.lines.len() * inside.len();
            let outside = simd.splat_f32s(outside as f32);
            for from in (0..self.channels).step_by(S::F32_LANES) {
                let count = S::F32_LANES.min(self.channels - from);
                let place = |pixel: usize| pixel * self.channels + from;
                let (mut max, mut equal) = (lowest, zero);
                for line in self.lines {
                    for pixel in inside.clone() {
                        let x = load(simd, &line[place(pixel)..][..count]);
                        let is_number = simd.equal_f32s(x, x);
                        let is_greater = simd.greater_than_f32s(x, max);
                        let is_equal = simd.equal_f32s(x, max);
                        let more = simd.select_f32s(is_equal, simd.add_f32s(equal, one), equal);
                        equal = simd.select_f32s(is_greater, one, more);
                        max = simd.select_f32s(is_greater, x, max);
                        max = simd.select_f32s(is_number, max, x);
                    }
                }
                let is_lowest = simd.equal_f32s(max, lowest);
                equal = simd.select_f32s(is_lowest, simd.add_f32s(equal, outside), equal);
                equal = simd.select_f32s(simd.equal_f32s(max, max), equal, zero);
                let at = place(pixel);
                let cotangent = load(simd, &self.cotangent[at..][..count]);
                simd.partial_store_f32s(&mut self.maxima[at..][..count], max);
                let share = simd.div_f32s(cotangent, equal);
                simd.partial_store_f32s(&mut self.shares[at..][..count], share);
            }
        }
    }
}

/// Loads as many numbers as there are, at most a register.
#[inline(always)]
fn load<S: Simd>(simd: S, x: &[f32]) -> S::f32s {
    match S::as_simd_f32s(x) {
        ([all], []) => *all,
        _ => simd.partial_load_f32s(x),
    }
}

/// Sums for each element of a line the shares of the windows whose maxima it equals.
struct AddShares<'a> {
    channels: usize,
    /// The windows along the last axis that read each element.
    windows: &'a [Range<usize>],
    /// Maxima and shares.
    lines: &'a [(&'a [f32], &'a [f32])],
    x: &'a [f32],
    gradient: &'a mut [f32],
}

impl WithSimd for AddShares<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (zero, one) = (simd.splat_f32s(0.0), simd.splat_f32s(1.0));
        for (pixel, windows) in self.windows.iter().enumerate() {
            for from in (0..self.channels).step_by(S::F32_LANES) {
                let count = S::F32_LANES.min(self.channels - from);
                let place = |pixel: usize| pixel * self.channels + from;
                let x = load(simd, &self.x[place(pixel)..][..count]);
                let mut sum = zero;
                for (maxima, shares) in self.lines {
                    for window in windows.clone() {
                        let at = place(window);
                        let maximum = load(simd, &maxima[at..][..count]);
                        let share = load(simd, &shares[at..][..count]);
                        let is_equal = simd.equal_f32s(x, maximum);
                        // A product, because a share that is infinite or NaN is one of all elements.
                        let part = simd.select_f32s(is_equal, one, zero);
                        sum = simd.mul_add_f32s(part, share, sum);
                    }
                }
                simd.partial_store_f32s(&mut self.gradient[place(pixel)..][..count], sum);
            }
        }
    }
}
