//! The windows of a convolution as rows of a matrix product: elements that are adjacent in the input are read in place.
//!
//! Where they are too few, as in the first layer of a network or in groups, the lines that a task reads are copied once,
//! with zeros around them, and the lines of all windows are read from that copy. Matrix tiles read their rows from such a copy,
//! of which each pixel is filled with zeros to whole steps.

use pulp::Simd;
use pulp::bytemuck::Pod;

use super::shape::ConvAxis;
use crate::gemm::factors::{InPlace, KC, LeftRows, Place, Runs, SCRATCH_STRIDE};
use crate::gemm::scratch::Scratch;
use crate::simd::amx::{STEP, STRIP};

/// Inputs of fewer channels are copied, and those of groups.
const MIN_RUN: usize = 32;

/// Channels of a group from which on tiles read windows in place: with fewer, most of a step would be zeros.
const MIN_TILE_WIDTH: usize = 12;

/// Which lines are copied before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    /// Those of few channels, and of groups.
    Narrow,
    /// All that are short, for rows that are copied anyway and so need one place each.
    Short,
    /// All, for tiles that read them in place. The depth of the product is that of pixels of [`tile_width`] channels.
    ForTiles,
}

impl Copies {
    /// The longest distance of windows whose rows tiles read from a copy, with all that is between them.
    const MAX_STRIDE: usize = 8;

    /// Whether the lines of these windows can be copied: what is copied is not much more than the input.
    fn fit(self, axes: &[ConvAxis; 3]) -> bool {
        let [_, lines @ ..] = axes;
        lines.iter().all(|axis| {
            let reach = (axis.kernel - 1) * axis.kernel_dilation;
            let is_near = axis.stride <= Self::MAX_STRIDE || axis.output == 1;
            reach <= 2 * axis.input + 64 && (is_near || self != Copies::ForTiles)
        })
    }

    /// Whether tiles can read these windows in place.
    pub(super) fn are_for_tiles(axes: &[ConvAxis; 3], width: usize) -> bool {
        width >= MIN_TILE_WIDTH && Copies::ForTiles.fit(axes)
    }
}

/// The channels of a pixel, and zeros that fill its last step.
pub(super) fn tile_width(width: usize) -> usize {
    width.next_multiple_of(STEP)
}

/// The windows of one group. The input is not dilated.
pub(super) struct Windows<'a, N = f32> {
    pub(super) x: &'a [N],
    pub(super) axes: [ConvAxis; 3],
    /// Channels of the input.
    pub(super) channels: usize,
    /// Channels of the group, and the first of them.
    pub(super) width: usize,
    pub(super) first_channel: usize,
    /// Windows of the rows of the task.
    starts: Vec<Start>,
    /// Elements of a window that are adjacent in the input where nothing is outside, or in its copy.
    run: usize,
    /// Elements of a pixel of the copy.
    pixel: usize,
    copies: Copies,
    copy: Option<Copied>,
}

/// Lines of the input with zeros around them.
struct Copied {
    /// Empty before the first task.
    numbers: Scratch,
    /// The elements of all lines; behind them are some that have no meaning.
    len: usize,
    /// Where the lines of a window start, or for tiles its steps, counted from its first element.
    offsets: Vec<usize>,
}

/// Where a window starts.
#[derive(Clone, Copy)]
struct Start {
    /// The index of the input.
    batch: usize,
    /// Along each axis; outside of the input where there is padding.
    begin: [isize; 3],
    /// The index of the first element, which wraps around where that is outside; or its place in the copy.
    index: usize,
    /// Whether the whole window is inside, and whether it is along the last axis.
    is_inside: bool,
    is_line_inside: bool,
}

