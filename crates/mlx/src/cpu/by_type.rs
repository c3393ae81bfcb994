//! From a dtype to the type of elements as kernels name it.

use mlx_kernels::ElementType;

use crate::Dtype;

/// The type of elements.
pub(super) fn element_type(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::Bool => ElementType::Bool,
        Dtype::Uint8 => ElementType::U8,
        Dtype::Uint16 => ElementType::U16,
        Dtype::Uint32 => ElementType::U32,
        Dtype::Uint64 => ElementType::U64,
        Dtype::Int8 => ElementType::I8,
        Dtype::Int16 => ElementType::I16,
        Dtype::Int32 => ElementType::I32,
        Dtype::Int64 => ElementType::I64,
        Dtype::Float16 => ElementType::F16,
        Dtype::Bfloat16 => ElementType::Bf16,
        Dtype::Float32 => ElementType::F32,
        Dtype::Float64 => ElementType::F64,
        Dtype::Complex64 => ElementType::C64,
    }
}
