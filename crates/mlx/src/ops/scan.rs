//! Cumulative operations along one axis: sums, products, maxima and minima of all elements so far.

use crate::op::Op;
use crate::{Array, Axes, Dtype};

/// Options of cumulative operations: along which axis, from which end, with or without the element itself, in
/// which dtype.
///
/// An axis alone (`-1`, or `()` for the array read as one row) goes from the first element and includes each
/// element in its own result, as in Python MLX.
///
/// ```
/// # fn main() -> mlx::Result<()> {
/// use mlx::CumulativeOptions;
/// let x = mlx::array!([1, 2, 3]);
/// assert_eq!(x.cumsum(0).to_vec::<i32>()?, [1, 3, 6]);
/// assert_eq!(x.cumsum(CumulativeOptions { reverse: true, ..CumulativeOptions::along(0) }).to_vec::<i32>()?, [6, 5, 3]);
/// assert_eq!(x.cumsum(CumulativeOptions { inclusive: false, ..CumulativeOptions::along(0) }).to_vec::<i32>()?, [0, 1, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CumulativeOptions {
    /// The axis; [`Axes::All`] reads the array as one row.
    pub axis: Axes,
    /// Whether it goes from the last element to the first.
    pub reverse: bool,
    /// Whether an element is part of its own result.
    pub inclusive: bool,
    /// The dtype that elements are cast to first; their own by default, and `int32` in sums of `bool`.
    pub dtype: Option<Dtype>,
}

impl CumulativeOptions {
    /// Returns the default options along `axis`: forwards, inclusive.
    pub fn along(axis: impl Into<Axes>) -> Self {
        Self {
            axis: axis.into(),
            reverse: false,
            inclusive: true,
            dtype: None,
        }
    }
}

impl<T: Into<Axes>> From<T> for CumulativeOptions {
    fn from(axis: T) -> Self {
        Self::along(axis)
    }
}

/// The methods for cumulative operations, which have the same attributes.
macro_rules! cumulative {
    ($($(#[$doc:meta])* $method:ident = $op:ident;)*) => {
        impl Array {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(&self, options: impl Into<CumulativeOptions>) -> Array {
                let CumulativeOptions { axis, reverse, inclusive, dtype } = options.into();
                let cast = dtype.map(|dtype| self.astype(dtype));
                let elements = cast.as_ref().unwrap_or(self);
                elements.along(stringify!($method), axis, |axis| Op::$op { axis, reverse, inclusive })
            }
        )*}
    };
}

cumulative! {
    /// Returns the cumulative sum; of `bool`, in `int32`. Other integers keep their dtype and wrap.
    cumsum = Cumsum;
    /// Returns the cumulative product.
    cumprod = Cumprod;
    /// Returns the cumulative maximum; NaN from the first NaN on.
    cummax = Cummax;
    /// Returns the cumulative minimum; NaN from the first NaN on.
    cummin = Cummin;
    /// Returns `log(cumsum(exp(x)))` without overflow.
    logcumsumexp = Logcumsumexp;
}

impl Array {
    /// Returns what [`cumsum`](Self::cumsum) does.
    #[track_caller]
    pub fn cumulative_sum(&self, options: impl Into<CumulativeOptions>) -> Array {
        self.cumsum(options)
    }

    /// Returns what [`cumprod`](Self::cumprod) does.
    #[track_caller]
    pub fn cumulative_prod(&self, options: impl Into<CumulativeOptions>) -> Array {
        self.cumprod(options)
    }
}
