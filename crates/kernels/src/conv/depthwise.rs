//! Depthwise convolution: each channel with a kernel of its own.
//!
//! Blocking: a task has some lines of the output, along the last spatial axis. For each register of channels, the sums of
//! eight neighbouring outputs stay in registers; weights are stored as `[kernel.., channels]`. Lines of half precision that
//! a task reads are converted once by it.
//! Limit: loads from the L1 cache, and memory. Error: `2^-24 * kernel` of `sum(|x * weight|)`.

use pulp::{Simd, WithSimd};

use super::shape::{Conv, ConvAxis};
use crate::element::Element;
use crate::parallel::parallel_for;
use crate::simd;

/// Lines of a task.
const LINES: usize = 8;
/// Outputs whose sums are in registers together.
const PIXELS: usize = 8;

/// Computes a convolution with as many groups as channels; lengths are checked, and `weight` is not flipped.
pub(super) fn run<T: Element>(shape: Conv<'_>, x: &[T], weight: &[T], out: &mut [T]) {
    let axes = shape.three_axes();
    let (channels, depth) = (shape.channels, shape.depth());
    let mut weights = vec![0.0; channels * depth];
    let mut numbers = vec![0.0; depth];
    for (channel, weight) in weight.chunks_exact(depth).enumerate() {
        let kernel = T::read(weight, &mut numbers);
        for (k, number) in kernel.iter().enumerate() {
            weights[k * channels + channel] = *number;
        }
    }
    let line = axes[2].output * channels;
    let plane = axes[1].output * line;
    let mut tasks = Vec::new();
    for (number, plane) in out.chunks_exact_mut(plane).enumerate() {
        let parts = plane.chunks_mut(LINES * line).enumerate();
        tasks.extend(parts.map(|(part, out)| (number, part * LINES, out)));
    }
    let elements: usize = axes.iter().map(|axis| axis.output).product();
    let nanoseconds = 0.02 * (shape.batch * elements * channels) as f64 * depth as f64;
    parallel_for(
        tasks.into_iter(),
        nanoseconds,
        || (Vec::new(), Vec::new()),
        |(converted, sums), (plane, first, out)| {
            let task = Task {
                axes,
                channels,
                batch: plane / axes[0].output,
                begin: axes[0].begin(plane % axes[0].output),
                weights: &weights,
            };
            task.run(x, first, out, converted, sums);
        },
    );
}

/// What the lines of a task have in common.
struct Task<'a> {
    axes: [ConvAxis; 3],
    channels: usize,
    batch: usize,
    /// Where the windows start along the first axis.
    begin: isize,
    /// `[kernel.., channels]`.
    weights: &'a [f32],
}

/// Lines of the input as `f32`.
struct Lines<'a> {
    numbers: &'a [f32],
    /// The line that `numbers` starts with, counted along the second axis, and how many there are of each plane.
    first: usize,
    count: usize,
    /// Whether there is a plane for each element of the kernel along the first axis, and not for each one of the input.
    is_copied: bool,
    /// The batch's first plane, where nothing is copied.
    plane: usize,
}

impl Task<'_> {
    fn run<T: Element>(
        &self,
        x: &[T],
        first: usize,
        out: &mut [T],
        converted: &mut Vec<f32>,
        sums: &mut Vec<f32>,
    ) {
        let line = self.axes[2].output * self.channels;
        let lines = self.lines(x, first, out.len() / line, converted);
        sums.resize(line, 0.0);
        for (number, out) in out.chunks_exact_mut(line).enumerate() {
            T::write(out, sums, |out| {
                simd::dispatch(Line {
                    task: self,
                    lines: &lines,
                    begin: self.axes[1].begin(first + number),
                    out,
                });
            });
        }
    }

    /// The lines that a number of output lines from `first` on read.
    fn lines<'a, T: Element>(
        &self,
        x: &'a [T],
        first: usize,
        count: usize,
        converted: &'a mut Vec<f32>,
    ) -> Lines<'a> {
        let [outer, axis, inner] = self.axes;
        let line = inner.input * self.channels;
        if T::IS_F32 {
            return Lines {
                numbers: T::read(x, &mut []),
                first: 0,
                count: axis.input,
                is_copied: false,
                plane: self.batch * outer.input,
            };
        }
        let reach = (axis.kernel - 1) * axis.kernel_dilation;
        let end = axis.begin(first + count - 1) + reach.cast_signed();
        let index = |at: isize| usize::try_from(at).map_or(0, |at| at / axis.input_dilation);
        let low = index(axis.begin(first)).min(axis.input);
        let high = if end < 0 {
            low
        } else {
            (index(end) + 1).min(axis.input)
        };
        let count = high.saturating_sub(low);
        converted.resize(outer.kernel * count * line, 0.0);
        if count > 0 {
            for (k, converted) in converted.chunks_exact_mut(count * line).enumerate() {
                if let Some(i) = outer.index(self.begin, k) {
                    let plane = self.batch * outer.input + i;
                    let from = &x[(plane * axis.input + low) * line..][..count * line];
                    T::read(from, converted);
                }
            }
        }
        Lines {
            numbers: converted,
            first: low,
            count,
            is_copied: true,
            plane: 0,
        }
    }
}

/// One line of the output.
struct Line<'a> {
    task: &'a Task<'a>,
    lines: &'a Lines<'a>,
    /// Where the windows start along the second axis.
    begin: isize,
    out: &'a mut [f32],
}

