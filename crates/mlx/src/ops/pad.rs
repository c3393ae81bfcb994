//! Elements put around an array.

use crate::op::{Op, PadMode};
use crate::{Array, Error, Operand, bind};

/// How many elements are put before and after, along each axis.
///
/// One number is the same on all sides, a pair `(before, after)` the same for all axes, a list has a pair for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PadWidth {
    /// The same before and after, for all axes.
    All(i32, i32),
    /// Before and after, for each axis.
    Each(Vec<(i32, i32)>),
}

impl From<i32> for PadWidth {
    fn from(width: i32) -> Self {
        PadWidth::All(width, width)
    }
}

impl From<(i32, i32)> for PadWidth {
    fn from((before, after): (i32, i32)) -> Self {
        PadWidth::All(before, after)
    }
}

impl<const N: usize> From<[(i32, i32); N]> for PadWidth {
    fn from(widths: [(i32, i32); N]) -> Self {
        PadWidth::Each(widths.to_vec())
    }
}

impl From<Vec<(i32, i32)>> for PadWidth {
    fn from(widths: Vec<(i32, i32)>) -> Self {
        PadWidth::Each(widths)
    }
}

impl<const N: usize> From<&[(i32, i32); N]> for PadWidth {
    fn from(widths: &[(i32, i32); N]) -> Self {
        PadWidth::Each(widths.to_vec())
    }
}

impl From<&[(i32, i32)]> for PadWidth {
    fn from(widths: &[(i32, i32)]) -> Self {
        PadWidth::Each(widths.to_vec())
    }
}

impl From<&Vec<(i32, i32)>> for PadWidth {
    fn from(widths: &Vec<(i32, i32)>) -> Self {
        PadWidth::Each(widths.clone())
    }
}

/// Pairs in a tuple, as in Python: `((1, 1), (0, 0))`.
macro_rules! tuples {
    ($($($width:ident)*;)*) => {$(
        impl From<($(pair!($width),)*)> for PadWidth {
            fn from(($($width,)*): ($(pair!($width),)*)) -> Self {
                PadWidth::Each(vec![$($width),*])
            }
        }
    )*};
}
macro_rules! pair {
    ($width:ident) => {
        (i32, i32)
    };
}
tuples! { a; a b; a b c; a b c d; a b c d e; }

impl Array {
    /// Returns the array with zeros put around it; other elements with [`pad_with`](Self::pad_with).
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::ones((2, 3));
    /// assert_eq!(x.pad(1).shape()?, [4, 5]);
    /// assert_eq!(x.pad([(0, 0), (2, 1)]).shape()?, [2, 6]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn pad(&self, width: impl Into<PadWidth>) -> Array {
        self.pad_with(width, PadMode::Constant, 0)
    }

    /// Returns the array with elements put around it: `value` in the mode [`PadMode::Constant`], its own otherwise.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// use mlx::PadMode;
    /// let x = mlx::array!([1, 2, 3]);
    /// assert_eq!(x.pad_with(1, PadMode::Constant, 0).to_vec::<i32>()?, [0, 1, 2, 3, 0]);
    /// assert_eq!(x.pad_with((2, 0), PadMode::Reflect, 0).to_vec::<i32>()?, [3, 2, 1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn pad_with(
        &self,
        width: impl Into<PadWidth>,
        mode: PadMode,
        value: impl Into<Operand>,
    ) -> Array {
        let ndim = match self.ndim() {
            Ok(ndim) => ndim,
            Err(error) => return Array::failed(error),
        };
        let widths = match width.into() {
            PadWidth::All(before, after) => vec![(before, after); ndim],
            PadWidth::Each(widths) if widths.len() == ndim => widths,
            PadWidth::Each(widths) => {
                let text = format!(
                    "wanted a pair for each of {ndim} axes, got {}",
                    widths.len()
                );
                return Array::failed(Error::op("pad", text));
            }
        };
        let axes = (0..).take(ndim).collect();
        let (low, high) = widths.into_iter().unzip();
        bind(
            Op::Pad {
                axes,
                low,
                high,
                mode,
            },
            &[self, &value.into().beside(self)],
        )
    }
}
