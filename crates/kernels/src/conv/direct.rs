//! Direct convolution for groups of few channels, depthwise ones among them.
//!
//! Blocking: a task has some lines of the output, and of each up to 224 pixels. For each register of output
//! channels, what it reads of the input is copied to a strip `[channel of the group, plane, line, pixel, lane]`: each lane
//! holds the channel that its output is made of, and zeros stand outside of the input along the last axis. Then the sums
//! of 14 neighbouring pixels stay in registers for all elements of the window, whose weights are
//! `[register, plane, line, channel, pixel, lane]`. The last pixels of a line are computed with those before them. A
//! depthwise convolution of `f32` with strides, whose channels fill registers, is read in place (`in_place.rs`).
//! Limit: loads from the L1 cache, and memory. Error: `2^-24 * depth` of `sum(|x * weight|)`, with the elements of a window
//! as depth.

use pulp::{Simd, WithSimd};

use super::in_place::InPlace;
use super::shape::{Conv, ConvAxis};
use super::strip::{Channels, Lines, Range, Strip};
use super::sums::{PIXELS, Sums};
use crate::element::Element;
use crate::gemm::scratch::Scratch;
use crate::parallel::{parallel_for, threads};
use crate::simd;

/// The most lines of a task.
const MAX_LINES: usize = 16;
/// The most pixels of a line of a task: a multiple of [`PIXELS`].
const MAX_PIXELS: usize = 224;
/// The most channels of a group that are not left to a matrix product.
const MAX_WIDTH: usize = 32;
/// Registers of channels that are copied together, if groups have one channel.
const REGISTERS: usize = 2;
/// The most numbers of a strip: 4 MiB.
const MAX_STRIP: usize = 1 << 20;
/// Nanoseconds of a multiplication with its addition on one thread.
const NANOSECONDS: f64 = 0.02;

/// Whether a convolution with groups has so few channels to a group that a matrix product would be mostly copies.
pub(super) fn applies(shape: Conv<'_>) -> bool {
    let (width, columns) = (shape.channels / shape.groups, shape.outputs / shape.groups);
    if shape.groups == 1 || !(1..=MAX_WIDTH).contains(&width) {
        return false;
    }
    columns < simd::f32_lanes() && Plan::of(shape, 1).strip_len() <= MAX_STRIP
}

/// Computes a convolution that [`applies`]; lengths are checked, and `weight` is not flipped.
pub(super) fn run<T: Element>(
    shape: Conv<'_>,
    x: &[T],
    weight: &[T],
    bias: Option<&[f32]>,
    out: &mut [T],
) {
    let mut plan = Plan::of(shape, MAX_LINES);
    if let Some(bias) = bias {
        plan.bias[..bias.len()].copy_from_slice(bias);
    }
    let weights = pack(&plan, weight);
    let line = plan.axes[2].output * shape.outputs;
    let blocks = plan.axes[2].output.div_ceil(plan.pixels);
    let mut tasks = Vec::new();
    for (plane, out) in out.chunks_exact_mut(plan.axes[1].output * line).enumerate() {
        for (part, out) in out.chunks_mut(plan.lines * line).enumerate() {
            let from = tasks.len();
            tasks.extend((0..blocks).map(|block| Task {
                plane,
                line: part * plan.lines,
                pixel: block * plan.pixels,
                out: Vec::new(),
            }));
            for out in out.chunks_exact_mut(line) {
                let pieces = out.chunks_mut(plan.pixels * shape.outputs);
                for (task, piece) in tasks[from..].iter_mut().zip(pieces) {
                    task.out.push(piece);
                }
            }
        }
    }
    let is_in_place = T::IS_F32 && InPlace::applies(&plan);
    let elements: usize = plan.axes.iter().map(|axis| axis.output).product();
    let nanoseconds = NANOSECONDS * (shape.batch * elements) as f64;
    parallel_for(
        tasks.into_iter(),
        nanoseconds * (shape.outputs * shape.depth()) as f64,
        Buffers::default,
        |buffers, task| {
            if is_in_place {
                task.run_in_place(&plan, x, &weights);
            } else {
                task.run(&plan, x, &weights, buffers);
            }
        },
    );
}

/// The sizes of a convolution, and how it is cut into tasks.
pub(super) struct Plan {
    pub(super) axes: [ConvAxis; 3],
    pub(super) outputs: usize,
    pub(super) channels: Channels,
    pub(super) lanes: usize,
    /// Registers of output channels, and how many of them are computed together.
    pub(super) registers: usize,
    pub(super) together: usize,
    /// The most lines and pixels of a task.
    pub(super) lines: usize,
    pub(super) pixels: usize,
    /// What is added to each output channel, whole registers.
    pub(super) bias: Vec<f32>,
}

