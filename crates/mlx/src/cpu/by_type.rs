//! From a dtype to the type of elements as kernels name it.

use mlx_kernels::NumberType;

use crate::Dtype;

/// The type of elements; a `bool` is a byte. An error for complex numbers.
pub(super) fn element_type(dtype: Dtype) -> Result<NumberType, String> {
    Ok(match dtype {
        Dtype::Float32 => NumberType::F32,
        Dtype::Float64 => NumberType::F64,
        Dtype::Float16 => NumberType::F16,
        Dtype::Bfloat16 => NumberType::Bf16,
        Dtype::Int8 => NumberType::I8,
        Dtype::Int16 => NumberType::I16,
        Dtype::Int32 => NumberType::I32,
        Dtype::Int64 => NumberType::I64,
        Dtype::Uint8 | Dtype::Bool => NumberType::U8,
        Dtype::Uint16 => NumberType::U16,
        Dtype::Uint32 => NumberType::U32,
        Dtype::Uint64 => NumberType::U64,
        other => return Err(format!("no kernel reads {other}")),
    })
}
