//! The mean of windows, and its gradient.
//!
//! Formula: `y[n, o.., c] = sum over k.. of x[n, o * stride + k - padding.., c] / window`, `x` being 0 outside of its sizes, and
//! `window` the number of elements of a window; `dx[n, i.., c] = sum over the windows o that read i of dy[n, o.., c] / window`.
//! Blocking: both are sums of ranges along each axis, a line of the result at a time: the lines that it is made of become
//! one, their sum in each place, in the L1 cache; then the sums along the last axis. Half precision is converted line by
//! line.
//! Limit: reading `x`. Error: `2^-24` times the number of elements, of `sum(|x|) / window`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::shape::{Pool, PoolAxis};
use crate::element::Element;
use crate::error::Result;
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// Nanoseconds for an element of the input or the output on one thread.
const NANOSECONDS: f64 = 0.3;

/// Writes the mean of windows to `out`: `x` is `[batch, input.., channels]`, `out` `[batch, output.., channels]`.
///
/// Elements outside of the input are 0 and count.
///
/// ```
/// use mlx_kernels::{Pool, PoolAxis, mean_pool};
///
/// let axis = PoolAxis { input: 4, kernel: 3, output: 2, stride: 2, padding: 1 };
/// let mut out = [0.0; 2];
/// mean_pool(Pool { batch: 1, axes: &[axis], channels: 1 }, &[3.0, 0.0, 2.0, 4.0], &mut out)?;
/// assert_eq!(out, [1.0, 2.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a size is 0 that must not be, or a length does not match the sizes.
pub fn mean_pool<T: Element>(pool: Pool<'_>, x: &[T], out: &mut [T]) -> Result<()> {
    (T::kernels().mean_pool)(pool, x, out)
}

/// Writes the gradient of [`mean_pool`] to `gradient`, `[batch, input.., channels]`, of which `cotangent`,
/// `[batch, output.., channels]`, is that by its output.
///
/// # Errors
/// When a size is 0 that must not be, or a length does not match the sizes.
pub fn mean_pool_gradient<T: Element>(
    pool: Pool<'_>,
    cotangent: &[T],
    gradient: &mut [T],
) -> Result<()> {
    (T::kernels().mean_pool_gradient)(pool, cotangent, gradient)
}

/// [`mean_pool`], compiled in this crate.
pub(crate) fn mean_pool_instance<T: Element>(pool: Pool<'_>, x: &[T], out: &mut [T]) -> Result<()> {
    pool.check("mean_pool", x.len(), out.len())?;
    let axes = pool.three_axes();
    let ranges = axes.map(|axis| (0..axis.output).map(|at| axis.inside(at)).collect());
    Sums::new(pool, &ranges, axes.map(|axis| axis.input)).run(x, out);
    Ok(())
}

/// [`mean_pool_gradient`], compiled in this crate.
pub(crate) fn mean_pool_gradient_instance<T: Element>(
    pool: Pool<'_>,
    cotangent: &[T],
    gradient: &mut [T],
) -> Result<()> {
    pool.check("mean_pool_gradient", gradient.len(), cotangent.len())?;
    let axes = pool.three_axes();
    let ranges = axes.map(|axis| (0..axis.input).map(|at| axis.outputs(at)).collect());
    Sums::new(pool, &ranges, axes.map(|axis| axis.output)).run(cotangent, gradient);
    Ok(())
}

/// What each place of the result is the sum of, along each axis.
struct Sums<'a> {
    ranges: &'a [Vec<Range<usize>>; 3],
    /// The sizes of what is read.
    sizes: [usize; 3],
    channels: usize,
    /// The elements of a window.
    window: f32,
}

impl<'a> Sums<'a> {
    fn new(pool: Pool<'_>, ranges: &'a [Vec<Range<usize>>; 3], sizes: [usize; 3]) -> Self {
        let kernel = |axis: &PoolAxis| axis.kernel as f32;
        Self {
            ranges,
            sizes,
            channels: pool.channels,
            window: pool.axes.iter().map(kernel).product(),
        }
    }

