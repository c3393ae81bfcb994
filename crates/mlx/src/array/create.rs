//! Arrays from Rust data.

use std::any::Any;

use super::Array;
use crate::error::WithOp;
use crate::ffi::data;
use crate::shape::{Shape, element_count};
use crate::{Dtype, Element, Error, Result};

impl Array {
    /// Returns an array with a copy of `data` in row-major order, in the dtype of its Rust type, also `float64`.
    ///
    /// # Errors
    /// When `data` has another number of elements than `shape`.
    ///
    /// ```
    /// # fn main() -> mlx::Result<()> {
    /// let x = mlx::Array::from_slice(&[1, 2, 3, 4, 5, 6], [2, 3])?;
    /// assert_eq!(x.shape()?, [2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_slice<T: Element>(data: &[T], shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into().into_numbers();
        if let Some(dim) = shape.iter().find(|&&dim| dim < 0) {
            return Err(Error::op(
                "from_slice",
                format!("sizes must not be negative, got {dim} in {shape:?}"),
            ));
        }
        if element_count(&shape) != Some(data.len()) {
            let message = format!(
                "shape {shape:?} does not have the {} elements given",
                data.len()
            );
            return Err(Error::op("from_slice", message));
        }
        data::from_slice(data, &shape)
            .map(Self::from_handle)
            .with_op("from_slice")
    }

    /// Returns a scalar array of this element's own dtype, an `f64` as `float32` (not weak: see
    /// [`Scalar`](crate::Scalar)).
    #[track_caller]
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::of_elements(&[value], ())
    }

    /// Returns an array of elements, `f64` as `float32`, which a bare decimal is in Python MLX.
    #[track_caller]
    fn of_elements<T: Element>(elements: &[T], shape: impl Into<Shape>) -> Self {
        Self::from_result(match singles(elements) {
            Some(singles) => Self::from_slice(&singles, shape),
            None => Self::from_slice(elements, shape),
        })
    }
}

/// Returns elements of type `f64` rounded to `f32`; nothing for those of other types.
fn singles<T: Element>(elements: &[T]) -> Option<Vec<f32>> {
    if T::DTYPE != Dtype::Float64 {
        return None;
    }
    let elements: Box<dyn Any> = Box::new(elements.to_vec());
    let doubles = elements.downcast::<Vec<f64>>().ok()?;
    #[allow(clippy::cast_possible_truncation)]
    Some(doubles.iter().map(|&double| double as f32).collect())
}

/// Returns an array of one axis; of `f64`, in `float32`.
impl<T: Element> From<&[T]> for Array {
    #[track_caller]
    fn from(elements: &[T]) -> Self {
        match i32::try_from(elements.len()) {
            Ok(len) => Self::of_elements(elements, len),
            Err(_) => Self::failed(Error::op(
                "array",
                format!(
                    "wanted at most {} elements, got {}",
                    i32::MAX,
                    elements.len()
                ),
            )),
        }
    }
}

/// Returns an array of one axis; of `f64`, in `float32`.
impl<T: Element> From<Vec<T>> for Array {
    #[track_caller]
    fn from(elements: Vec<T>) -> Self {
        Self::from(&elements[..])
    }
}

impl<T: Element> From<&Vec<T>> for Array {
    #[track_caller]
    fn from(elements: &Vec<T>) -> Self {
        Self::from(&elements[..])
    }
}

/// Returns an array of nested lists, as [`Array::new`] does.
impl<T: IntoArray, const N: usize> From<[T; N]> for Array {
    #[track_caller]
    fn from(nested: [T; N]) -> Self {
        Self::new(nested)
    }
}

/// Returns an array of nested lists, as [`Array::new`] does.
impl<T: IntoArray + Clone, const N: usize> From<&[T; N]> for Array {
    #[track_caller]
    fn from(nested: &[T; N]) -> Self {
        Self::new(nested)
    }
}

/// A number as an array without axes, as [`Array::scalar`] makes it; of `f64`, in `float32`.
macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl From<$number> for Array {
            #[track_caller]
            fn from(number: $number) -> Self {
                Self::scalar(number)
            }
        }
    )*};
}
numbers! { bool u8 u16 u32 u64 i8 i16 i32 i64 f32 f64 half::f16 half::bf16 crate::Complex64 }