impl<'a, N: Pod> Windows<'a, N> {
    /// The windows of the group with these channels.
    pub(super) fn new(
        x: &'a [N],
        axes: [ConvAxis; 3],
        channels: usize,
        (first_channel, width): (usize, usize),
        copies: Copies,
    ) -> Self {
        let line = axes[2].kernel * width;
        let is_adjacent = axes[2].kernel_dilation == 1;
        let is_copied = match copies {
            Copies::Narrow => is_adjacent && line <= KC && (width < MIN_RUN || width < channels),
            Copies::Short => is_adjacent && line <= KC,
            Copies::ForTiles => true,
        } && copies.fit(&axes);
        let run = if copies == Copies::ForTiles {
            STEP
        } else if is_copied || is_adjacent && width == channels {
            line
        } else {
            width
        };
        Self {
            x,
            axes,
            channels,
            width,
            first_channel,
            starts: Vec::new(),
            run,
            pixel: if copies == Copies::ForTiles {
                tile_width(width)
            } else {
                width
            },
            copies,
            copy: is_copied.then(|| Copied {
                numbers: Scratch::new(0),
                len: 0,
                offsets: Vec::new(),
            }),
        }
    }

    fn window(&self, [i, j, k]: [usize; 3], batch: usize) -> Start {
        let axes = &self.axes;
        let begin = [axes[0].begin(i), axes[1].begin(j), axes[2].begin(k)];
        let inside = [0, 1, 2].map(|axis| axes[axis].is_inside(begin[axis]));
        let index = begin.iter().zip(axes).fold(batch, |index, (begin, axis)| {
            index
                .wrapping_mul(axis.input)
                .wrapping_add(begin.cast_unsigned())
        });
        Start {
            batch,
            begin,
            index: index
                .wrapping_mul(self.channels)
                .wrapping_add(self.first_channel),
            is_inside: inside == [true; 3],
            is_line_inside: inside[2],
        }
    }

    /// Copies the lines of all windows.
    fn copy_lines(&mut self) -> Copied {
        let [outer, second, third] = self.axes;
        let mut starts = std::mem::take(&mut self.starts);
        let is_one_plane = |a: &Start, b: &Start| a.batch == b.batch && a.begin[0] == b.begin[0];
        let ends = |windows: &[Start], axis: usize| {
            let ends = windows.first().zip(windows.last());
            ends.map_or((0, 0), |(a, b)| (a.begin[axis], b.begin[axis]))
        };
        // Each plane has the lines that the longest one needs.
        let (mut n_planes, mut n_lines, mut is_one_line) = (0, 0, true);
        for windows in starts.chunk_by(is_one_plane) {
            let (from, to) = ends(windows, 1);
            let reach = (second.kernel - 1) * second.kernel_dilation + 1;
            n_lines = n_lines.max((to - from).cast_unsigned() + reach);
            n_planes += 1;
            is_one_line &= n_planes == 1 && from == to;
        }
        // The pixels that are copied of each line, and where they start.
        let (from, to) = if is_one_line {
            ends(&starts, 2)
        } else {
            (third.begin(0), third.begin(third.output - 1))
        };
        let reach = (third.kernel - 1) * third.kernel_dilation + 1;
        let pitch = ((to - from).cast_unsigned() + reach) * self.pixel;
        let plane_len = outer.kernel * n_lines * pitch;
        let len = n_planes * plane_len;
        // Tiles read rows behind the last one.
        let past = match self.copies {
            Copies::ForTiles => STRIP * self.row_stride(),
            Copies::Narrow | Copies::Short => 0,
        };
        let mut numbers = Scratch::of::<N>(len + past);
        let planes = numbers
            .as_mut_slice_of::<N>()
            .chunks_exact_mut(plane_len)
            .take(n_planes);
        for (number, (plane, windows)) in planes.zip(starts.chunk_by_mut(is_one_plane)).enumerate()
        {
            let begin = windows[0].begin;
            for (line, out) in plane.chunks_exact_mut(pitch).enumerate() {
                let i = outer.index(begin[0], line / n_lines);
                let j = begin[1] + (line % n_lines).cast_signed();
                let j = usize::try_from(j).ok().filter(|j| *j < second.input);
                let line = i
                    .zip(j)
                    .map(|(i, j)| (windows[0].batch * outer.input + i) * second.input + j);
                self.copy_line(line, from, out);
            }
            for window in windows {
                let line = (window.begin[1] - begin[1]).cast_unsigned();
                let pixel = (window.begin[2] - from).cast_unsigned();
                window.index = number * plane_len + line * pitch + pixel * self.pixel;
            }
        }
        let lines = (0..outer.kernel).flat_map(|i| {
            let lines = 0..second.kernel;
            lines.map(move |j| (i * n_lines + j * second.kernel_dilation) * pitch)
        });
        let offsets = match self.copies {
            Copies::ForTiles => {
                let pixel = self.pixel;
                let taps = |line| {
                    let taps = 0..third.kernel;
                    taps.map(move |k| line + k * third.kernel_dilation * pixel)
                };
                let steps = |tap| (tap..tap + pixel).step_by(STEP);
                lines.flat_map(taps).flat_map(steps).collect()
            }
            Copies::Narrow | Copies::Short => lines.collect(),
        };
        self.starts = starts;
        Copied {
            numbers,
            len,
            offsets,
        }
    }

