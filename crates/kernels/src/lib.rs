//! CPU kernels over slices: what the CPU needs to be fast where MLX has scalar loops or none.
//!
//! There is no MLX here: the arguments are slices and a struct with the shape.
//! Each function documents its formula, its blocking, what limits its speed, and its error.
//!
//! - Vector instructions are chosen when the first kernel runs: AVX-512, AVX2 with FMA, NEON, or scalar code
//!   (`MLX_KERNELS_SIMD=avx2` or `scalar` limits it). Products of `bf16` also use the processor's matrix tiles, if it has
//!   them and the system permits it; `MLX_KERNELS_SIMD=avx512` does without.
//! - Work is split over a private thread pool with a thread for each core; `MLX_NUM_THREADS` overrides that.
//!   A result depends on the shape, the instruction set and the number of threads, never on timing.
//! - Values are stored as `f32`, and for most kernels also as `f16` or `bf16`; arithmetic is always `f32`.
//! - Wrong lengths are an [`Error`], never a panic, and then nothing was written.
//!
//! ```
//! use mlx_kernels::UnaryOp;
//!
//! let mut out = [0.0; 3];
//! mlx_kernels::unary(UnaryOp::Exp, &[0.0, 1.0, f32::NEG_INFINITY], &mut out)?;
//! assert_eq!(out[0], 1.0);
//! assert_eq!(out[2], 0.0);
//! # Ok::<(), mlx_kernels::Error>(())
//! ```

#![deny(unsafe_code)]

mod attention;
mod batch_norm;
mod conv;
mod element;
mod element_type;
mod elementwise;
mod error;
mod fft;
mod gemm;
mod indexing;
mod instances;
mod linalg;
mod optimizer;
mod order;
mod parallel;
mod pooling;
mod quantized;
mod random;
mod recurrent;
mod renamed;
mod resample;
mod rope;
mod rowwise;
mod simd;
mod spatial;
mod strided;
mod values;

pub use attention::{
    AttentionGradient, AttentionInputs, AttentionShape, Mask, MaskStrides, QuantizedRows, Strided,
    Strides, attention, attention_gradient, dequantize_rows, quantize_rows, quantized_attention,
    quantized_row_bytes,
};
pub use batch_norm::{Affine, BatchNormGradient, BatchStatistics, batch_norm, batch_norm_gradient};
pub use conv::{Conv, Conv1d, ConvAxis, conv, conv_weight_gradient, conv_with_bias, conv1d};
pub use element::Element;
pub use element_type::ElementType;
pub use elementwise::{
    BinaryOp, Bits, ElementwiseProgram, Instruction, Number, StridedInput, StridedSlice,
    TypedSlice, TypedSliceMut, UnaryOp, activation_gradient, cast, compare, has_binary,
    has_comparison, has_unary, map, map_in_place, select, select_in_place, swiglu, swiglu_gradient,
    unary, zip, zip_in_place,
};
pub use error::{Error, Result};
pub use fft::{
    FftShape, complex_abs, complex_abs_in_place, complex_abs_to_complex, complex_to_real, fft,
    inverse_real_fft, real_fft, real_to_complex,
};
pub use gemm::{
    Addend, MatmulShape, MatrixShape, StridedMatrices, batched_matmul, matmul, splits_products,
};
pub use indexing::{
    Gather, Index, gather, scatter, scatter_along, scatter_along_half, scatter_half, take_along,
};
pub use linalg::{LuFactors, inverse, lu_factor, qr, solve, triangular_inverse};
pub use optimizer::{
    AdamStep, LionStep, MomentumStep, OptimizerStep, RmsPropStep, SgdStep, optimizer_step,
};
pub use order::{Sortable, argpartition, argsort, partition, sort};
pub use parallel::threads;
pub use pooling::{Pool, PoolAxis, max_pool, max_pool_gradient, mean_pool, mean_pool_gradient};
pub use pulp::bytemuck::{Pod, Zeroable};
pub use quantized::{Quantized, quantized_matmul, quantized_matmul_int8};
pub use random::{random_bits, random_normal, random_uniform};
pub use recurrent::{
    RecurrentCell, RecurrentGradient, RecurrentInputs, RecurrentOutputs, RecurrentShape,
    RecurrentStates, recurrent, recurrent_gradient,
};
pub use resample::{ResampleAxis, resample};
pub use rope::{Rope, RopeShape, RotaryTable};
pub use rowwise::{
    Compare, Factor, Fold, FoldAll, FoldAllFloat, FoldAny, FoldAnyFloat, FoldComplexSum,
    FoldFloatMax, FoldFloatMin, FoldFloatSum, FoldIntegerProduct, FoldMax, FoldMin, FoldProduct,
    FoldSum, NormGradient, ReduceShape, Reduction, RowMajorShape, Scan, ScanIntegerMax,
    ScanIntegerMin, ScanIntegerProduct, ScanIntegerSum, ScanLogAddExp, ScanMax, ScanMin, ScanOrder,
    ScanProduct, ScanSum, Whole, arg_reduce, cross_entropy, cross_entropy_gradient, fold,
    layer_norm, layer_norm_gradient, logsumexp, reduce, rms_norm, rms_norm_gradient, scan, softmax,
};
pub use simd::{has_matrix_tiles, instruction_set};
pub use strided::{
    Combinable, Combine, SliceTarget, StridedView, Term, concatenate, copy_strided, pad,
    update_slice,
};

pub use values::{
    FoldKind, IndexedSlices, ScanKind, StridedBytes, arg_reduce_values, concatenate_values,
    fold_values, gather_values, pad_values, scan_values, scatter_along_values, scatter_values,
    take_along_values, update_values, write_with_strides,
};

#[allow(deprecated)]
pub use renamed::{
    Binary, NumberType, Program, RegionInput, Rotations, Rows, Simple, Step, Unary, Values,
    ValuesMut,
};
