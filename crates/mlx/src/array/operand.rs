//! The other operand of a binary operation: another array, or a number that takes its dtype.

use super::constants::{keep, kept};
use super::{Array, State};
use crate::dtype::Complex64;
use crate::error::WithOp;
use crate::ffi::data;
use crate::{Dtype, Error, Result};
use half::{bf16, f16};

/// A number beside an array: *weak*, so it takes the array's dtype where that can hold its kind.
///
/// The rules are Python MLX's: `bf16 + 1.0` is `bfloat16`, `int32 + 1.0` is `float32`, `uint8 + 1` is `uint8`,
/// and a whole number that the array's dtype cannot hold is an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A complex number.
    Complex(Complex64),
}

/// The other side of a binary operation: `&Array`, `Array`, or a Rust number.
#[derive(Clone)]
pub enum Operand {
    /// An array, whose dtype takes part in promotion.
    Array(Array),
    /// A number, which takes the other side's dtype.
    Scalar(Scalar),
}

impl From<Array> for Operand {
    fn from(array: Array) -> Self {
        Operand::Array(array)
    }
}

impl From<&Array> for Operand {
    fn from(array: &Array) -> Self {
        Operand::Array(array.clone())
    }
}

impl<T: Into<Scalar>> From<T> for Operand {
    fn from(number: T) -> Self {
        Operand::Scalar(number.into())
    }
}

macro_rules! scalars {
    ($($t:ty => $case:ident as $wide:ty),* $(,)?) => {$(
        impl From<$t> for Scalar {
            #[allow(clippy::cast_lossless)]
            fn from(number: $t) -> Self {
                Scalar::$case(number as $wide)
            }
        }
    )*};
}
scalars! {
    bool => Bool as bool, i8 => Int as i64, i16 => Int as i64, i32 => Int as i64, i64 => Int as i64,
    u8 => Int as i64, u16 => Int as i64, u32 => Int as i64, isize => Int as i64,
    f32 => Float as f64, f64 => Float as f64, Complex64 => Complex as Complex64,
}

/// Numbers that an `i64` may not hold; such a one stands for itself as a real number.
macro_rules! wide_scalars {
    ($($t:ty)*) => {$(
        impl From<$t> for Scalar {
            #[allow(clippy::cast_precision_loss)]
            fn from(number: $t) -> Self {
                i64::try_from(number).map_or(Scalar::Float(number as f64), Scalar::Int)
            }
        }
    )*};
}
wide_scalars! { u64 usize }

macro_rules! half_scalars {
    ($($t:ty)*) => {$(
        impl From<$t> for Scalar {
            fn from(number: $t) -> Self {
                Scalar::Float(f64::from(number))
            }
        }
    )*};
}
half_scalars! { f16 bf16 }

impl Scalar {
    /// Returns the dtype this number takes beside an array of dtype `beside`, or on its own.
    pub fn dtype_beside(self, beside: Option<Dtype>) -> Dtype {
        match self {
            Scalar::Bool(_) => beside.unwrap_or(Dtype::Bool),
            Scalar::Int(value) => {
                let alone = if i32::try_from(value).is_ok() {
                    Dtype::Int32
                } else {
                    Dtype::Int64
                };
                match beside {
                    Some(Dtype::Bool) | None => alone,
                    Some(dtype) => dtype,
                }
            }
            Scalar::Float(_) => beside
                .filter(|dtype| dtype.is_floating())
                .unwrap_or(Dtype::Float32),
            Scalar::Complex(_) => Dtype::Complex64,
        }
    }

    /// Returns a constant of this dtype.
    #[track_caller]
    pub(crate) fn to_array(self, dtype: Dtype) -> Array {
        Array::from_result(self.constant(dtype))
    }