    /// How far apart neighbouring windows of a line are in the copy.
    fn row_stride(&self) -> usize {
        let third = &self.axes[2];
        self.pixel * if third.output == 1 { 1 } else { third.stride }
    }

    /// Copies pixels of a line, counted from its start, and zeros for those outside, or for all without a line.
    fn copy_line(&self, line: Option<usize>, from: isize, out: &mut [N]) {
        let input = self.axes[2].input;
        let pixels = out.len() / self.pixel;
        let first = from.max(0).cast_unsigned();
        let before = (-from).max(0).cast_unsigned().min(pixels);
        let count = input.saturating_sub(first).min(pixels - before);
        let (Some(line), 1..) = (line, count) else {
            out.fill(N::zeroed());
            return;
        };
        let (before, out) = out.split_at_mut(before * self.pixel);
        let (out, after) = out.split_at_mut(count * self.pixel);
        before.fill(N::zeroed());
        after.fill(N::zeroed());
        let x = &self.x[(line * input + first) * self.channels..][..count * self.channels];
        if self.pixel == self.channels {
            out.copy_from_slice(x);
            return;
        }
        let pixels = x.chunks_exact(self.channels);
        for (x, out) in pixels.zip(out.chunks_exact_mut(self.pixel)) {
            let (out, rest) = out.split_at_mut(self.width);
            out.copy_from_slice(&x[self.first_channel..][..self.width]);
            rest.fill(N::zeroed());
        }
    }

    /// The index of an element of a window, if it is inside.
    #[inline(always)]
    fn index(&self, start: &Start, [i, j, k]: [usize; 3]) -> Option<usize> {
        let i = self.axes[0].index(start.begin[0], i)?;
        let j = self.axes[1].index(start.begin[1], j)?;
        let k = self.axes[2].index(start.begin[2], k)?;
        let index = (start.batch * self.axes[0].input + i) * self.axes[1].input + j;
        Some((index * self.axes[2].input + k) * self.channels + self.first_channel)
    }

    /// The place in a window of one of its elements, and its channel.
    #[inline(always)]
    fn element(&self, at: usize) -> ([usize; 3], usize) {
        let (pixel, channel) = (at / self.width, at % self.width);
        let (line, k) = (pixel / self.axes[2].kernel, pixel % self.axes[2].kernel);
        let (i, j) = (line / self.axes[1].kernel, line % self.axes[1].kernel);
        ([i, j, k], channel)
    }

    /// Copies elements of a window from `at` on, and zeros for those outside.
    fn copy(&self, start: &Start, mut at: usize, mut out: &mut [N]) {
        while !out.is_empty() {
            let (place, channel) = self.element(at);
            let is_run = start.is_line_inside;
            let left = if is_run {
                self.run - at % self.run
            } else {
                self.width - channel
            };
            let count = left.min(out.len());
            let (part, rest) = std::mem::take(&mut out).split_at_mut(count);
            match self.index(start, place) {
                Some(index) => part.copy_from_slice(&self.x[index + channel..][..part.len()]),
                None => part.fill(N::zeroed()),
            }
            at += part.len();
            out = rest;
        }
    }
}

