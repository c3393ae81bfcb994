//! The sizes of pooling over up to three axes, and which lines of the input the windows of a line read.

use std::ops::Range;

use crate::error::{Error, Result, length};
use crate::spatial::{check_axes, check_positive, elements, three_axes};

/// One spatial axis of pooling.
///
/// Element `k` of the window of output `o` is at `o * stride + k - padding` of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolAxis {
    /// The size of the input.
    pub input: usize,
    /// The number of elements of a window.
    pub kernel: usize,
    /// The size of the output.
    pub output: usize,
    /// The distance between the starts of windows.
    pub stride: usize,
    /// Elements in front of the input.
    pub padding: usize,
}

impl PoolAxis {
    /// An axis with one element, which changes nothing.
    const ONE: Self = Self {
        input: 1,
        kernel: 1,
        output: 1,
        stride: 1,
        padding: 0,
    };

    /// The elements of the input that the window of an output reads.
    pub(super) fn inside(&self, output: usize) -> Range<usize> {
        let begin = output * self.stride;
        let end = (begin + self.kernel).saturating_sub(self.padding);
        let begin = begin.saturating_sub(self.padding);
        begin.min(self.input)..end.min(self.input)
    }

    /// The outputs whose windows read an element of the input.
    pub(super) fn outputs(&self, input: usize) -> Range<usize> {
        let at = input + self.padding;
        let first = (at + 1).saturating_sub(self.kernel).div_ceil(self.stride);
        first..(at / self.stride + 1).min(self.output)
    }
}

/// The sizes of pooling over up to three axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<'a> {
    /// The number of inputs.
    pub batch: usize,
    /// The spatial axes, one to three.
    pub axes: &'a [PoolAxis],
    /// The number of channels.
    pub channels: usize,
}

impl Pool<'_> {
    /// The axes, with axes of one element before them if there are fewer than three.
    pub(super) fn three_axes(&self) -> [PoolAxis; 3] {
        three_axes(self.axes, PoolAxis::ONE)
    }

    /// Refuses sizes that are 0 or too large to count, and slices of other lengths.
    pub(super) fn check(&self, op: &'static str, x: usize, out: usize) -> Result<()> {
        check_axes(op, self.axes)?;
        for axis in self.axes {
            check_positive(op, &[("kernel", axis.kernel), ("stride", axis.stride)])?;
            // A quarter of the largest number leaves room for sums.
            let most = usize::MAX / 4;
            let reach = axis.output.checked_mul(axis.stride);
            let sizes = [axis.input, axis.kernel, axis.padding];
            if reach.is_none_or(|reach| reach > most) || sizes.iter().any(|&size| size > most) {
                return Err(Error::TooLarge { op });
            }
        }
        let others = [self.batch, self.channels];
        let size = |of: fn(&PoolAxis) -> usize| elements(op, others, self.axes, of);
        length(op, "x", size(|axis| axis.input)?, x)?;
        length(op, "out", size(|axis| axis.output)?, out)
    }
}
