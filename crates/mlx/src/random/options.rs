//! How random numbers are drawn: distributions' settings, dtypes and keys, each with Python MLX's defaults.

use crate::{Array, Dtype, Operand, Scalar, Shape};

/// How numbers are drawn: in the function's own dtype and with the thread's default key, unless given.
///
/// A dtype or a key alone will do: `uniform_with(0, 1, [2], mlx::float16)`, `uniform_with(0, 1, [2], &key)`.
#[derive(Clone, Default)]
pub struct RandomOptions {
    /// The dtype; the function's own where `None`.
    pub dtype: Option<Dtype>,
    /// The key, which is used up; the thread's default key where `None`.
    pub key: Option<Array>,
}

/// Options of [`normal`](super::normal_with()): mean 0, standard deviation 1, `float32`, the thread's default key.
///
/// A dtype or a key alone will do: `normal_with([2, 3], &key)`.
#[derive(Clone)]
pub struct NormalOptions {
    /// The mean: a number, or an array that broadcasts to the shape.
    pub loc: Operand,
    /// The standard deviation: a number, or an array that broadcasts to the shape.
    pub scale: Operand,
    /// The dtype.
    pub dtype: Dtype,
    /// The key, which is used up; the thread's default key where `None`.
    pub key: Option<Array>,
}

impl Default for NormalOptions {
    fn default() -> Self {
        Self {
            loc: Operand::Scalar(Scalar::Float(0.0)),
            scale: Operand::Scalar(Scalar::Float(1.0)),
            dtype: Dtype::Float32,
            key: None,
        }
    }
}

/// Options of [`laplace`](super::laplace_with()): mean 0, scale 1, `float32`, the thread's default key.
#[derive(Clone)]
pub struct LaplaceOptions {
    /// The mean.
    pub loc: f32,
    /// The mean absolute deviation.
    pub scale: f32,
    /// The dtype.
    pub dtype: Dtype,
    /// The key, which is used up; the thread's default key where `None`.
    pub key: Option<Array>,
}

impl Default for LaplaceOptions {
    fn default() -> Self {
        Self {
            loc: 0.0,
            scale: 1.0,
            dtype: Dtype::Float32,
            key: None,
        }
    }
}

/// Options of [`categorical`](super::categorical_with()): by default one sample from each row along the last axis.
#[derive(Clone)]
pub struct CategoricalOptions {
    /// The axis of the logits.
    pub axis: i32,
    /// The shape of the result, to which the logits' shape without `axis` broadcasts.
    pub shape: Option<Shape>,
    /// The number of samples from each row, as a new last axis; not together with `shape`.
    pub num_samples: Option<i32>,
    /// The key, which is used up; the thread's default key where `None`.
    pub key: Option<Array>,
}

impl Default for CategoricalOptions {
    fn default() -> Self {
        Self {
            axis: -1,
            shape: None,
            num_samples: None,
            key: None,
        }
    }
}

/// A key alone as options.
macro_rules! from_key {
    ($($options:ident)*) => {$(
        impl From<&Array> for $options {
            fn from(key: &Array) -> Self {
                Self::from(key.clone())
            }
        }
        impl From<Array> for $options {
            fn from(key: Array) -> Self {
                Self { key: Some(key), ..Self::default() }
            }
        }
    )*};
}
from_key! { RandomOptions NormalOptions LaplaceOptions CategoricalOptions }

impl From<Dtype> for RandomOptions {
    fn from(dtype: Dtype) -> Self {
        Self {
            dtype: Some(dtype),
            key: None,
        }
    }
}

macro_rules! from_dtype {
    ($($options:ident)*) => {$(
        impl From<Dtype> for $options {
            fn from(dtype: Dtype) -> Self {
                Self { dtype, ..Self::default() }
            }
        }
    )*};
}
from_dtype! { NormalOptions LaplaceOptions }
