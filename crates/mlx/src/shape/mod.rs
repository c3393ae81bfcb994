//! Shapes, axes and strides: what is known of an array before it is computed, and the arithmetic of its layout.

mod size;

use std::fmt;
use std::panic::Location;

use crate::dtype::Dtype;
pub use size::{Relation, Size, SizeGuard, SizeOp, SizeSource, SizeTerm};

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
            shape: shape.into().into_numbers(),
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

/// Sizes of axes, given as `[2, 3]`, `(2, 3)`, a slice, a vector, one number, or `()` for a scalar; numbers of any
/// integer type, or [`Size`]s.
#[derive(Clone, Debug)]
pub struct Shape {
    numbers: Vec<i32>,
    /// Those of the numbers that depend on axes of traced arrays, with their places.
    sizes: Vec<(usize, Size)>,
}

impl Shape {
    fn of_numbers(numbers: Vec<i32>) -> Self {
        Self {
            numbers,
            sizes: Vec::new(),
        }
    }

    fn of_sizes(sizes: Vec<Size>) -> Self {
        Self {
            numbers: sizes.iter().map(Size::number).collect(),
            sizes: (0..)
                .zip(sizes)
                .filter(|(_, size)| size.is_traced())
                .collect(),
        }
    }

    /// Returns the numbers alone: sizes of traced arrays among them count as read.
    #[track_caller]
    pub fn numbers(&self) -> &[i32] {
        for (_, size) in &self.sizes {
            size.note_read("size", Location::caller());
        }
        &self.numbers
    }

    /// Returns what [`numbers`](Self::numbers) does, as a vector.
    #[track_caller]
    pub fn into_numbers(self) -> Vec<i32> {
        self.numbers();
        self.numbers
    }

    fn at(&self, place: usize) -> Size {
        let mut sizes = self.sizes.iter();
        match sizes.find(|(known, _)| *known == place) {
            Some((_, size)) => size.clone(),
            None => Size::from(self.numbers[place]),
        }
    }

    /// Returns the numbers, and those among them that depend on axes of traced arrays, with their places.
    pub(crate) fn into_parts(self) -> (Vec<i32>, Vec<(usize, Size)>) {
        (self.numbers, self.sizes)
    }
}

/// Each pair of sizes is compared as [`Size`]s are: in a function that is traced for all sizes, what came out is a guard.
#[allow(clippy::partialeq_ne_impl)]
impl PartialEq for Shape {
    #[track_caller]
    fn ne(&self, other: &Self) -> bool {
        !self.eq(other)
    }

    #[track_caller]
    fn eq(&self, other: &Self) -> bool {
        let is_same_rank = self.numbers.len() == other.numbers.len();
        // A loop, because a closure would not pass the caller's line on.
        for place in 0..self.numbers.len() {
            if !is_same_rank || self.at(place) != other.at(place) {
                return false;
            }
        }
        is_same_rank
    }
}

impl Eq for Shape {}

/// Axes, given as `-1`, `[0, 1]`, `(0, 1)`, a slice, a vector, or `()` or `None` for all of them; numbers of any integer
/// type. Negative ones count from the end.
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

/// What [`Array::var`](crate::Array::var) and [`Array::std`](crate::Array::std) go over: as [`Reduction`], and what is
/// taken off the number of elements in the denominator, by default 0.
///
/// Axes are enough: `x.var(-1)`, `x.var(keepdims(-1))`; more with [`ddof`](Reduction::ddof).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarianceOptions {
    /// The axes, and whether they stay.
    pub over: Reduction,
    /// What is taken off the number of elements.
    pub ddof: i32,
}

impl Reduction {
    /// Returns the options of a variance over these axes with `n - ddof` in the denominator.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::array!([1.0, 2.0, 4.0]);
    /// let sample = x.var(mlx::Reduction::from(-1).ddof(1)).item::<f32>()?;
    /// assert!((sample - 7.0 / 3.0).abs() < 1e-6);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ddof(self, ddof: i32) -> VarianceOptions {
        VarianceOptions { over: self, ddof }
    }
}

impl<T: Into<Reduction>> From<T> for VarianceOptions {
    fn from(over: T) -> Self {
        over.into().ddof(0)
    }
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

/// A Rust integer that counts elements or axes: what sizes, axes and positions are given as.
///
/// Sealed: `i8` to `i64`, `u8` to `u64`, `isize` and `usize`. One that no `i32` holds becomes `i32::MIN`, which is no
/// size, no axis and no number of parts of any array, so the operation it is given to reports it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an integer that can be a size or an axis",
    label = "wanted an integer such as `3`, `-1` or `x.len()`"
)]
pub trait Integer: Copy + sealed::Sealed {
    /// Returns the number as MLX takes it.
    fn to_i32(self) -> i32;