impl<N: Pod + Sync> LeftRows<N> for Windows<'_, N> {
    fn begin(&mut self, first: usize, rows: usize) {
        let sizes = self.axes.map(|axis| axis.output);
        let mut place = [0; 3];
        let mut batch = first;
        for (place, size) in place.iter_mut().zip(sizes).rev() {
            *place = batch % size;
            batch /= size;
        }
        self.starts.clear();
        self.starts.reserve_exact(rows);
        for _ in 0..rows {
            self.starts.push(self.window(place, batch));
            for axis in [2, 1, 0] {
                place[axis] += 1;
                if place[axis] < sizes[axis] {
                    break;
                }
                place[axis] = 0;
                batch += usize::from(axis == 0);
            }
        }
        if self.copy.is_some() {
            self.copy = Some(self.copy_lines());
        }
    }

    fn source(&self) -> &[N] {
        self.copy
            .as_ref()
            .map_or(self.x, |copy| copy.numbers.as_slice_of())
    }

    fn in_place(&self) -> Option<InPlace<'_, N>> {
        let copy = self.copy.as_ref()?;
        (self.copies == Copies::ForTiles).then(|| InPlace {
            numbers: copy.numbers.as_slice_of(),
            len: copy.len,
            stride: self.row_stride(),
            steps: &copy.offsets,
        })
    }

    fn count(&self, start: usize, most: usize) -> usize {
        let depth = self.axes.iter().map(|axis| axis.kernel).product::<usize>() * self.pixel;
        let (most, before) = (most.min(KC), start % self.run);
        if self.copy.is_some() && before == 0 && most >= self.run {
            (most / self.run * self.run).min(depth - start)
        } else if self.copy.is_none() && self.run < MIN_RUN {
            most.min(depth - start)
        } else {
            most.min(self.run - before)
        }
    }

    fn runs(&self, start: usize, count: usize) -> Runs<'_> {
        let before = start % self.run;
        let Some(copy) = &self.copy else {
            return Runs {
                length: count,
                skip: 0,
                offsets: &[0],
            };
        };
        let is_part = before > 0 || count < self.run;
        let n_runs = if is_part { 1 } else { count / self.run };
        Runs {
            length: if is_part { count } else { self.run },
            skip: before,
            offsets: &copy.offsets[start / self.run..][..n_runs],
        }
    }

    #[inline(always)]
    fn find<S: Simd>(
        &self,
        _: S,
        _: usize,
        (at, count): (usize, usize),
        places: &mut [Place],
        scratch: &mut [N],
    ) {
        if self.copy.is_some() {
            for (place, start) in places.iter_mut().zip(&self.starts) {
                *place = Place::Source(start.index);
            }
            return;
        }
        let is_run = at % self.run + count <= self.run;
        let ([i, j, k], channel) = self.element(at);
        let [first, second, third] = &self.axes;
        let line = i * first.kernel_dilation * second.input + j * second.kernel_dilation;
        let step = (line * third.input + k * third.kernel_dilation) * self.channels + channel;
        for (row, (place, start)) in places.iter_mut().zip(&self.starts).enumerate() {
            if is_run && start.is_inside {
                *place = Place::Source(start.index + step);
                continue;
            }
            let is_one_pixel = self.run == self.width;
            if is_run && (start.is_line_inside || is_one_pixel) {
                *place = match self.index(start, [i, j, k]) {
                    Some(index) => Place::Source(index + channel),
                    None => Place::Zeros,
                };
                continue;
            }
            *place = Place::Scratch(row * SCRATCH_STRIDE);
            self.copy(start, at, &mut scratch[row * SCRATCH_STRIDE..][..count]);
        }
    }
}
