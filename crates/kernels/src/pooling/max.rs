//! The maximum of windows.
//!
//! Formula: `y[n, o.., c] = max over k.. of x[n, o * stride + k - padding.., c]`, `x` being negative infinity outside of its
//! sizes; NaN where an element of the window is.
//! Blocking: a line of the output at a time. The lines of the input that its windows read become one, their maximum in each
//! place, in the L1 cache; then the windows along the last axis. Half precision is converted line by line.
//! Limit: reading `x`. Error: none.

use pulp::{Simd, WithSimd};

use super::shape::{Pool, PoolAxis};
use crate::element::Element;
use crate::error::Result;
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd;

const OP: &str = "max_pool";
/// Nanoseconds for an element of the input or the output on one thread.
const NANOSECONDS: f64 = 0.3;

/// Writes the maximum of windows to `out`: `x` is `[batch, input.., channels]`, `out` `[batch, output.., channels]`.
///
/// ```
/// use mlx_kernels::{Pool, PoolAxis, max_pool};
///
/// let axis = PoolAxis { input: 4, kernel: 3, output: 2, stride: 2, padding: 1 };
/// let mut out = [0.0; 2];
/// max_pool(Pool { batch: 1, axes: &[axis], channels: 1 }, &[3.0, 1.0, 2.0, -1.0], &mut out)?;
/// assert_eq!(out, [3.0, 2.0]);
/// # Ok::<(), mlx_kernels::Error>(())
/// ```
///
/// # Errors
/// When a size is 0 that must not be, or a length does not match the sizes.
pub fn max_pool<T: Element>(pool: Pool<'_>, x: &[T], out: &mut [T]) -> Result<()> {
    (T::kernels().max_pool)(pool, x, out)
}

/// [`max_pool`], compiled in this crate.
pub(crate) fn max_pool_instance<T: Element>(pool: Pool<'_>, x: &[T], out: &mut [T]) -> Result<()> {
    pool.check(OP, x.len(), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let shape = Lines::of(pool);
    let line = shape.out_line();
    let per_task = shape.lines_of_task(out.len() / line);
    let nanoseconds = NANOSECONDS * (x.len() + out.len()) as f64;
    parallel_for(
        out.chunks_mut(per_task * line).enumerate(),
        nanoseconds,
        || Scratch::new(3 * shape.line().max(line)),
        |scratch, (task, out)| {
            let lengths = (shape.line(), shape.line());
            let (column, rest) = scratch.as_mut_slice().split_at_mut(lengths.0);
            let (read, written) = rest.split_at_mut(lengths.1);
            for (number, out) in out.chunks_exact_mut(line).enumerate() {
                let number = task * per_task + number;
                T::write(out, written, |out| {
                    shape.max_line(number, x, (column, read), out);
                });
            }
        },
    );
    Ok(())
}

/// Pooling line by line.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub(super) axes: [PoolAxis; 3],
    pub(super) channels: usize,
}

impl Lines {
    pub(super) fn of(pool: Pool<'_>) -> Self {
        Self {
            axes: pool.three_axes(),
            channels: pool.channels,
        }
    }

    /// The elements of a line of the input.
    pub(super) fn line(&self) -> usize {
        self.axes[2].input * self.channels
    }

    /// The elements of a line of the output.
    pub(super) fn out_line(&self) -> usize {
        self.axes[2].output * self.channels
    }

    /// Returns how many of `lines` a task has.
    pub(super) fn lines_of_task(&self, lines: usize) -> usize {
        (lines / (8 * threads())).clamp(1, 32)
    }

    /// The batch and the places along the first two axes of a line, whose sizes are given by `of`.
    pub(super) fn place(&self, line: usize, of: fn(&PoolAxis) -> usize) -> (usize, [usize; 2]) {
        let [first, second] = [of(&self.axes[0]), of(&self.axes[1])];
        (
            line / second / first,
            [line / second % first, line % second],
        )
    }

    /// A line of the input.
    pub(super) fn input<'a, T>(&self, x: &'a [T], (batch, i, j): (usize, usize, usize)) -> &'a [T] {
        let line = (batch * self.axes[0].input + i) * self.axes[1].input + j;
        &x[line * self.line()..][..self.line()]
    }

    /// Writes a line of the output, with memory for two lines of the input.
    pub(super) fn max_line<T: Element>(
        &self,
        number: usize,
        x: &[T],
        (column, scratch): (&mut [f32], &mut [f32]),
        out: &mut [f32],
    ) {
        let (batch, [i, j]) = self.place(number, |axis| axis.output);
        let mut is_first = true;
        for i in self.axes[0].inside(i) {
            for j in self.axes[1].inside(j) {
                let x = T::read(self.input(x, (batch, i, j)), scratch);
                if std::mem::take(&mut is_first) {
                    column.copy_from_slice(x);
                } else {
                    simd::dispatch(Maximum { x, out: column });
                }
            }
        }
        if is_first {
            out.fill(f32::NEG_INFINITY);
            return;
        }
        simd::dispatch(MaxAlong {
            axis: self.axes[2],
            channels: self.channels,
            x: column,
            out,
        });
    }
}

/// The greater number, NaN if one is.
#[inline(always)]
fn max(x: f32, before: f32) -> f32 {
    if x > before || x.is_nan() { x } else { before }
}

/// Replaces numbers by greater ones.
struct Maximum<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Maximum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, &x) in self.out.iter_mut().zip(self.x) {
            *out = max(x, *out);
        }
    }
}

/// The maximum of windows along the last axis.
struct MaxAlong<'a> {
    axis: PoolAxis,
    channels: usize,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for MaxAlong<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let channels = self.channels;
        for (output, out) in self.out.chunks_exact_mut(channels).enumerate() {
            let inside = self.axis.inside(output);
            let window = &self.x[inside.start * channels..inside.end.max(inside.start) * channels];
            let mut pixels = window.chunks_exact(channels);
            match (pixels.next(), pixels.next(), pixels.next()) {
                (None, ..) => out.fill(f32::NEG_INFINITY),
                (Some(a), None, _) => out.copy_from_slice(a),
                (Some(a), Some(b), None) => {
                    for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                        *out = max(b, a);
                    }
                }
                (Some(a), Some(b), Some(c)) => {
                    for (out, (&a, (&b, &c))) in out.iter_mut().zip(a.iter().zip(b.iter().zip(c))) {
                        *out = max(c, max(b, a));
                    }
                }
            }
            for pixel in pixels {
                for (out, &x) in out.iter_mut().zip(pixel) {
                    *out = max(x, *out);
                }
            }
        }
    }
}
