//! Bytes as elements, and functions by the type of elements.

use pulp::bytemuck::{Pod, try_cast_slice, try_cast_slice_mut};

use crate::element_type::ElementType;
use crate::error::{Error, Result};

/// Bytes as elements.
pub(super) fn elements<T: Pod>(bytes: &[u8]) -> Result<&[T]> {
    try_cast_slice(bytes).map_err(|_| misaligned(bytes.len()))
}

/// The same, to be written.
pub(super) fn elements_mut<T: Pod>(bytes: &mut [u8]) -> Result<&mut [T]> {
    let length = bytes.len();
    try_cast_slice_mut(bytes).map_err(|_| misaligned(length))
}

fn misaligned(got: usize) -> Error {
    Error::Parameter {
        op: "values",
        what: "bytes",
        wanted: "whole elements, aligned to their type",
        got,
    }
}

/// The error of a kernel that does not take this type.
pub(super) fn unknown(op: &'static str, of: ElementType) -> Error {
    Error::Parameter {
        op,
        what: "the type of elements",
        wanted: "one that the kernel takes",
        got: of as usize,
    }
}

/// Calls a function that is generic over integers with the integer of an element type.
macro_rules! by_integer {
    ($op:expr, $of:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $of {
            ElementType::I8 => $function::<i8>($($argument),*),
            ElementType::I16 => $function::<i16>($($argument),*),
            ElementType::I32 => $function::<i32>($($argument),*),
            ElementType::I64 => $function::<i64>($($argument),*),
            ElementType::U8 | ElementType::Bool => $function::<u8>($($argument),*),
            ElementType::U16 => $function::<u16>($($argument),*),
            ElementType::U32 => $function::<u32>($($argument),*),
            ElementType::U64 => $function::<u64>($($argument),*),
            other => Err($crate::values::by_type::unknown($op, other)),
        }
    };
}
pub(super) use by_integer;

/// Calls one of two functions, of which one is generic over floating numbers and the other over integers.
macro_rules! by_number {
    ($op:expr, $of:expr, $float:ident | $integer:ident ( $($argument:expr),* $(,)? )) => {
        match $of {
            ElementType::F32 => $float::<f32>($($argument),*),
            ElementType::F64 => $float::<f64>($($argument),*),
            ElementType::F16 => $float::<f16>($($argument),*),
            ElementType::Bf16 => $float::<bf16>($($argument),*),
            _ => by_integer!($op, $of, $integer($($argument),*)),
        }
    };
}
pub(super) use by_number;
