//! The sizes of a convolution over up to three axes, and which element of the input a window reads.

use crate::error::{Error, Result, length};
use crate::spatial::{check_axes, check_positive, elements, three_axes};

/// The name of the kernel in errors.
pub(super) const OP: &str = "conv";

/// One spatial axis of a convolution.
///
/// Element `k` of the window of output `o` is at `o * stride + k * kernel_dilation - padding` of the input with
/// `input_dilation - 1` zeros between neighbours. All that is outside is 0, so that padding at the end needs no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvAxis {
    /// The size of the input.
    pub input: usize,
    /// The number of elements of a window.
    pub kernel: usize,
    /// The size of the output.
    pub output: usize,
    /// The distance between the starts of windows.
    pub stride: usize,
    /// Zeros in front of the input.
    pub padding: usize,
    /// The distance between the elements of a window.
    pub kernel_dilation: usize,
    /// The distance between neighbours of the input, with zeros between them.
    pub input_dilation: usize,
}

impl ConvAxis {
    /// An axis with one element, which changes nothing.
    const ONE: Self = Self {
        input: 1,
        kernel: 1,
        output: 1,
        stride: 1,
        padding: 0,
        kernel_dilation: 1,
        input_dilation: 1,
    };

    /// Where the window of an output starts.
    #[inline(always)]
    pub(super) fn begin(&self, output: usize) -> isize {
        (output * self.stride).cast_signed() - self.padding.cast_signed()
    }

    /// The index of element `k` of a window that starts at `begin`, if it is one of the input.
    #[inline(always)]
    pub(super) fn index(&self, begin: isize, k: usize) -> Option<usize> {
        let at = begin + (k * self.kernel_dilation).cast_signed();
        let at = usize::try_from(at).ok()?;
        let index = if self.input_dilation == 1 {
            at
        } else if at.is_multiple_of(self.input_dilation) {
            at / self.input_dilation
        } else {
            return None;
        };
        (index < self.input).then_some(index)
    }

    /// The elements of the input that the windows of `count` outputs from `first` on reach over: the first, and how many.
    pub(super) fn reached(&self, first: usize, count: usize) -> (usize, usize) {
        let reach = ((self.kernel - 1) * self.kernel_dilation).cast_signed();
        let end = self.begin(first + count - 1) + reach + 1;
        let [from, to] = [self.begin(first), end].map(|at| {
            let index = at.max(0).cast_unsigned().div_ceil(self.input_dilation);
            index.min(self.input)
        });
        (from, to.saturating_sub(from))
    }

    /// Whether all elements of a window that starts there are inside of an input that is not dilated.
    #[inline(always)]
    pub(super) fn is_inside(&self, begin: isize) -> bool {
        let end = begin + ((self.kernel - 1) * self.kernel_dilation).cast_signed();
        self.input_dilation == 1 && begin >= 0 && end < self.input.cast_signed()
    }
}

/// The sizes of a convolution over up to three axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv<'a> {
    /// The number of inputs.
    pub batch: usize,
    /// The spatial axes, one to three.
    pub axes: &'a [ConvAxis],
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Groups into which the channels of input and output are split.
    pub groups: usize,
    /// Whether the kernel is flipped along all spatial axes.
    pub flip: bool,
}

impl Conv<'_> {
    /// The axes, with axes of one element before them if there are fewer than three.
    pub(super) fn three_axes(&self) -> [ConvAxis; 3] {
        three_axes(self.axes, ConvAxis::ONE)
    }

    /// Elements of a window for one output channel.
    pub(super) fn depth(&self) -> usize {
        let window: usize = self.axes.iter().map(|axis| axis.kernel).product();
        window * (self.channels / self.groups)
    }

    /// Refuses sizes that are 0 or too large to count, and slices of other lengths.
    pub(super) fn check(&self, x: usize, weight: usize, out: usize) -> Result<()> {
        check_axes(OP, self.axes)?;
        if self.groups == 0
            || !self.channels.is_multiple_of(self.groups)
            || !self.outputs.is_multiple_of(self.groups)
        {
            return Err(Error::Parameter {
                op: OP,
                what: "groups",
                wanted: "a divisor of both numbers of channels",
                got: self.groups,
            });
        }
        for axis in self.axes {
            let sizes = [
                ("kernel", axis.kernel),
                ("stride", axis.stride),
                ("kernel_dilation", axis.kernel_dilation),
                ("input_dilation", axis.input_dilation),
            ];
            check_positive(OP, &sizes)?;
            // Half of the largest number leaves room for sums of two.
            let most = isize::MAX as usize / 2;
            let reaches = [
                (axis.output, axis.stride),
                (axis.kernel, axis.kernel_dilation),
                (axis.input, axis.input_dilation),
                (axis.padding, 1),
            ];
            for (count, step) in reaches {
                if count.checked_mul(step).is_none_or(|reach| reach > most) {
                    return Err(Error::TooLarge { op: OP });
                }
            }
        }
        let size = |others, of: fn(&ConvAxis) -> usize| elements(OP, others, self.axes, of);
        let inputs = size([self.batch, self.channels], |axis| axis.input)?;
        length(OP, "x", inputs, x)?;
        let width = self.channels / self.groups;
        let weights = size([self.outputs, width], |axis| axis.kernel)?;
        length(OP, "weight", weights, weight)?;
        let outputs = size([self.batch, self.outputs], |axis| axis.output)?;
        length(OP, "out", outputs, out)
    }
}
