//! What is compiled in this crate for each type of elements.
//!
//! A generic function is compiled in the crate that calls it: each crate, test and program would compile attention for three
//! types and three instruction sets again, and without optimization if that is how it is built itself. So a public
//! function calls its instance through a table, which a function that is not generic refers to.

use half::{bf16, f16};

use crate::attention::{
    AttentionGradient, AttentionInputs, AttentionShape, Strided as StridedHeads,
    attention_gradient_instance, attention_instance,
};
use crate::batch_norm::{
    Affine, BatchNormGradient, BatchStatistics, batch_norm_gradient_instance, batch_norm_instance,
};
use crate::conv::{Conv, conv_instance, conv_weight_gradient_instance};
use crate::element::Element;
use crate::element_type::ElementType;
use crate::elementwise::{
    BinaryOp, Bits, Number, StridedSlice, UnaryOp, cast_from_u8, cast_from_u16, cast_from_u32,
    cast_from_u64, compare_instance, map_in_place_instance, map_instance, select_in_place_instance,
    select_instance, swiglu_instance, unary_instance, zip_in_place_instance, zip_instance,
};
use crate::error::Result;
use crate::gemm::{
    Addend, MatmulShape, MatrixShape, StridedMatrices, batched_matmul_instance, matmul_instance,
};
use crate::order::{
    Sortable, argpartition_instance, argsort_instance, partition_instance, sort_instance,
};
use crate::pooling::{
    Pool, max_pool_gradient_instance, max_pool_instance, mean_pool_gradient_instance,
    mean_pool_instance,
};
use crate::quantized::{ActivationBits, Quantized, quantized_matmul_instance};
use crate::random::{random_normal_instance, random_uniform_instance};
use crate::recurrent::{
    RecurrentGradient, RecurrentInputs, RecurrentOutputs, RecurrentShape, RecurrentStates,
    recurrent_gradient_instance, recurrent_instance,
};
use crate::rope::{RopeShape, RotaryTable, rope_instance};
use crate::rowwise::{
    RowMajorShape, cross_entropy_gradient_instance, cross_entropy_instance, layer_norm_instance,
    logsumexp_instance, rms_norm_instance, softmax_instance,
};

/// Declares a table of functions of a type, and how it is filled.
macro_rules! table {
    ($(#[$doc:meta])* $table:ident of $bound:ident { $($name:ident = $instance:ident: $function:ty;)* }) => {
        $(#[$doc])*
        #[allow(clippy::type_complexity)]
        pub struct $table<T: 'static> {
            $(pub(crate) $name: $function,)*
        }

        impl<T: $bound + 'static> $table<T> {
            const fn new() -> Self {
                Self { $($name: $instance::<T>,)* }
            }
        }
    };
}

/// Gives a table to each type. Not inlined: then the caller would refer to the functions, and compile them.
macro_rules! instances {
    ($trait:ident::$name:ident: $table:ident of $($type:ty)*) => {
        /// The functions of a type.
        pub trait $trait: Sized + 'static {
            fn $name() -> &'static $table<Self>;
        }

        $(impl $trait for $type {
            #[inline(never)]
            fn $name() -> &'static $table<Self> {
                const TABLE: &$table<$type> = &$table::new();
                TABLE
            }
        })*
    };
}