    #[track_caller]
    #[allow(clippy::cast_possible_truncation)]
    fn constant(self, dtype: Dtype) -> Result<Array> {
        let handle = match dtype {
            Dtype::Bool => data::from_slice(&[self.as_i64() != 0 || self.as_f64() != 0.0], &[]),
            Dtype::Uint8 => data::from_slice(&[self.whole::<u8>(dtype)?], &[]),
            Dtype::Uint16 => data::from_slice(&[self.whole::<u16>(dtype)?], &[]),
            Dtype::Uint32 => data::from_slice(&[self.whole::<u32>(dtype)?], &[]),
            // A negative number beside uint64 wraps, as it does in Python MLX.
            Dtype::Uint64 => data::from_slice(&[self.as_i64().cast_unsigned()], &[]),
            Dtype::Int8 => data::from_slice(&[self.whole::<i8>(dtype)?], &[]),
            Dtype::Int16 => data::from_slice(&[self.whole::<i16>(dtype)?], &[]),
            Dtype::Int32 => data::from_slice(&[self.whole::<i32>(dtype)?], &[]),
            Dtype::Int64 => data::from_slice(&[self.as_i64()], &[]),
            Dtype::Float16 => data::from_slice(&[f16::from_f64(self.as_f64())], &[]),
            Dtype::Float32 => data::from_slice(&[self.as_f64() as f32], &[]),
            Dtype::Float64 => data::from_slice(&[self.as_f64()], &[]),
            Dtype::Bfloat16 => data::from_slice(&[bf16::from_f64(self.as_f64())], &[]),
            Dtype::Complex64 => data::from_slice(&[self.as_complex()], &[]),
        };
        handle.map(Array::from_handle).with_op("array")
    }

    #[track_caller]
    fn whole<T: TryFrom<i64>>(self, dtype: Dtype) -> Result<T> {
        let value = self.as_i64();
        T::try_from(value).map_err(|_| {
            Error::op(
                "array",
                format!("wanted a number that {dtype} holds, got {value}"),
            )
        })
    }

    #[allow(clippy::cast_possible_truncation)]
    fn as_i64(self) -> i64 {
        match self {
            Scalar::Bool(value) => i64::from(value),
            Scalar::Int(value) => value,
            Scalar::Float(value) => value as i64,
            Scalar::Complex(value) => value.re as i64,
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Scalar::Bool(value) => f64::from(u8::from(value)),
            Scalar::Int(value) => value as f64,
            Scalar::Float(value) => value,
            Scalar::Complex(value) => f64::from(value.re),
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn as_complex(self) -> Complex64 {
        match self {
            Scalar::Complex(value) => value,
            other => Complex64::new(other.as_f64() as f32, 0.0),
        }
    }
}

impl Operand {
    /// Returns this operand as an array, a number taking the dtype it has beside `beside`.
    #[track_caller]
    pub(crate) fn beside(self, beside: &Array) -> Array {
        match self {
            Operand::Array(array) => array,
            Operand::Scalar(scalar) => match beside.typed() {
                Ok(handle) => {
                    let dtype = scalar.dtype_beside(Some(handle.dtype()));
                    let is_kept = matches!(beside.state, State::Ready(_));
                    if let Some(array) = is_kept.then(|| kept(scalar, dtype)).flatten() {
                        return array;
                    }
                    let array = scalar.to_array(dtype);
                    if is_kept {
                        keep(scalar, dtype, &array);
                    }
                    array
                }
                Err(error) => Array::failed(error),
            },
        }
    }

    /// Returns this operand as an array, a number having its own dtype.
    #[track_caller]
    pub(crate) fn alone(self) -> Array {
        match self {
            Operand::Array(array) => array,
            Operand::Scalar(scalar) => scalar.to_array(scalar.dtype_beside(None)),
        }
    }
}

/// Returns two operands as arrays, a number taking the other side's dtype.
#[track_caller]
pub(crate) fn pair(a: Operand, b: Operand) -> (Array, Array) {
    match (a, b) {
        (Operand::Array(a), b) => {
            let b = b.beside(&a);
            (a, b)
        }
        (a, Operand::Array(b)) => (a.beside(&b), b),
        (a, b) => (a.alone(), b.alone()),
    }
}
