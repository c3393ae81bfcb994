//! The part of an input that a few lines of a direct convolution read, with a lane for each output channel.

use pulp::Simd;

use super::shape::ConvAxis;
use crate::element::Element;

/// Channels and groups.
#[derive(Clone, Copy)]
pub(super) struct Channels {
    /// Channels of the input.
    pub(super) all: usize,
    /// Input and output channels of a group.
    pub(super) width: usize,
    pub(super) columns: usize,
}

/// What the outputs of a task read.
pub(super) struct Range {
    pub(super) axes: [ConvAxis; 3],
    pub(super) batch: usize,
    /// Where the windows start along the first axis.
    pub(super) begin: isize,
    /// The first line of the input, and how many there are.
    pub(super) lines: (usize, usize),
    /// Where the first window starts along the last axis, and the pixels from there to the end of the last window.
    pub(super) first: isize,
    pub(super) pixels: usize,
}

/// Lines of the input as `f32`.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    numbers: &'a [f32],
    /// Whether there are only the lines of the range, with a plane for each element of the kernel along the first axis.
    is_copied: bool,
}

impl Range {
    /// The lines that are read, converted if they are not `f32`.
    pub(super) fn lines<'a, T: Element>(
        &self,
        x: &'a [T],
        channels: usize,
        converted: &'a mut Vec<f32>,
    ) -> Lines<'a> {
        if T::IS_F32 {
            return Lines {
                numbers: T::read(x, &mut []),
                is_copied: false,
            };
        }
        let [outer, second, third] = self.axes;
        let (low, count) = self.lines;
        let line = third.input * channels;
        converted.resize(outer.kernel * count * line, 0.0);
        if !converted.is_empty() {
            for (k, converted) in converted.chunks_exact_mut(count * line).enumerate() {
                if let Some(i) = outer.index(self.begin, k) {
                    let plane = self.batch * outer.input + i;
                    let from = &x[(plane * second.input + low) * line..][..count * line];
                    T::read(from, converted);
                }
            }
        }
        Lines {
            numbers: converted,
            is_copied: true,
        }
    }

    /// Where a line starts, counted in pixels: `line` of the range, in the plane `i` for element `k` of the kernel.
    #[inline(always)]
    fn start(&self, is_copied: bool, (k, i): (usize, usize), line: usize) -> usize {
        let [outer, second, third] = self.axes;
        let line = if is_copied {
            k * self.lines.1 + line
        } else {
            (self.batch * outer.input + i) * second.input + self.lines.0 + line
        };
        line * third.input
    }

    /// The pixels of the input that are in the range: the first of them, its place in the range, and how many.
    #[inline(always)]
    fn inside(&self) -> (usize, usize, usize) {
        let axis = self.axes[2];
        let dilation = axis.input_dilation.cast_signed();
        let from = self
            .first
            .max(0)
            .cast_unsigned()
            .div_ceil(axis.input_dilation);
        let place = (from.cast_signed() * dilation - self.first).cast_unsigned();
        let left = self
            .pixels
            .saturating_sub(place)
            .div_ceil(axis.input_dilation);
        match left.min(axis.input.saturating_sub(from)) {
            0 => (0, self.pixels, 0),
            count => (from, place, count),
        }
    }
}