table! {
    /// Kernels over `f32`, `f16` or `bf16`.
    Kernels of Element {
        attention = attention_instance: fn(AttentionShape, AttentionInputs<T>, f32, &mut [T]) -> Result<()>;
        attention_gradient = attention_gradient_instance: fn(AttentionShape, AttentionInputs<T>, f32, StridedHeads<T>, AttentionGradient<T>) -> Result<()>;
        batch_norm = batch_norm_instance: fn(&[T], Affine<'_, T>, f32, &mut [T], BatchStatistics<&mut [f32]>) -> Result<()>;
        batch_norm_gradient = batch_norm_gradient_instance: fn(&[T], Option<&[T]>, BatchStatistics<&[f32]>, &[T], BatchNormGradient<'_, T>) -> Result<()>;
        batched_matmul = batched_matmul_instance: fn(MatmulShape<'_>, StridedMatrices<'_, T>, StridedMatrices<'_, T>, Option<Addend<'_, T>>, &mut [T]) -> Result<()>;
        conv = conv_instance: fn(Conv<'_>, &[T], &[T], Option<&[T]>, &mut [T]) -> Result<()>;
        conv_weight_gradient = conv_weight_gradient_instance: fn(Conv<'_>, &[T], &[T], &mut [T]) -> Result<()>;
        cross_entropy = cross_entropy_instance: fn(RowMajorShape, &[T], &[u32], &mut [f32]) -> Result<()>;
        cross_entropy_gradient = cross_entropy_gradient_instance: fn(RowMajorShape, &[T], &[u32], &[f32], &mut [T]) -> Result<()>;
        layer_norm = layer_norm_instance: fn(RowMajorShape, &[T], Option<&[T]>, Option<&[T]>, f32, &mut [T]) -> Result<()>;
        logsumexp = logsumexp_instance: fn(RowMajorShape, &[T], &mut [f32]) -> Result<()>;
        matmul = matmul_instance: fn(MatrixShape, usize, &[T], &[f32], &mut [f32]) -> Result<()>;
        max_pool = max_pool_instance: fn(Pool<'_>, &[T], &mut [T]) -> Result<()>;
        max_pool_gradient = max_pool_gradient_instance: fn(Pool<'_>, &[T], &[T], &mut [T]) -> Result<()>;
        mean_pool = mean_pool_instance: fn(Pool<'_>, &[T], &mut [T]) -> Result<()>;
        mean_pool_gradient = mean_pool_gradient_instance: fn(Pool<'_>, &[T], &mut [T]) -> Result<()>;
        quantized_matmul = quantized_matmul_instance: fn(Quantized<T>, usize, ActivationBits, &[f32], &mut [f32]);
        random_normal = random_normal_instance: fn([u32; 2], f32, f32, &mut [T]);
        random_uniform = random_uniform_instance: fn([u32; 2], f32, f32, &mut [T]);
        recurrent = recurrent_instance: fn(RecurrentShape, RecurrentInputs<'_, T>, RecurrentOutputs<'_, T>) -> Result<()>;
        recurrent_gradient = recurrent_gradient_instance: fn(RecurrentShape, RecurrentInputs<'_, T>, RecurrentStates<'_, T>, &[f32], RecurrentStates<'_, T>, RecurrentGradient<'_, T>) -> Result<()>;
        rms_norm = rms_norm_instance: fn(RowMajorShape, &[T], Option<&[T]>, f32, &mut [T]) -> Result<()>;
        rope = rope_instance: fn(&RotaryTable, RopeShape, &[T], &mut [T]) -> Result<()>;
        softmax = softmax_instance: fn(RowMajorShape, &[T], &mut [T]) -> Result<()>;
        swiglu = swiglu_instance: fn(&[T], &[T], &mut [T]) -> Result<()>;
        unary = unary_instance: fn(UnaryOp, &[T], &mut [T]) -> Result<()>;
    }
}
instances!(HasKernels::kernels: Kernels of f32 f16 bf16);

table! {
    /// Functions of elements of any type.
    Elementwise of Number {
        compare = compare_instance: fn(BinaryOp, &[usize], StridedSlice<'_, T>, StridedSlice<'_, T>, &mut [u8]) -> Result<()>;
        map = map_instance: fn(UnaryOp, &[usize], StridedSlice<'_, T>, &mut [T]) -> Result<()>;
        map_in_place = map_in_place_instance: fn(UnaryOp, &mut [T]) -> Result<()>;
        zip = zip_instance: fn(BinaryOp, &[usize], StridedSlice<'_, T>, StridedSlice<'_, T>, &mut [T]) -> Result<()>;
        zip_in_place = zip_in_place_instance: fn(BinaryOp, &[usize], StridedSlice<'_, T>, bool, &mut [T]) -> Result<()>;
    }
}
instances!(HasElementwise::elementwise: Elementwise of u8 u16 u32 u64 i8 i16 i32 i64 f16 bf16 f32 f64 [f32; 2]);

table! {
    /// What moves the bits of elements, whatever their type.
    Moves of Bits {
        cast_from_u8 = cast_from_u8: Cast<u8, T>;
        cast_from_u16 = cast_from_u16: Cast<u16, T>;
        cast_from_u32 = cast_from_u32: Cast<u32, T>;
        cast_from_u64 = cast_from_u64: Cast<u64, T>;
        select = select_instance: fn(&[usize], StridedSlice<'_, u8>, StridedSlice<'_, T>, StridedSlice<'_, T>, &mut [T]) -> Result<()>;
        select_in_place = select_in_place_instance: fn(&[usize], StridedSlice<'_, u8>, StridedSlice<'_, T>, bool, &mut [T]) -> Result<()>;
    }
}
instances!(HasMoves::moves: Moves of u8 u16 u32 u64);

/// A conversion of elements of the size of `A` to such of `O`.
pub(crate) type Cast<A, O> =
    fn(ElementType, ElementType, &[usize], StridedSlice<'_, A>, &mut [O]) -> Result<()>;

table! {
    /// Sorting.
    Order of Sortable {
        argpartition = argpartition_instance: fn(&[T], usize, usize, &mut [u32]) -> Result<()>;
        argsort = argsort_instance: fn(&[T], usize, &mut [u32]) -> Result<()>;
        partition = partition_instance: fn(&[T], usize, usize, &mut [T]) -> Result<()>;
        sort = sort_instance: fn(&[T], usize, &mut [T]) -> Result<()>;
    }
}
instances!(HasOrder::order: Order of u8 u16 u32 u64 i8 i16 i32 i64 f16 bf16 f32 f64);
