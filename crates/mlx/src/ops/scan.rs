//! ScanOptions results along one axis: sums, products and extremes of all elements so far.

use crate::op::Op;
use crate::{Array, Axes};

/// How a running result goes: along which axis, from which end, with or without the element itself.
///
/// An axis alone (`-1`, or `()` for the array read as one row) goes from the first element and includes each
/// element in its own result, as in Python MLX.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::ScanOptions;
/// let x = mlx::array!([1, 2, 3]);
/// assert_eq!(x.cumsum(0).to_vec::<i32>()?, [1, 3, 6]);
/// assert_eq!(x.cumsum(ScanOptions { reverse: true, ..ScanOptions::along(0) }).to_vec::<i32>()?, [6, 5, 3]);
/// assert_eq!(x.cumsum(ScanOptions { inclusive: false, ..ScanOptions::along(0) }).to_vec::<i32>()?, [0, 1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanOptions {
    /// The axis; [`Axes::All`] reads the array as one row.
    pub axis: Axes,
    /// Whether it goes from the last element to the first.
    pub reverse: bool,
    /// Whether an element is part of its own result.
    pub inclusive: bool,
}

impl ScanOptions {
    /// Returns the usual running result along `axis`: forwards, inclusive.
    pub fn along(axis: impl Into<Axes>) -> Self {
        Self {
            axis: axis.into(),
            reverse: false,
            inclusive: true,
        }
    }
}

impl<T: Into<Axes>> From<T> for ScanOptions {
    fn from(axis: T) -> Self {
        Self::along(axis)
    }
}

impl Array {
    /// Returns the running sum; of `bool`, in `int32`. Other integers keep their dtype and wrap.
    #[track_caller]
    pub fn cumsum(&self, running: impl Into<ScanOptions>) -> Array {
        let ScanOptions {
            axis,
            reverse,
            inclusive,
        } = running.into();
        self.along("cumsum", axis, |axis| Op::Cumsum {
            axis,
            reverse,
            inclusive,
        })
    }

    /// Returns the running product.
    #[track_caller]
    pub fn cumprod(&self, running: impl Into<ScanOptions>) -> Array {
        let ScanOptions {
            axis,
            reverse,
            inclusive,
        } = running.into();
        self.along("cumprod", axis, |axis| Op::Cumprod {
            axis,
            reverse,
            inclusive,
        })
    }

    /// Returns the greatest element so far; NaN from the first NaN on.
    #[track_caller]
    pub fn cummax(&self, running: impl Into<ScanOptions>) -> Array {
        let ScanOptions {
            axis,
            reverse,
            inclusive,
        } = running.into();
        self.along("cummax", axis, |axis| Op::Cummax {
            axis,
            reverse,
            inclusive,
        })
    }

    /// Returns the least element so far; NaN from the first NaN on.
    #[track_caller]
    pub fn cummin(&self, running: impl Into<ScanOptions>) -> Array {
        let ScanOptions {
            axis,
            reverse,
            inclusive,
        } = running.into();
        self.along("cummin", axis, |axis| Op::Cummin {
            axis,
            reverse,
            inclusive,
        })
    }

    /// Returns `log(cumsum(exp(x)))` without overflow.
    #[track_caller]
    pub fn logcumsumexp(&self, running: impl Into<ScanOptions>) -> Array {
        let ScanOptions {
            axis,
            reverse,
            inclusive,
        } = running.into();
        self.along("logcumsumexp", axis, |axis| Op::Logcumsumexp {
            axis,
            reverse,
            inclusive,
        })
    }
}
