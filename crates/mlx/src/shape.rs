//! Shapes, axes and strides: what is known of an array before it is computed, and the arithmetic of its layout.

use std::fmt;

use crate::dtype::Dtype;

/// Shape and dtype of an array: all that is known without running anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ArrayType {
    /// Sizes of the axes.
    pub shape: Vec<i32>,
    /// Element type.
    pub dtype: Dtype,
}

impl ArrayType {
    /// Returns the type of arrays of this shape and dtype.
    pub fn new(shape: impl Into<Shape>, dtype: Dtype) -> Self {
        Self {
            shape: shape.into().0,
            dtype,
        }
    }

    /// Returns the number of bytes of the elements; `None` where a size is negative or that is too large to count.
    pub fn nbytes(&self) -> Option<usize> {
        element_count(&self.shape)?.checked_mul(self.dtype.size())
    }
}

impl fmt::Display for ArrayType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Sizes of axes, given as `[2, 3]`, a slice, a vector, one number, or `()` for a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(pub Vec<i32>);

/// Axes, given as `-1`, `[0, 1]`, a slice, a vector, or `()` for all of them. Negative ones count from the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axes {
    /// Every axis.
    All,
    /// These axes.
    Some(Vec<i32>),
}

/// What a reduction goes over, and whether reduced axes stay with size 1: see [`keepdims`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// The axes that are reduced.
    pub axes: Axes,
    /// Whether they stay, with size 1.
    pub keepdims: bool,
}

/// Returns a reduction over `axes` that keeps them with size 1: `x.mean(keepdims(-1))`.
pub fn keepdims(axes: impl Into<Axes>) -> Reduction {
    Reduction {
        axes: axes.into(),
        keepdims: true,
    }
}

impl Axes {
    /// Returns the axes as a list, for an array of `ndim` dimensions.
    pub(crate) fn list(self, ndim: usize) -> Vec<i32> {
        match self {
            Axes::All => (0..i32::try_from(ndim).unwrap_or(i32::MAX)).collect(),
            Axes::Some(axes) => axes,
        }
    }
}

impl<T: Into<Axes>> From<T> for Reduction {
    fn from(axes: T) -> Self {
        Self {
            axes: axes.into(),
            keepdims: false,
        }
    }
}

macro_rules! number_lists {
    ($target:ident, $wrap:expr) => {
        impl From<i32> for $target {
            fn from(one: i32) -> Self {
                $wrap(vec![one])
            }
        }
        impl<const N: usize> From<[i32; N]> for $target {
            fn from(list: [i32; N]) -> Self {
                $wrap(list.to_vec())
            }
        }
        impl<const N: usize> From<&[i32; N]> for $target {
            fn from(list: &[i32; N]) -> Self {
                $wrap(list.to_vec())
            }
        }
        impl From<&[i32]> for $target {
            fn from(list: &[i32]) -> Self {
                $wrap(list.to_vec())
            }
        }
        impl From<Vec<i32>> for $target {
            fn from(list: Vec<i32>) -> Self {
                $wrap(list)
            }
        }
        impl From<&Vec<i32>> for $target {
            fn from(list: &Vec<i32>) -> Self {
                $wrap(list.clone())
            }
        }
    };
}
number_lists!(Shape, Shape);
number_lists!(Axes, Axes::Some);

impl From<()> for Shape {
    fn from((): ()) -> Self {
        Shape(Vec::new())
    }
}

impl From<()> for Axes {
    fn from((): ()) -> Self {
        Axes::All
    }
}

/// Returns the index of an axis of an array with `ndim` axes, if there is such an axis; negative ones count from the end.
///
/// ```
/// use mlx::axis_index;
///
/// assert_eq!(axis_index(-1, 3), Some(2));
/// assert_eq!(axis_index(3, 3), None);
/// ```
#[doc(alias = "normalize_axis_index")]
pub fn axis_index(axis: i32, ndim: usize) -> Option<usize> {
    let ndim = i64::try_from(ndim).ok()?;
    let axis = i64::from(axis);
    let index = if axis < 0 { axis + ndim } else { axis };
    usize::try_from(index).ok().filter(|_| index < ndim)
}

/// Returns the number of elements of a shape; `None` where a size is negative or they are too many to count.
pub(crate) fn element_count(shape: &[i32]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |n, &size| {
        n.checked_mul(usize::try_from(size).ok()?)
    })
}

/// Returns the strides, in elements, of a shape in row-major order without gaps.
pub(crate) fn row_major_strides(shape: &[i32]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    let mut next = 1_i64;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = next;
        next = next.saturating_mul(i64::from(size));
    }
    strides
}

/// Returns whether elements with these strides are in row-major order without gaps. The stride of an axis of size 1 is
/// never used, so it may be anything.
pub(crate) fn is_row_major(shape: &[i32], strides: &[i64]) -> bool {
    let mut wanted = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == wanted;
        wanted *= i64::from(size);
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(0, 2, Some(0))]
    #[case(1, 2, Some(1))]
    #[case(-1, 2, Some(1))]
    #[case(-2, 2, Some(0))]
    #[case(2, 2, None)]
    #[case(-3, 2, None)]
    #[case(0, 0, None)]
    #[case(-1, 0, None)]
    #[case(i32::MIN, 4, None)]
    #[case(i32::MAX, 4, None)]
    fn negative_axes_count_from_the_end(
        #[case] axis: i32,
        #[case] ndim: usize,
        #[case] want: Option<usize>,
    ) {
        assert_eq!(axis_index(axis, ndim), want);
    }

    #[rstest]
    #[case(&[], &[])]
    #[case(&[2, 3, 4], &[12, 4, 1])]
    #[case(&[2, 0, 4], &[0, 4, 1])]
    fn row_major_strides_are_contiguous(#[case] shape: &[i32], #[case] want: &[i64]) {
        assert_eq!(row_major_strides(shape), want);
        assert!(is_row_major(shape, want));
    }

    #[test]
    fn only_axes_of_one_element_may_have_any_stride() {
        assert!(is_row_major(&[1, 3], &[99, 1]));
        assert!(!is_row_major(&[2, 3], &[99, 1]));
        assert!(!is_row_major(&[2, 3], &[1, 2]));
    }

    #[test]
    fn bytes_that_cannot_be_counted_are_none() {
        assert_eq!(ArrayType::new([2, 3], Dtype::Float16).nbytes(), Some(12));
        assert_eq!(ArrayType::new([-1], Dtype::Float16).nbytes(), None);
        assert_eq!(ArrayType::new([i32::MAX; 3], Dtype::Int8).nbytes(), None);
    }
}
