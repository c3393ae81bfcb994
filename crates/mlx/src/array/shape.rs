//! Shapes, dtypes and axes: what is known of an array before it is computed, and how axes are named.

use std::fmt;
use std::panic::Location;

use super::Array;
use crate::ffi::Handle;
use crate::{Dtype, Error, Result};

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

    pub(crate) fn of(handle: &Handle) -> Self {
        Self {
            shape: handle.shape().to_vec(),
            dtype: handle.dtype(),
        }
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

impl Array {
    /// Returns the sizes of the axes. Nothing is computed.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn shape(&self) -> Result<Vec<i32>> {
        self.note_size_read("shape", Location::caller());
        Ok(self.typed()?.shape().to_vec())
    }

    /// Returns the sizes of exactly `N` axes: `let [batch, dim] = x.dims()?;`.
    ///
    /// # Errors
    /// When the array has another number of axes, or could not be built.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> Result<[i32; N]> {
        self.note_size_read("dims", Location::caller());
        let shape = self.typed()?.shape();
        shape
            .try_into()
            .map_err(|_| Error::op("dims", format!("wanted {N} axes, got shape {shape:?}")))
    }

    /// Returns the size of one axis; negative axes count from the end.
    ///
    /// # Errors
    /// When there is no such axis, or the array could not be built.
    #[track_caller]
    pub fn dim(&self, axis: i32) -> Result<i32> {
        self.note_size_read("dim", Location::caller());
        let shape = self.typed()?.shape();
        let ndim = i32::try_from(shape.len()).unwrap_or(i32::MAX);
        let index = if axis < 0 {
            axis.checked_add(ndim)
        } else {
            Some(axis)
        };
        index
            .and_then(|index| shape.get(usize::try_from(index).ok()?))
            .copied()
            .ok_or_else(|| {
                Error::op(
                    "dim",
                    format!("wanted an axis of shape {shape:?}, got {axis}"),
                )
            })
    }

    /// Returns the element type. Nothing is computed.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn dtype(&self) -> Result<Dtype> {
        Ok(self.typed()?.dtype())
    }

    /// Returns the number of axes.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn ndim(&self) -> Result<usize> {
        Ok(self.typed()?.ndim())
    }

    /// Returns the number of elements.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn size(&self) -> Result<usize> {
        self.note_size_read("size", Location::caller());
        Ok(self.typed()?.size())
    }

    /// Returns the number of bytes one element takes.
    ///
    /// # Errors
    /// When the array could not be built.
    pub fn itemsize(&self) -> Result<usize> {
        Ok(self.typed()?.dtype().size())
    }

    /// Returns the number of bytes its elements take.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn nbytes(&self) -> Result<usize> {
        self.note_size_read("nbytes", Location::caller());
        let handle = self.typed()?;
        Ok(handle.size() * handle.dtype().size())
    }

    /// Returns shape and dtype.
    ///
    /// # Errors
    /// When the array could not be built.
    #[track_caller]
    pub fn array_type(&self) -> Result<ArrayType> {
        self.note_size_read("array_type", Location::caller());
        Ok(ArrayType::of(self.typed()?))
    }

    /// The axes as a list; all of an array that could not be built are none.
    pub(crate) fn axes_list(&self, axes: Axes) -> Vec<i32> {
        axes.list(self.typed().map_or(0, Handle::ndim))
    }
}