impl Plan {
    fn of(shape: Conv<'_>, most_lines: usize) -> Self {
        let axes = shape.three_axes();
        let (width, lanes) = (shape.channels / shape.groups, simd::f32_lanes());
        let registers = shape.outputs.div_ceil(lanes);
        let planes = shape.batch * axes[0].output;
        let wanted = (4 * threads()).div_ceil(planes);
        let blocks = axes[2].output.div_ceil(MAX_PIXELS);
        let pixels = axes[2].output.div_ceil(blocks);
        let mut plan = Self {
            axes,
            outputs: shape.outputs,
            channels: Channels {
                all: shape.channels,
                width,
                columns: shape.outputs / shape.groups,
            },
            lanes,
            registers,
            together: if width == 1 {
                REGISTERS.min(registers)
            } else {
                1
            },
            lines: (axes[1].output / wanted).clamp(1, most_lines),
            pixels: pixels.next_multiple_of(PIXELS).min(axes[2].output),
            bias: vec![0.0; registers * lanes],
        };
        while plan.lines > 1 && plan.strip_len() > MAX_STRIP / 4 {
            plan.lines /= 2;
        }
        plan
    }

    /// The lines of the input that a number of output lines reach over, zeros between them not counted.
    fn input_lines(&self, lines: usize) -> usize {
        let axis = self.axes[1];
        let reach = (lines - 1) * axis.stride + (axis.kernel - 1) * axis.kernel_dilation;
        (reach / axis.input_dilation + 1).min(axis.input.max(1))
    }

    /// The pixels of a strip.
    fn strip_pixels(&self, pixels: usize) -> usize {
        let axis = self.axes[2];
        (pixels - 1) * axis.stride + (axis.kernel - 1) * axis.kernel_dilation + 1
    }

    /// The most numbers that are copied together.
    fn strip_len(&self) -> usize {
        [
            self.channels.width,
            self.axes[0].kernel,
            self.input_lines(self.lines),
            self.strip_pixels(self.pixels),
            self.lanes,
        ]
        .into_iter()
        .fold(self.together, usize::saturating_mul)
    }

    /// The elements of the window of one output.
    pub(super) fn depth(&self) -> usize {
        let [first, second, third] = self.axes.map(|axis| axis.kernel);
        first * second * third * self.channels.width
    }
}

/// The weights as `[register, plane, line, channel, pixel, lane]`, with zeros after the last output.
fn pack<T: Element>(plan: &Plan, weight: &[T]) -> Vec<f32> {
    let (depth, lanes, width) = (plan.depth(), plan.lanes, plan.channels.width);
    let kernel = plan.axes[2].kernel;
    let mut packed = vec![0.0; plan.registers * depth * lanes];
    let mut numbers = vec![0.0; depth];
    for (output, weight) in weight.chunks_exact(depth).enumerate() {
        let packed = &mut packed[output / lanes * depth * lanes + output % lanes..];
        let weight = T::read(weight, &mut numbers);
        for (line, weight) in weight.chunks_exact(kernel * width).enumerate() {
            for (k, weight) in weight.chunks_exact(width).enumerate() {
                for (c, number) in weight.iter().enumerate() {
                    packed[((line * width + c) * kernel + k) * lanes] = *number;
                }
            }
        }
    }
    packed
}

/// Memory that a thread uses for all of its tasks.
#[derive(Default)]
struct Buffers {
    /// Lines of half precision, converted.
    converted: Vec<f32>,
    /// Outputs of half precision before they are.
    sums: Vec<f32>,
}

/// Neighbouring lines of the output, or a piece of each of them.
struct Task<'a, T> {
    plane: usize,
    line: usize,
    pixel: usize,
    out: Vec<&'a mut [T]>,
}

impl<T: Element> Task<'_, T> {
    fn run_in_place(self, plan: &Plan, x: &[T], weights: &[f32]) {
        let rows = self.out.into_iter();
        let rows = rows.filter_map(|row| T::as_f32(&[], row).map(|(_, row)| row));
        simd::dispatch(InPlace {
            plan,
            x: T::read(x, &mut []),
            weights,
            plane: self.plane,
            line: self.line,
            pixel: self.pixel,
            out: rows.collect(),
        });
    }

    fn run(self, plan: &Plan, x: &[T], weights: &[f32], buffers: &mut Buffers) {
        let Buffers { converted, sums } = buffers;
        let pixels = self.out.first().map_or(0, |out| out.len()) / plan.outputs;
        let [outer, second, third] = plan.axes;
        let range = Range {
            axes: plan.axes,
            batch: self.plane / outer.output,
            begin: outer.begin(self.plane % outer.output),
            lines: second.reached(self.line, self.out.len()),
            first: third.begin(self.pixel),
            pixels: plan.strip_pixels(pixels),
        };
        let lines = range.lines(x, plan.channels.all, converted);
        let block = |out| Block {
            plan,
            range: &range,
            lines,
            weights,
            first_line: self.line,
            pixels,
            out,
        };
        if T::IS_F32 {
            let rows = self.out.into_iter();
            let rows = rows.filter_map(|row| T::as_f32(&[], row).map(|(_, row)| row));
            simd::dispatch(block(rows.collect()));
            return;
        }
        let line = pixels * plan.outputs;
        sums.resize(self.out.len() * line, 0.0);
        simd::dispatch(block(sums.chunks_exact_mut(line).collect()));
        for (out, sums) in self.out.into_iter().zip(sums.chunks_exact(line)) {
            T::store(sums, out);
        }
    }
}