/// A register of output channels.
pub(super) struct Strip<'a> {
    pub(super) range: &'a Range,
    pub(super) channels: Channels,
    pub(super) lanes: usize,
    /// The first output channel, and how many.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Strip<'_> {
    /// Writes a line of `[channel of the group, plane, line, pixel, lane]`; planes that are outside are left as they are.
    #[inline(always)]
    pub(super) fn fill_line<S: Simd>(
        &self,
        simd: S,
        lines: Lines<'_>,
        number: usize,
        out: &mut [f32],
    ) {
        let range = self.range;
        let [outer, _, third] = range.axes;
        let (from, place, count) = range.inside();
        let line = range.pixels * self.lanes;
        let all = self.channels.all;
        for (plane, out) in out.chunks_exact_mut(range.lines.1 * line).enumerate() {
            let (c, k) = (plane / outer.kernel, plane % outer.kernel);
            let Some(i) = outer.index(range.begin, k) else {
                continue;
            };
            let out = &mut out[number * line..][..line];
            let start = range.start(lines.is_copied, (k, i), number) + from;
            let x = &lines.numbers[start * all..][..count * all];
            let (before, out) = out.split_at_mut((place * self.lanes).min(line));
            before.fill(0.0);
            if third.input_dilation > 1 {
                out.fill(0.0);
                let places = out.chunks_mut(third.input_dilation * self.lanes);
                for (x, out) in x.chunks_exact(all).zip(places) {
                    self.pixels(simd, c, x, &mut out[..self.lanes]);
                }
                continue;
            }
            let (out, after) = out.split_at_mut(count * self.lanes);
            self.pixels(simd, c, x, out);
            after.fill(0.0);
        }
    }

    /// Copies neighbouring pixels: to each lane the channel `c` of its group.
    #[inline(always)]
    fn pixels<S: Simd>(&self, simd: S, c: usize, x: &[f32], out: &mut [f32]) {
        let Channels { width, columns, .. } = self.channels;
        let first = self.first / columns * width + c;
        if width == 1 && columns == 1 {
            self.copy(simd, x, out);
        } else if columns.is_multiple_of(self.lanes) {
            let pixels = x.chunks_exact(self.channels.all);
            for (x, out) in pixels.zip(S::as_mut_simd_f32s(out).0) {
                *out = simd.splat_f32s(x[first]);
            }
        } else if !self.lanes.is_multiple_of(columns) {
            self.spread_any(c, x, out);
        } else {
            match columns {
                1 => self.spread::<1>(first, x, out),
                2 => self.spread::<2>(first, x, out),
                4 => self.spread::<4>(first, x, out),
                8 => self.spread::<8>(first, x, out),
                _ => self.spread_any(c, x, out),
            }
        }
    }

    /// Each lane has a channel of its own, and they are neighbours.
    #[inline(always)]
    fn copy<S: Simd>(&self, simd: S, x: &[f32], out: &mut [f32]) {
        let pixels = x.chunks_exact(self.channels.all);
        let registers = S::as_mut_simd_f32s(out).0.iter_mut();
        if self.count == self.lanes {
            for (x, out) in pixels.zip(registers) {
                *out = S::as_simd_f32s(&x[self.first..][..self.lanes]).0[0];
            }
        } else {
            for (x, out) in pixels.zip(registers) {
                *out = simd.partial_load_f32s(&x[self.first..][..self.count]);
            }
        }
    }

    /// Groups of `COLUMNS` lanes.
    #[inline(always)]
    fn spread<const COLUMNS: usize>(&self, first: usize, x: &[f32], out: &mut [f32]) {
        let (all, width) = (self.channels.all, self.channels.width);
        let groups = self.count / COLUMNS;
        let pixels = out.chunks_exact_mut(self.lanes);
        for (x, out) in x.chunks_exact(all).zip(pixels) {
            let x = &x[first..][..(groups - 1) * width + 1];
            let (out, _) = out.as_chunks_mut::<COLUMNS>();
            for (x, out) in x.iter().step_by(width).zip(out) {
                *out = [*x; COLUMNS];
            }
        }
    }

    /// Groups that may begin and end within a register.
    fn spread_any(&self, c: usize, x: &[f32], out: &mut [f32]) {
        let Channels {
            all,
            width,
            columns,
        } = self.channels;
        let pixels = out.chunks_exact_mut(self.lanes);
        for (x, out) in x.chunks_exact(all).zip(pixels) {
            for (lane, out) in out[..self.count].iter_mut().enumerate() {
                *out = x[(self.first + lane) / columns * width + c];
            }
        }
    }
}
