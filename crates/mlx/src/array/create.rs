//! Arrays from Rust data.

use super::Array;
use crate::error::WithOp;
use crate::ffi::data;
use crate::shape::{Shape, element_count};
use crate::{Element, Error, Result};

impl Array {
    /// Returns an array with a copy of `data` in row-major order.
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
        let shape = shape.into().0;
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

    /// Returns a scalar array of this element's own dtype (not weak: see [`Scalar`](crate::Scalar)).
    #[track_caller]
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::from_result(Self::from_slice(&[value], ()))
    }
}

/// Returns an array of one axis.
impl<T: Element> From<&[T]> for Array {
    #[track_caller]
    fn from(elements: &[T]) -> Self {
        match i32::try_from(elements.len()) {
            Ok(len) => Self::from_result(Self::from_slice(elements, len)),
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

/// Returns an array of one axis.
impl<T: Element> From<Vec<T>> for Array {
    #[track_caller]
    fn from(elements: Vec<T>) -> Self {
        Self::from(&elements[..])
    }
}

/// Collects elements into an array of one axis: `(0..3).collect::<Array>()`.
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
    /// Returns the sizes of the nested lists.
    fn sizes() -> Vec<i32>;
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
}

impl Array {
    /// Returns an array of nested lists: `Array::new([[1.0, 2.0], [3.0, 4.0]])`.
    ///
    /// Rust's numbers keep their type: write `1.0_f32` for `float32`. [`array!`](crate::array) reads bare decimals
    /// as `f32`, as Python MLX does.
    #[track_caller]
    pub fn new<A: IntoArray>(nested: A) -> Self {
        let mut elements = Vec::new();
        nested.elements(&mut elements);
        Self::from_result(Self::from_slice(&elements, A::sizes()))
    }
}

impl Array {
    /// What [`array!`](crate::array) calls: [`Array::new`] with `f64` read as `f32`, the type a bare decimal has in
    /// Python MLX.
    #[doc(hidden)]
    #[track_caller]
    pub fn literal<A: IntoArray>(nested: A) -> Self {
        let array = Self::new(nested);
        if A::Element::DTYPE != crate::Dtype::Float64 {
            return array;
        }
        let Ok(values) = array.to_vec::<f64>() else {
            return array;
        };
        #[allow(clippy::cast_possible_truncation)]
        let single: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Self::from_result(Self::from_slice(&single, A::sizes()))
    }
}