impl Array {
    /// Returns an array of one axis: [`Array::from`] a vector.
    #[track_caller]
    pub fn from_vec<T: Element>(elements: Vec<T>) -> Array {
        Self::from(elements)
    }
}

/// A number of elements as an array without axes, `int64`.
impl From<usize> for Array {
    #[track_caller]
    fn from(number: usize) -> Self {
        #[allow(clippy::cast_possible_wrap)]
        Self::scalar(number as i64)
    }
}

/// Collects elements into an array of one axis: `(0..3).collect::<Array>()`; those of `f64`, in `float32`.
impl<T: Element> FromIterator<T> for Array {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self::from(elements.into_iter().collect::<Vec<T>>())
    }
}

/// What `array!` and friends accept: a number, or nested lists of one shape.
pub trait IntoArray {
    /// The element type.
    type Element: Element;
    /// Appends the elements in row-major order.
    fn elements(self, into: &mut Vec<Self::Element>);
    /// Returns the sizes of the nested lists that are known to the compiler.
    fn sizes() -> Vec<i32>;
    /// Returns the sizes of these nested lists.
    fn sizes_of(&self) -> Vec<i32> {
        Self::sizes()
    }
}

impl<T: Element> IntoArray for T {
    type Element = T;
    fn elements(self, into: &mut Vec<T>) {
        into.push(self);
    }
    fn sizes() -> Vec<i32> {
        Vec::new()
    }
}

impl<T: IntoArray, const N: usize> IntoArray for [T; N] {
    type Element = T::Element;
    fn elements(self, into: &mut Vec<T::Element>) {
        self.into_iter().for_each(|part| part.elements(into));
    }
    fn sizes() -> Vec<i32> {
        let mut sizes = vec![i32::try_from(N).unwrap_or(i32::MAX)];
        sizes.extend(T::sizes());
        sizes
    }
    fn sizes_of(&self) -> Vec<i32> {
        let mut sizes = vec![i32::try_from(N).unwrap_or(i32::MAX)];
        sizes.extend(self.first().map_or_else(T::sizes, T::sizes_of));
        sizes
    }
}

impl<T: IntoArray> IntoArray for Vec<T> {
    type Element = T::Element;
    fn elements(self, into: &mut Vec<T::Element>) {
        self.into_iter().for_each(|part| part.elements(into));
    }
    fn sizes() -> Vec<i32> {
        vec![0]
    }
    fn sizes_of(&self) -> Vec<i32> {
        let mut sizes = vec![i32::try_from(self.len()).unwrap_or(i32::MAX)];
        sizes.extend(self.first().map_or_else(T::sizes, T::sizes_of));
        sizes
    }
}

/// Lists behind references, which are copied.
macro_rules! borrowed {
    ($([$($param:tt)*] $list:ty;)*) => {$(
        impl<T: IntoArray + Clone $($param)*> IntoArray for $list {
            type Element = T::Element;
            fn elements(self, into: &mut Vec<T::Element>) {
                self.iter().for_each(|part| part.clone().elements(into));
            }
            fn sizes() -> Vec<i32> {
                vec![0]
            }
            fn sizes_of(&self) -> Vec<i32> {
                let mut sizes = vec![i32::try_from(self.len()).unwrap_or(i32::MAX)];
                sizes.extend(self.first().map_or_else(T::sizes, T::sizes_of));
                sizes
            }
        }
    )*};
}
borrowed! {
    [] &Vec<T>;
    [] &[T];
    [, const N: usize] &[T; N];
}

impl Array {
    /// Returns an array of nested lists: `Array::new([[1.0, 2.0], [3.0, 4.0]])`.
    ///
    /// Numbers have the dtype of their Rust type, but `f64`, which a bare decimal is, is `float32`, as in Python MLX. For
    /// `float64` there are [`new_with`](Self::new_with) and [`from_slice`](Self::from_slice).
    #[track_caller]
    pub fn new<A: IntoArray>(nested: A) -> Self {
        let (mut elements, sizes) = (Vec::new(), nested.sizes_of());
        nested.elements(&mut elements);
        Self::of_elements(&elements, sizes)
    }

    /// The name of [`Array::new`] before.
    #[doc(hidden)]
    #[track_caller]
    pub fn literal<A: IntoArray>(nested: A) -> Self {
        Self::new(nested)
    }
}