impl WithSimd for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let channels = self.task.channels;
        let whole = channels / S::F32_LANES * S::F32_LANES;
        for first in (0..whole).step_by(S::F32_LANES) {
            self.channels::<S, true>(simd, (first, S::F32_LANES));
        }
        if whole < channels {
            self.channels::<S, false>(simd, (whole, channels - whole));
        }
    }
}

impl Line<'_> {
    /// All outputs of a register of channels, which is full if `IS_FULL`.
    #[inline(always)]
    fn channels<S: Simd, const IS_FULL: bool>(&mut self, simd: S, channels: (usize, usize)) {
        let axis = self.task.axes[2];
        let (from, to) = inside(axis);
        for o in (0..from).chain(to..axis.output) {
            self.at_edge::<S, IS_FULL>(simd, o, channels);
        }
        let groups = (to - from) / PIXELS;
        for group in 0..groups {
            self.inside::<S, PIXELS, IS_FULL>(simd, from + group * PIXELS, channels);
        }
        for o in from + groups * PIXELS..to {
            self.inside::<S, 1, IS_FULL>(simd, o, channels);
        }
    }

    /// Where the line of the input starts that an element of the kernel along the first two axes reads.
    #[inline(always)]
    fn start_of(&self, i: usize, j: usize) -> Option<usize> {
        let Task { axes, begin, .. } = self.task;
        let lines = self.lines;
        let plane = axes[0].index(*begin, i)?;
        let line = axes[1].index(self.begin, j)? - lines.first;
        let plane = if lines.is_copied {
            i
        } else {
            lines.plane + plane
        };
        Some((plane * lines.count + line) * axes[2].input * self.task.channels)
    }

    /// Neighbouring outputs whose windows are inside along the last axis.
    #[inline(always)]
    fn inside<S: Simd, const COUNT: usize, const IS_FULL: bool>(
        &mut self,
        simd: S,
        output: usize,
        (first, width): (usize, usize),
    ) {
        let Task {
            axes,
            channels,
            weights,
            ..
        } = *self.task;
        let (step, dilation) = (
            axes[2].stride * channels,
            axes[2].kernel_dilation * channels,
        );
        let begin = axes[2].begin(output).cast_unsigned() * channels + first;
        let mut sums = [simd.splat_f32s(0.0); COUNT];
        for line in 0..axes[0].kernel * axes[1].kernel {
            let (i, j) = (line / axes[1].kernel, line % axes[1].kernel);
            let Some(start) = self.start_of(i, j) else {
                continue;
            };
            for k in 0..axes[2].kernel {
                let at = (line * axes[2].kernel + k) * channels + first;
                let weight = load::<S, IS_FULL>(simd, &weights[at..][..width]);
                let x = &self.lines.numbers[start + begin + k * dilation..];
                for (o, sum) in sums.iter_mut().enumerate() {
                    let x = load::<S, IS_FULL>(simd, &x[o * step..][..width]);
                    *sum = simd.mul_add_e_f32s(x, weight, *sum);
                }
            }
        }
        for (o, sum) in sums.into_iter().enumerate() {
            let out = &mut self.out[(output + o) * channels + first..][..width];
            store::<S, IS_FULL>(simd, out, sum);
        }
    }

    /// One output, of whose window parts may be outside.
    #[inline(always)]
    fn at_edge<S: Simd, const IS_FULL: bool>(
        &mut self,
        simd: S,
        output: usize,
        (first, width): (usize, usize),
    ) {
        let Task {
            axes,
            channels,
            weights,
            ..
        } = *self.task;
        let begin = axes[2].begin(output);
        let mut sum = simd.splat_f32s(0.0);
        for line in 0..axes[0].kernel * axes[1].kernel {
            let (i, j) = (line / axes[1].kernel, line % axes[1].kernel);
            let Some(start) = self.start_of(i, j) else {
                continue;
            };
            for k in 0..axes[2].kernel {
                let Some(index) = axes[2].index(begin, k) else {
                    continue;
                };
                let at = (line * axes[2].kernel + k) * channels + first;
                let weight = load::<S, IS_FULL>(simd, &weights[at..][..width]);
                let x = &self.lines.numbers[start + index * channels + first..][..width];
                sum = simd.mul_add_e_f32s(load::<S, IS_FULL>(simd, x), weight, sum);
            }
        }
        let out = &mut self.out[output * channels + first..][..width];
        store::<S, IS_FULL>(simd, out, sum);
    }
}

/// The first output whose window is inside along an axis, and the one after the last.
fn inside(axis: ConvAxis) -> (usize, usize) {
    let reach = (axis.kernel - 1) * axis.kernel_dilation;
    let end = (axis.input + axis.padding).checked_sub(reach);
    let (Some(end @ 1..), 1) = (end, axis.input_dilation) else {
        return (0, 0);
    };
    let from = axis.padding.div_ceil(axis.stride).min(axis.output);
    let to = ((end - 1) / axis.stride + 1).min(axis.output);
    (from, to.max(from))
}

#[inline(always)]
fn load<S: Simd, const IS_FULL: bool>(simd: S, from: &[f32]) -> S::f32s {
    if IS_FULL {
        S::as_simd_f32s(from).0[0]
    } else {
        simd.partial_load_f32s(from)
    }
}

#[inline(always)]
fn store<S: Simd, const IS_FULL: bool>(simd: S, to: &mut [f32], value: S::f32s) {
    if IS_FULL {
        S::as_mut_simd_f32s(to).0[0] = value;
    } else {
        simd.partial_store_f32s(to, value);
    }
}
