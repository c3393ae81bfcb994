//! The types of elements.

use pulp::bytemuck::{Pod, try_cast_slice, try_cast_slice_mut};

use crate::error::{Error, Result};

/// The type of elements. `bool` is a byte, 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum NumberType {
    F32,
    F64,
    F16,
    Bf16,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// Complex numbers, as pairs of `f32`.
    C64,
}

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
pub(super) fn unknown(op: &'static str, of: NumberType) -> Error {
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
            NumberType::I8 => $function::<i8>($($argument),*),
            NumberType::I16 => $function::<i16>($($argument),*),
            NumberType::I32 => $function::<i32>($($argument),*),
            NumberType::I64 => $function::<i64>($($argument),*),
            NumberType::U8 => $function::<u8>($($argument),*),
            NumberType::U16 => $function::<u16>($($argument),*),
            NumberType::U32 => $function::<u32>($($argument),*),
            NumberType::U64 => $function::<u64>($($argument),*),
            other => Err($crate::values::element_type::unknown($op, other)),
        }
    };
}
pub(super) use by_integer;