    /// Returns the number, or the end of `i64` that is nearest to it.
    fn to_i64(self) -> i64;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($t:ty)*) => {$(
        impl sealed::Sealed for $t {}
        impl Integer for $t {
            fn to_i32(self) -> i32 {
                i32::try_from(self).unwrap_or(i32::MIN)
            }

            fn to_i64(self) -> i64 {
                i64::try_from(self).unwrap_or(i64::MAX)
            }
        }
    )*};
}
integers! { i8 i16 i32 i64 isize u8 u16 u32 u64 usize }

/// Returns a list of integers as MLX takes it.
fn list<T: Integer>(numbers: &[T]) -> Vec<i32> {
    numbers.iter().map(|number| number.to_i32()).collect()
}

macro_rules! number_lists {
    ($target:ident, $wrap:expr) => {
        impl<T: Integer> From<T> for $target {
            fn from(one: T) -> Self {
                $wrap(vec![one.to_i32()])
            }
        }
        impl<T: Integer, const N: usize> From<[T; N]> for $target {
            fn from(numbers: [T; N]) -> Self {
                $wrap(list(&numbers))
            }
        }
        impl<T: Integer, const N: usize> From<&[T; N]> for $target {
            fn from(numbers: &[T; N]) -> Self {
                $wrap(list(numbers))
            }
        }
        impl<T: Integer, const N: usize> From<&&[T; N]> for $target {
            fn from(numbers: &&[T; N]) -> Self {
                $wrap(list(*numbers))
            }
        }
        impl<T: Integer> From<&[T]> for $target {
            fn from(numbers: &[T]) -> Self {
                $wrap(list(numbers))
            }
        }
        impl<T: Integer> From<Vec<T>> for $target {
            fn from(numbers: Vec<T>) -> Self {
                $wrap(list(&numbers))
            }
        }
        impl<T: Integer> From<&Vec<T>> for $target {
            fn from(numbers: &Vec<T>) -> Self {
                $wrap(list(numbers))
            }
        }
    };
}

/// Tuples of integers, of one type or several, as Python's shapes are written: `(batch, -1)`; those of a shape may be sizes.
macro_rules! number_tuples {
    ($($(($t:ident $one:ident)),*;)*) => {$(
        impl<$($t: Integer),*> From<($($t,)*)> for Axes {
            fn from(($($one,)*): ($($t,)*)) -> Self {
                Axes::Some(vec![$($one.to_i32()),*])
            }
        }

        impl<$($t: Into<Size>),*> From<($($t,)*)> for Shape {
            fn from(($($one,)*): ($($t,)*)) -> Self {
                Shape::of_sizes(vec![$($one.into()),*])
            }
        }
    )*};
}
number_tuples! {
    (A a); (A a), (B b); (A a), (B b), (C c); (A a), (B b), (C c), (D d); (A a), (B b), (C c), (D d), (E e);
    (A a), (B b), (C c), (D d), (E e), (F f);
}

macro_rules! size_lists {
    ($([$($bound:tt)*] $list:ty;)*) => {$(
        impl<$($bound)*> From<$list> for Shape {
            fn from(sizes: $list) -> Self {
                Shape::of_sizes(sizes.to_vec())
            }
        }
    )*};
}
size_lists! {
    [const N: usize] [Size; N];
    [const N: usize] &[Size; N];
    [] &[Size];
    [] Vec<Size>;
    [] &Vec<Size>;
}

impl From<Size> for Shape {
    fn from(size: Size) -> Self {
        Shape::of_sizes(vec![size])
    }
}

impl From<&Size> for Shape {
    fn from(size: &Size) -> Self {
        Shape::of_sizes(vec![size.clone()])
    }
}
number_lists!(Shape, Shape::of_numbers);
number_lists!(Axes, Axes::Some);

/// `None` is all axes, as in Python.
impl From<Option<i32>> for Axes {
    fn from(axis: Option<i32>) -> Self {
        axis.map_or(Axes::All, |axis| Axes::Some(vec![axis]))
    }
}

impl From<()> for Shape {
    fn from((): ()) -> Self {
        Shape::of_numbers(Vec::new())
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
