//! The dtypes under the names of Python MLX: `mlx::float32` is [`Dtype::Float32`].
#![allow(non_upper_case_globals)]

use crate::Dtype;

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
