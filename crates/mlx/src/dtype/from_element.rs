//! Which Rust types elements can be read as: their own, and those that hold every value.

use half::{bf16, f16};

use super::{Complex64, Dtype, Element};

/// A Rust type that elements are read as, by [`Array::item`](crate::Array::item) and
/// [`Array::to_vec`](crate::Array::to_vec): the types of [`Dtype`], `usize` and `isize`.
///
/// Elements of another type are widened where no value changes: half precision to `f32` and `f64`, `f32` to `f64`,
/// integers and `bool` to other integers and to `f32` and `f64`. An integer that the type cannot hold is an error, and so
/// is every narrowing by type: convert with [`astype`](crate::Array::astype) first.
#[diagnostic::on_unimplemented(
    message = "elements cannot be read as `{Self}`",
    label = "wanted `f32`, `i32`, `usize`, `bool` or another type of a dtype"
)]
pub trait FromElement: Copy + 'static + sealed::Sealed {
    /// Returns the element as this type, if that changes no value.
    #[doc(hidden)]
    fn from_number(number: Number) -> Option<Self>;

    /// The dtype to convert to where elements cannot be read.
    #[doc(hidden)]
    const WANTED: Dtype;
}

mod sealed {
    pub trait Sealed {}
}

/// An element, whatever its type.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Integer(i128),
    Half(f32),
    Single(f32),
    Double(f64),
    Complex,
}

macro_rules! integers {
    ($($t:ty => $dtype:ident),*) => {$(
        impl sealed::Sealed for $t {}
        impl FromElement for $t {
            const WANTED: Dtype = Dtype::$dtype;
            fn from_number(number: Number) -> Option<Self> {
                match number {
                    Number::Integer(value) => value.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}
integers! {
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64, isize => Int64,
    u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64, usize => Uint64
}

/// Types that other elements are never read as.
macro_rules! own_only {
    ($($t:ty),*) => {$(
        impl sealed::Sealed for $t {}
        impl FromElement for $t {
            const WANTED: Dtype = <$t as Element>::DTYPE;
            fn from_number(_: Number) -> Option<Self> {
                None
            }
        }
    )*};
}
own_only! { bool, f16, bf16 }

impl sealed::Sealed for f32 {}
impl FromElement for f32 {
    const WANTED: Dtype = Dtype::Float32;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn from_number(number: Number) -> Option<Self> {
        match number {
            Number::Integer(value) => (value as f32 as i128 == value).then_some(value as f32),
            Number::Half(value) | Number::Single(value) => Some(value),
            Number::Double(_) | Number::Complex => None,
        }
    }
}

impl sealed::Sealed for f64 {}
impl FromElement for f64 {
    const WANTED: Dtype = Dtype::Float64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn from_number(number: Number) -> Option<Self> {
        match number {
            Number::Integer(value) => (value as f64 as i128 == value).then_some(value as f64),
            Number::Half(value) | Number::Single(value) => Some(f64::from(value)),
            Number::Double(value) => Some(value),
            Number::Complex => None,
        }
    }
}

impl sealed::Sealed for Complex64 {}
impl FromElement for Complex64 {
    const WANTED: Dtype = Dtype::Complex64;
    fn from_number(number: Number) -> Option<Self> {
        f32::from_number(number).map(|re| Complex64::new(re, 0.0))
    }
}
