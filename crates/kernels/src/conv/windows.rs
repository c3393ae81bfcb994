//! The windows of a convolution as rows of a matrix product: elements that are adjacent in the input are read in place.

use pulp::Simd;

use super::shape::ConvAxis;
use crate::gemm::factors::{KC, LeftRows, Place, SCRATCH_STRIDE};

/// Shorter runs of adjacent elements are copied together.
const MIN_RUN: usize = 32;

/// The windows of one group.
pub(super) struct Windows<'a> {
    pub(super) x: &'a [f32],
    pub(super) axes: [ConvAxis; 3],
    /// Channels of the input.
    pub(super) channels: usize,
    /// Channels of the group, and the first of them.
    pub(super) width: usize,
    pub(super) first_channel: usize,
    /// Windows of the rows of the task, and which rows those are if they are not in order.
    starts: Vec<Start>,
    order: Vec<u16>,
    /// Elements of a window that are adjacent in the input where nothing is outside.
    run: usize,
}

/// Where a window starts.
#[derive(Clone, Copy)]
struct Start {
    /// The index of the input.
    batch: usize,
    /// Along each axis; outside of the input where there is padding.
    begin: [isize; 3],
    /// The index of the first element, which wraps around where that is outside.
    index: usize,
    /// Whether the whole window is inside, and whether it is along the last axis.
    is_inside: bool,
    is_line_inside: bool,
}

impl<'a> Windows<'a> {
    pub(super) fn new(
        x: &'a [f32],
        axes: [ConvAxis; 3],
        channels: usize,
        (first_channel, width): (usize, usize),
    ) -> Self {
        let is_line =
            width == channels && axes[2].kernel_dilation == 1 && axes[2].input_dilation == 1;
        Self {
            x,
            axes,
            channels,
            width,
            first_channel,
            starts: Vec::new(),
            order: Vec::new(),
            run: if is_line {
                axes[2].kernel * width
            } else {
                width
            },
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

    /// Puts windows together that start equally far from an element of the dilated input: they read zeros together, which
    /// are left out.
    fn sort_by_phase(&mut self) {
        let phase = |start: &Start| {
            [2, 1, 0].map(|axis| {
                let dilation = self.axes[axis].input_dilation.cast_signed();
                start.begin[axis].rem_euclid(dilation)
            })
        };
        let mut order: Vec<u16> = (0..).take(self.starts.len()).collect();
        order.sort_by_key(|row| phase(&self.starts[usize::from(*row)]));
        let starts = order.iter().map(|row| self.starts[usize::from(*row)]);
        self.starts = starts.collect();
        self.order = order;
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
    fn copy(&self, start: &Start, mut at: usize, mut out: &mut [f32]) {
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
                None => part.fill(0.0),
            }
            at += part.len();
            out = rest;
        }
    }
}

impl LeftRows for Windows<'_> {
    fn begin(&mut self, first: usize, rows: usize) {
        let sizes = self.axes.map(|axis| axis.output);
        let mut place = [0; 3];
        let mut batch = first;
        for (place, size) in place.iter_mut().zip(sizes).rev() {
            *place = batch % size;
            batch /= size;
        }
        self.starts.clear();
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
        self.order.clear();
        if self.axes.iter().any(|axis| axis.input_dilation > 1) {
            self.sort_by_phase();
        }
    }

    fn order(&self) -> &[u16] {
        &self.order
    }

    fn source(&self) -> &[f32] {
        self.x
    }

    fn count(&self, start: usize) -> usize {
        let depth = self.axes.iter().map(|axis| axis.kernel).product::<usize>() * self.width;
        if self.run < MIN_RUN {
            KC.min(depth - start)
        } else {
            KC.min(self.run - start % self.run)
        }
    }

    #[inline(always)]
    fn find<S: Simd>(
        &self,
        _: S,
        _: usize,
        (at, count): (usize, usize),
        places: &mut [Place],
        scratch: &mut [f32],
    ) {
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
