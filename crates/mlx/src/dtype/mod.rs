//! What an element is: the fourteen dtypes of MLX and the Rust types that hold them.

use std::fmt;

use half::{bf16, f16};
use mlx_sys as sys;

mod from_element;

pub use from_element::FromElement;
pub(crate) use from_element::Number;

/// A complex number of two `f32`, laid out as MLX's `complex64`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Complex64 {
    /// Real part.
    pub re: f32,
    /// Imaginary part.
    pub im: f32,
}

impl Complex64 {
    /// Returns `re + im * i`.
    pub const fn new(re: f32, im: f32) -> Self {
        Self { re, im }
    }
}

impl fmt::Display for Complex64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.im.is_sign_negative() { '-' } else { '+' };
        write!(f, "{}{sign}{}j", self.re, self.im.abs())
    }
}

/// The element type of an [`Array`](crate::Array).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// `bool`, one byte.
    Bool,
    /// `u8`.
    Uint8,
    /// `u16`.
    Uint16,
    /// `u32`.
    Uint32,
    /// `u64`.
    Uint64,
    /// `i8`.
    Int8,
    /// `i16`.
    Int16,
    /// `i32`.
    Int32,
    /// `i64`.
    Int64,
    /// IEEE half precision, [`half::f16`].
    Float16,
    /// `f32`.
    Float32,
    /// `f64`; the CPU only.
    Float64,
    /// Brain floating point, [`half::bf16`].
    Bfloat16,
    /// Two `f32`, [`Complex64`].
    Complex64,
}

/// What a [`Dtype`] can be: MLX's categories, without the abstract ones above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtypeKind {
    /// `bool`.
    Bool,
    /// Unsigned integers.
    Unsigned,
    /// Signed integers.
    Signed,
    /// `float16`, `bfloat16`, `float32`, `float64`.
    Floating,
    /// `complex64`.
    Complex,
}

const TABLE: [(Dtype, sys::mlx_dtype, &str, usize, DtypeKind); 14] = [
    (
        Dtype::Bool,
        sys::mlx_dtype__MLX_BOOL,
        "bool",
        1,
        DtypeKind::Bool,
    ),
    (
        Dtype::Uint8,
        sys::mlx_dtype__MLX_UINT8,
        "uint8",
        1,
        DtypeKind::Unsigned,
    ),
    (
        Dtype::Uint16,
        sys::mlx_dtype__MLX_UINT16,
        "uint16",
        2,
        DtypeKind::Unsigned,
    ),
    (
        Dtype::Uint32,
        sys::mlx_dtype__MLX_UINT32,
        "uint32",
        4,
        DtypeKind::Unsigned,
    ),
    (
        Dtype::Uint64,
        sys::mlx_dtype__MLX_UINT64,
        "uint64",
        8,
        DtypeKind::Unsigned,
    ),
    (
        Dtype::Int8,
        sys::mlx_dtype__MLX_INT8,
        "int8",
        1,
        DtypeKind::Signed,
    ),
    (
        Dtype::Int16,
        sys::mlx_dtype__MLX_INT16,
        "int16",
        2,
        DtypeKind::Signed,
    ),
    (
        Dtype::Int32,
        sys::mlx_dtype__MLX_INT32,
        "int32",
        4,
        DtypeKind::Signed,
    ),
    (
        Dtype::Int64,
        sys::mlx_dtype__MLX_INT64,
        "int64",
        8,
        DtypeKind::Signed,
    ),
    (
        Dtype::Float16,
        sys::mlx_dtype__MLX_FLOAT16,
        "float16",
        2,
        DtypeKind::Floating,
    ),
    (
        Dtype::Float32,
        sys::mlx_dtype__MLX_FLOAT32,
        "float32",
        4,
        DtypeKind::Floating,
    ),
    (
        Dtype::Float64,
        sys::mlx_dtype__MLX_FLOAT64,
        "float64",
        8,
        DtypeKind::Floating,
    ),
    (
        Dtype::Bfloat16,
        sys::mlx_dtype__MLX_BFLOAT16,
        "bfloat16",
        2,
        DtypeKind::Floating,
    ),
    (
        Dtype::Complex64,
        sys::mlx_dtype__MLX_COMPLEX64,
        "complex64",
        8,
        DtypeKind::Complex,
    ),
];

impl Dtype {
    /// Every dtype, in MLX's order.
    pub const ALL: [Dtype; 14] = {
        let mut all = [Dtype::Bool; 14];
        let mut i = 0;
        while i < 14 {
            all[i] = TABLE[i].0;
            i += 1;
        }
        all
    };

    /// Returns the name Python MLX uses: `float32`, `bfloat16`, `bool`.
    pub const fn name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// Returns the dtype with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// Returns the size of one element in bytes.
    pub fn size(self) -> usize {
        TABLE[self as usize].3
    }

    /// Returns the category: boolean, unsigned, signed, floating or complex.
    pub fn kind(self) -> DtypeKind {
        TABLE[self as usize].4
    }

    /// Returns whether elements are real floating-point numbers.
    pub fn is_floating(self) -> bool {
        self.kind() == DtypeKind::Floating
    }

    /// Returns whether elements are integers (`bool` is not).
    pub fn is_integer(self) -> bool {
        matches!(self.kind(), DtypeKind::Signed | DtypeKind::Unsigned)
    }

    /// Returns whether elements are floating-point or complex numbers.
    pub fn is_inexact(self) -> bool {
        matches!(self.kind(), DtypeKind::Floating | DtypeKind::Complex)
    }

    pub(crate) fn raw(self) -> sys::mlx_dtype {
        TABLE[self as usize].1
    }

    pub(crate) fn from_raw(raw: sys::mlx_dtype) -> Self {
        // MLX has no other dtypes; the version check at load makes sure of that.
        TABLE
            .iter()
            .find(|row| row.1 == raw)
            .map_or(Dtype::Bool, |row| row.0)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that can be an element of an array.
///
/// Sealed: the fourteen types of [`Dtype`] and no others.
pub trait Element:
    Copy + Default + fmt::Debug + PartialEq + Send + Sync + FromElement + sealed::Sealed + 'static
{
    /// The dtype that holds this type.
    const DTYPE: Dtype;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($t:ty => $d:ident),* $(,)?) => {$(
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: Dtype = Dtype::$d;
        }
    )*};
}

elements! {
    bool => Bool, u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64,
    i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64,
    f16 => Float16, f32 => Float32, f64 => Float64, bf16 => Bfloat16, Complex64 => Complex64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for dtype in Dtype::ALL {
            assert_eq!(TABLE[dtype as usize].0, dtype);
            assert_eq!(Dtype::from_raw(dtype.raw()), dtype);
            assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
        }
    }
}
