//! The dtypes under the names of Python MLX: `mlx::float32` is [`Dtype::Float32`].
#![allow(non_upper_case_globals)]

use crate::Dtype;

/// The circle number, Python's `mx.pi`.
pub const pi: f32 = std::f32::consts::PI;
/// Infinity, Python's `mx.inf`.
pub const inf: f32 = f32::INFINITY;
/// NaN, Python's `mx.nan`.
pub const nan: f32 = f32::NAN;

/// The spellings of dtypes that Rust programmers try.
#[allow(non_upper_case_globals)]
#[doc(hidden)]
impl Dtype {
    pub const UInt8: Self = Self::Uint8;
    pub const UInt16: Self = Self::Uint16;
    pub const UInt32: Self = Self::Uint32;
    pub const UInt64: Self = Self::Uint64;
    pub const BFloat16: Self = Self::Bfloat16;
    pub const F16: Self = Self::Float16;
    pub const F32: Self = Self::Float32;
    pub const F64: Self = Self::Float64;
    pub const BF16: Self = Self::Bfloat16;
    pub const I32: Self = Self::Int32;
    pub const I64: Self = Self::Int64;
    pub const U8: Self = Self::Uint8;
    pub const U32: Self = Self::Uint32;
}

macro_rules! names {
    ($($name:ident $dtype:ident;)*) => {$(
        #[doc = concat!("[`Dtype::", stringify!($dtype), "`].")]
        pub const $name: Dtype = Dtype::$dtype;
    )*};
}

names! {
    bool_ Bool;
    uint8 Uint8;
    uint16 Uint16;
    uint32 Uint32;
    uint64 Uint64;
    int8 Int8;
    int16 Int16;
    int32 Int32;
    int64 Int64;
    float16 Float16;
    float32 Float32;
    float64 Float64;
    bfloat16 Bfloat16;
    complex64 Complex64;
}
