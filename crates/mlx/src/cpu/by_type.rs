//! From a dtype to the type of elements as kernels name it.

use mlx_kernels::ElementType;

use crate::Dtype;

/// The type of elements; a `bool` is a byte. An error for complex numbers.
pub(super) fn element_type(dtype: Dtype) -> Result<ElementType, String> {
    Ok(match dtype {
        Dtype::Float32 => ElementType::F32,
        Dtype::Float64 => ElementType::F64,
        Dtype::Float16 => ElementType::F16,
        Dtype::Bfloat16 => ElementType::Bf16,
        Dtype::Int8 => ElementType::I8,
        Dtype::Int16 => ElementType::I16,
        Dtype::Int32 => ElementType::I32,
        Dtype::Int64 => ElementType::I64,
        Dtype::Uint8 | Dtype::Bool => ElementType::U8,
        Dtype::Uint16 => ElementType::U16,
        Dtype::Uint32 => ElementType::U32,
        Dtype::Uint64 => ElementType::U64,
        other => return Err(format!("no kernel reads {other}")),
    })
}