/// A task whose input is `f32`.
struct Block<'a, 'b> {
    plan: &'a Plan,
    range: &'a Range,
    lines: Lines<'a>,
    weights: &'a [f32],
    first_line: usize,
    /// Outputs of each line.
    pixels: usize,
    out: Vec<&'b mut [f32]>,
}

impl WithSimd for Block<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let plan = self.plan;
        let mut out = std::mem::take(&mut self.out);
        let sizes = [
            plan.channels.width,
            plan.axes[0].kernel,
            self.range.lines.1,
            self.range.pixels,
        ];
        let len = sizes.iter().product::<usize>() * S::F32_LANES;
        let mut scratch = Scratch::new(len * plan.together);
        let scratch = scratch.as_mut_slice();
        let mut taps = Vec::new();
        for first in (0..plan.registers).step_by(plan.together) {
            let count = plan.together.min(plan.registers - first);
            let mut filled = 0;
            for (line, out) in out.iter_mut().enumerate() {
                // Lines are copied right before they are needed, so that they are still in the cache.
                let (from, seen) = plan.axes[1].reached(self.first_line + line, 1);
                let needed = (from + seen).saturating_sub(self.range.lines.0);
                for number in filled..needed {
                    for register in first..first + count {
                        let strip = &mut scratch[(register - first) * len..][..len];
                        self.fill_line(simd, register, number, strip);
                    }
                }
                filled = filled.max(needed);
                self.find_taps(line, &mut taps);
                for register in first..first + count {
                    let strip = &scratch[(register - first) * len..][..len];
                    let sums = self.sums::<S>(register, &taps, strip);
                    sums.all_pixels(simd, self.pixels, out);
                }
            }
        }
    }
}

impl Block<'_, '_> {
    /// For each line of the window that is inside, and each channel: where it is in a strip, and where its weights are.
    #[inline(always)]
    fn find_taps(&self, line: usize, taps: &mut Vec<(usize, usize)>) {
        let [outer, second, third] = self.plan.axes;
        let begin = second.begin(self.first_line + line);
        let (low, count) = self.range.lines;
        taps.clear();
        for i in 0..outer.kernel {
            if outer.index(self.range.begin, i).is_none() {
                continue;
            }
            for j in 0..second.kernel {
                let Some(index) = second.index(begin, j) else {
                    continue;
                };
                for c in 0..self.plan.channels.width {
                    let strip = (c * outer.kernel + i) * count + index - low;
                    let weight = (i * second.kernel + j) * self.plan.channels.width + c;
                    taps.push((strip * self.range.pixels, weight * third.kernel));
                }
            }
        }
    }

    /// Copies a line of the range for a register of channels.
    #[inline(always)]
    fn fill_line<S: Simd>(&self, simd: S, register: usize, line: usize, out: &mut [f32]) {
        let first = register * S::F32_LANES;
        let strip = Strip {
            range: self.range,
            channels: self.plan.channels,
            lanes: S::F32_LANES,
            first,
            count: S::F32_LANES.min(self.plan.outputs - first),
        };
        strip.fill_line(simd, self.lines, line, out);
    }

    /// A line of a register of channels.
    #[inline(always)]
    fn sums<'a, S: Simd>(
        &'a self,
        register: usize,
        taps: &'a [(usize, usize)],
        strip: &'a [f32],
    ) -> Sums<'a, S> {
        let plan = self.plan;
        let depth = plan.depth() * S::F32_LANES;
        let channel = register * S::F32_LANES;
        Sums {
            x: S::as_simd_f32s(strip).0,
            weights: S::as_simd_f32s(&self.weights[register * depth..][..depth]).0,
            taps,
            bias: S::as_simd_f32s(&plan.bias).0[register],
            axis: plan.axes[2],
            pixel: 1,
            outputs: plan.outputs,
            channels: (channel, S::F32_LANES.min(plan.outputs - channel)),
        }
    }
}