    fn run<T: Element>(&self, x: &[T], out: &mut [T]) {
        if out.is_empty() {
            return;
        }
        let (from, to) = (
            self.sizes[2] * self.channels,
            self.ranges[2].len() * self.channels,
        );
        let per_task = (out.len() / to / (8 * threads())).clamp(1, 32);
        let nanoseconds = NANOSECONDS * (x.len() + out.len()) as f64;
        parallel_for(
            out.chunks_mut(per_task * to).enumerate(),
            nanoseconds,
            || Scratch::new(2 * from + to),
            |scratch, (task, out)| {
                let (column, rest) = scratch.as_mut_slice().split_at_mut(from);
                let (read, written) = rest.split_at_mut(from);
                for (number, out) in out.chunks_exact_mut(to).enumerate() {
                    T::write(out, written, |out| {
                        self.line(task * per_task + number, x, (&mut *column, &mut *read), out);
                    });
                }
            },
        );
    }

    /// Writes a line of the result, with memory for two lines of what is read.
    fn line<T: Element>(
        &self,
        number: usize,
        x: &[T],
        (column, scratch): (&mut [f32], &mut [f32]),
        out: &mut [f32],
    ) {
        let [first, second, third] = self.ranges;
        let (i, j) = (number / second.len() % first.len(), number % second.len());
        let batch = number / second.len() / first.len();
        let len = column.len();
        let line = |i: usize, j: usize| {
            let at = (batch * self.sizes[0] + i) * self.sizes[1] + j;
            &x[at * len..][..len]
        };
        let mut count = 0;
        for i in first[i].clone() {
            for j in second[j].clone() {
                let x = T::read(line(i, j), scratch);
                match count {
                    0 => column.copy_from_slice(x),
                    _ => simd::dispatch(Add { x, out: column }),
                }
                count += 1;
            }
        }
        if count == 0 {
            out.fill(0.0);
            return;
        }
        simd::dispatch(SumAlong {
            ranges: third,
            channels: self.channels,
            window: self.window,
            x: column,
            out,
        });
    }
}

/// Adds numbers.
struct Add<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, x) in self.out.iter_mut().zip(self.x) {
            *out += x;
        }
    }
}

/// The sums along the last axis, over the elements of a window.
struct SumAlong<'a> {
    ranges: &'a [Range<usize>],
    channels: usize,
    window: f32,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for SumAlong<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (channels, window) = (self.channels, self.window);
        for (range, out) in self.ranges.iter().zip(self.out.chunks_exact_mut(channels)) {
            let end = range.end.max(range.start);
            let mut pixels = self.x[range.start * channels..end * channels].chunks_exact(channels);
            match (pixels.next(), pixels.next(), pixels.next()) {
                (None, ..) => out.fill(0.0),
                (Some(a), None, _) => {
                    for (out, a) in out.iter_mut().zip(a) {
                        *out = a / window;
                    }
                }
                (Some(a), Some(b), None) => {
                    for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                        *out = (a + b) / window;
                    }
                }
                (Some(a), Some(b), Some(c)) if pixels.len() == 0 => {
                    for (out, (a, (b, c))) in out.iter_mut().zip(a.iter().zip(b.iter().zip(c))) {
                        *out = (a + b + c) / window;
                    }
                }
                (Some(a), Some(b), Some(c)) => {
                    for (out, (a, (b, c))) in out.iter_mut().zip(a.iter().zip(b.iter().zip(c))) {
                        *out = a + b + c;
                    }
                    for pixel in pixels {
                        for (out, x) in out.iter_mut().zip(pixel) {
                            *out += x;
                        }
                    }
                    out.iter_mut().for_each(|out| *out /= window);
                }
            }
        }
    }
}
