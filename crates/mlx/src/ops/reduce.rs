//! One value for many: sums, means, extremes over some axes.
//!
//! Axes are `-1`, `[0, 1]` or `()` for all; [`keepdims(-1)`](crate::keepdims) leaves them with size 1.

use crate::op::Op;
use crate::shape::VarianceOptions;
use crate::{Array, Axes, Reduction, bind};

impl Array {
    /// Returns whether all elements are non-zero, over `axes`.
    #[track_caller]
    pub fn all(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::All { axes, keepdims }, &[self])
    }

    /// Returns whether any element is non-zero, over `axes`.
    #[track_caller]
    pub fn any(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Any { axes, keepdims }, &[self])
    }

    /// Returns the number of elements that are not zero, over `axes`.
    #[track_caller]
    pub fn count_nonzero(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::CountNonzero { axes, keepdims }, &[self])
    }

    /// Returns `log(sum(exp(x)))` without overflow, over `axes`.
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Logsumexp { axes, keepdims }, &[self])
    }

    /// Returns the maximum; NaN if there is one, over `axes`.
    #[track_caller]
    pub fn max(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Max { axes, keepdims }, &[self])
    }

    /// Returns the mean, over `axes`.
    #[track_caller]
    pub fn mean(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Mean { axes, keepdims }, &[self])
    }

    /// Returns the median, over `axes`.
    #[track_caller]
    pub fn median(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Median { axes, keepdims }, &[self])
    }

    /// Returns the minimum; NaN if there is one, over `axes`.
    #[track_caller]
    pub fn min(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Min { axes, keepdims }, &[self])
    }

    /// Returns the minimum and the maximum, over `axes`.
    #[track_caller]
    pub fn minmax(&self, axes: impl Into<Reduction>) -> (Array, Array) {
        let over = axes.into();
        (self.min(over.clone()), self.max(over))
    }

    /// Returns the product of the elements, over `axes`.
    #[track_caller]
    pub fn prod(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Prod { axes, keepdims }, &[self])
    }

    /// Returns the sum of the elements; `bool` and small integers give `int32`, as in Python MLX, over `axes`.
    #[track_caller]
    pub fn sum(&self, axes: impl Into<Reduction>) -> Array {
        let (axes, keepdims) = self.reduced(axes.into());
        bind(Op::Sum { axes, keepdims }, &[self])
    }

    /// Returns the standard deviation over `axes`, with `n` in the denominator, or `n - ddof`:
    /// `x.std(keepdims(-1).ddof(1))`.
    #[track_caller]
    pub fn std(&self, axes: impl Into<VarianceOptions>) -> Array {
        let VarianceOptions { over, ddof } = axes.into();
        let (axes, keepdims) = self.reduced(over);
        bind(
            Op::Std {
                axes,
                keepdims,
                ddof,
            },
            &[self],
        )
    }

    /// Returns the variance over `axes`, with `n` in the denominator, or `n - ddof`: `x.var(keepdims(-1).ddof(1))`.
    #[track_caller]
    pub fn var(&self, axes: impl Into<VarianceOptions>) -> Array {
        let VarianceOptions { over, ddof } = axes.into();
        let (axes, keepdims) = self.reduced(over);
        bind(
            Op::Var {
                axes,
                keepdims,
                ddof,
            },
            &[self],
        )
    }

    /// Returns `exp(x) / sum(exp(x))` over `axes`, without overflow.
    ///
    /// Half precision is summed in `float32` or wider and rounded once, on the CPU; on a GPU,
    /// [`softmax_precise`](Self::softmax_precise) asks for that.
    #[track_caller]
    pub fn softmax(&self, axes: impl Into<Axes>) -> Array {
        let axes = self.axes_list(axes.into());
        bind(
            Op::Softmax {
                axes,
                precise: false,
            },
            &[self],
        )
    }

    /// Returns [`softmax`](Self::softmax) computed in `float32` inside, whatever the dtype.
    #[track_caller]
    pub fn softmax_precise(&self, axes: impl Into<Axes>) -> Array {
        let axes = self.axes_list(axes.into());
        bind(
            Op::Softmax {
                axes,
                precise: true,
            },
            &[self],
        )
    }

    fn reduced(&self, reduction: Reduction) -> (Vec<i32>, bool) {
        (self.axes_list(reduction.axes), reduction.keepdims)
    }
}
