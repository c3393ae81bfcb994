//! Which operations exist: one line each, with attributes, number of inputs, flags, outputs and the C function.
//!
//! `op_table!` hands the whole table to another macro: `op/mod.rs` makes the enum, names, printing and
//! parsing from it, `ffi/table.rs` the calls. A line reads
//!
//! ```text
//! Variant { attribute: Type, .. } "name" (min inputs, max inputs) [FLAG | FLAG] outputs c_function(arguments);
//! ```
//!
//! where `i` is the slice of input handles, attributes are references, the result slot comes before the
//! arguments and the stream after them. Names are those of Python MLX; flags are those of
//! [`OpFlags`](super::OpFlags), of which each line has `SIZES_FROM_INPUTS` or `FIXED_SIZES` at least; outputs are `one`,
//! `two` or `many`, or `fused`: one output of a function that takes the whole operation as bytes (`op/encode.rs`) and its
//! inputs.

/// Hands the table of operations to the macro `$with`.
macro_rules! op_table {
    ($with:ident) => {
        $with! { i;
// Unary.
Abs "abs" (1, 1) [ELEMENTWISE] one mlx_abs(i[0]);
Arccos "arccos" (1, 1) [ELEMENTWISE] one mlx_arccos(i[0]);
Arccosh "arccosh" (1, 1) [ELEMENTWISE] one mlx_arccosh(i[0]);
Arcsin "arcsin" (1, 1) [ELEMENTWISE] one mlx_arcsin(i[0]);
Arcsinh "arcsinh" (1, 1) [ELEMENTWISE] one mlx_arcsinh(i[0]);
Arctan "arctan" (1, 1) [ELEMENTWISE] one mlx_arctan(i[0]);
Arctanh "arctanh" (1, 1) [ELEMENTWISE] one mlx_arctanh(i[0]);
BitwiseInvert "bitwise_invert" (1, 1) [ELEMENTWISE] one mlx_bitwise_invert(i[0]);
Ceil "ceil" (1, 1) [ELEMENTWISE] one mlx_ceil(i[0]);
Conjugate "conjugate" (1, 1) [ELEMENTWISE] one mlx_conjugate(i[0]);
Copy "copy" (1, 1) [SIZES_FROM_INPUTS] one mlx_copy(i[0]);
Cos "cos" (1, 1) [ELEMENTWISE] one mlx_cos(i[0]);
Cosh "cosh" (1, 1) [ELEMENTWISE] one mlx_cosh(i[0]);
Degrees "degrees" (1, 1) [ELEMENTWISE] one mlx_degrees(i[0]);
Erf "erf" (1, 1) [ELEMENTWISE] one mlx_erf(i[0]);
Erfinv "erfinv" (1, 1) [ELEMENTWISE] one mlx_erfinv(i[0]);
Exp "exp" (1, 1) [ELEMENTWISE] one mlx_exp(i[0]);
Expm1 "expm1" (1, 1) [ELEMENTWISE] one mlx_expm1(i[0]);
Floor "floor" (1, 1) [ELEMENTWISE] one mlx_floor(i[0]);
Imag "imag" (1, 1) [ELEMENTWISE] one mlx_imag(i[0]);
Isfinite "isfinite" (1, 1) [ELEMENTWISE] one mlx_isfinite(i[0]);
Isinf "isinf" (1, 1) [ELEMENTWISE] one mlx_isinf(i[0]);
Isnan "isnan" (1, 1) [ELEMENTWISE] one mlx_isnan(i[0]);
Isneginf "isneginf" (1, 1) [ELEMENTWISE] one mlx_isneginf(i[0]);
Isposinf "isposinf" (1, 1) [ELEMENTWISE] one mlx_isposinf(i[0]);
Log "log" (1, 1) [ELEMENTWISE] one mlx_log(i[0]);
Log10 "log10" (1, 1) [ELEMENTWISE] one mlx_log10(i[0]);
Log1p "log1p" (1, 1) [ELEMENTWISE] one mlx_log1p(i[0]);
Log2 "log2" (1, 1) [ELEMENTWISE] one mlx_log2(i[0]);
LogicalNot "logical_not" (1, 1) [ELEMENTWISE] one mlx_logical_not(i[0]);
Negative "negative" (1, 1) [ELEMENTWISE] one mlx_negative(i[0]);
NanToNum { nan: f32, posinf: Option<f32>, neginf: Option<f32> } "nan_to_num" (1, 1) [ELEMENTWISE] one
    mlx_nan_to_num(i[0], *nan, optional_f32(*posinf), optional_f32(*neginf));
Positive "positive" (1, 1) [ELEMENTWISE] one mlx_positive(i[0]);
Radians "radians" (1, 1) [ELEMENTWISE] one mlx_radians(i[0]);
Real "real" (1, 1) [ELEMENTWISE] one mlx_real(i[0]);
Reciprocal "reciprocal" (1, 1) [ELEMENTWISE] one mlx_reciprocal(i[0]);
Round { decimals: i32 } "round" (1, 1) [ELEMENTWISE] one mlx_round(i[0], *decimals);
Rsqrt "rsqrt" (1, 1) [ELEMENTWISE] one mlx_rsqrt(i[0]);
Sigmoid "sigmoid" (1, 1) [ELEMENTWISE] one mlx_sigmoid(i[0]);
Sign "sign" (1, 1) [ELEMENTWISE] one mlx_sign(i[0]);
Sin "sin" (1, 1) [ELEMENTWISE] one mlx_sin(i[0]);
Sinh "sinh" (1, 1) [ELEMENTWISE] one mlx_sinh(i[0]);
Sqrt "sqrt" (1, 1) [ELEMENTWISE] one mlx_sqrt(i[0]);
Square "square" (1, 1) [ELEMENTWISE] one mlx_square(i[0]);
StopGradient "stop_gradient" (1, 1) [ELEMENTWISE | VIEW] one mlx_stop_gradient(i[0]);
Tan "tan" (1, 1) [ELEMENTWISE] one mlx_tan(i[0]);
Tanh "tanh" (1, 1) [ELEMENTWISE] one mlx_tanh(i[0]);
Trunc "trunc" (1, 1) [ELEMENTWISE] one mlx_trunc(i[0]);
Astype { dtype: Dtype } "astype" (1, 1) [ELEMENTWISE] one mlx_astype(i[0], dtype.raw());
View { dtype: Dtype } "view" (1, 1) [FIXED_SIZES] one mlx_view(i[0], dtype.raw());
ToFp8 "to_fp8" (1, 1) [FIXED_SIZES] one mlx_to_fp8(i[0]);
FromFp8 { dtype: Dtype } "from_fp8" (1, 1) [FIXED_SIZES] one mlx_from_fp8(i[0], dtype.raw());

// Binary and ternary.
Add "add" (2, 2) [ELEMENTWISE] one mlx_add(i[0], i[1]);
Arctan2 "arctan2" (2, 2) [ELEMENTWISE] one mlx_arctan2(i[0], i[1]);
BitwiseAnd "bitwise_and" (2, 2) [ELEMENTWISE] one mlx_bitwise_and(i[0], i[1]);
BitwiseOr "bitwise_or" (2, 2) [ELEMENTWISE] one mlx_bitwise_or(i[0], i[1]);
BitwiseXor "bitwise_xor" (2, 2) [ELEMENTWISE] one mlx_bitwise_xor(i[0], i[1]);
Divide "divide" (2, 2) [ELEMENTWISE] one mlx_divide(i[0], i[1]);
Divmod "divmod" (2, 2) [FIXED_SIZES] many mlx_divmod(i[0], i[1]);
Equal "equal" (2, 2) [ELEMENTWISE] one mlx_equal(i[0], i[1]);
FloorDivide "floor_divide" (2, 2) [ELEMENTWISE] one mlx_floor_divide(i[0], i[1]);
Greater "greater" (2, 2) [ELEMENTWISE] one mlx_greater(i[0], i[1]);
GreaterEqual "greater_equal" (2, 2) [ELEMENTWISE] one mlx_greater_equal(i[0], i[1]);
LeftShift "left_shift" (2, 2) [ELEMENTWISE] one mlx_left_shift(i[0], i[1]);
Less "less" (2, 2) [ELEMENTWISE] one mlx_less(i[0], i[1]);
LessEqual "less_equal" (2, 2) [ELEMENTWISE] one mlx_less_equal(i[0], i[1]);
Logaddexp "logaddexp" (2, 2) [ELEMENTWISE] one mlx_logaddexp(i[0], i[1]);
LogicalAnd "logical_and" (2, 2) [ELEMENTWISE] one mlx_logical_and(i[0], i[1]);
LogicalOr "logical_or" (2, 2) [ELEMENTWISE] one mlx_logical_or(i[0], i[1]);
LogicalXor "logical_xor" (2, 2) [ELEMENTWISE] one mlx_logical_xor(i[0], i[1]);
Maximum "maximum" (2, 2) [ELEMENTWISE] one mlx_maximum(i[0], i[1]);
Minimum "minimum" (2, 2) [ELEMENTWISE] one mlx_minimum(i[0], i[1]);
Multiply "multiply" (2, 2) [ELEMENTWISE] one mlx_multiply(i[0], i[1]);
NotEqual "not_equal" (2, 2) [ELEMENTWISE] one mlx_not_equal(i[0], i[1]);
Power "power" (2, 2) [ELEMENTWISE] one mlx_power(i[0], i[1]);
Remainder "remainder" (2, 2) [ELEMENTWISE] one mlx_remainder(i[0], i[1]);
RightShift "right_shift" (2, 2) [ELEMENTWISE] one mlx_right_shift(i[0], i[1]);
Subtract "subtract" (2, 2) [ELEMENTWISE] one mlx_subtract(i[0], i[1]);
Where "where" (3, 3) [ELEMENTWISE] one mlx_where(i[0], i[1], i[2]);
Clip { min: bool, max: bool } "clip" (1, 3) [ELEMENTWISE] one
    mlx_clip(i[0], nth_if(i, 1, *min), nth_if(i, 1 + usize::from(*min), *max));
Isclose { rtol: f64, atol: f64, equal_nan: bool } "isclose" (2, 2) [ELEMENTWISE] one mlx_isclose(i[0], i[1], *rtol, *atol, *equal_nan);
Allclose { rtol: f64, atol: f64, equal_nan: bool } "allclose" (2, 2) [FIXED_SIZES] one mlx_allclose(i[0], i[1], *rtol, *atol, *equal_nan);
ArrayEqual { equal_nan: bool } "array_equal" (2, 2) [FIXED_SIZES] one mlx_array_equal(i[0], i[1], *equal_nan);

// Reductions.
All { axes: Vec<i32>, keepdims: bool } "all" (1, 1) [SIZES_FROM_INPUTS] one mlx_all_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Any { axes: Vec<i32>, keepdims: bool } "any" (1, 1) [SIZES_FROM_INPUTS] one mlx_any_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
CountNonzero { axes: Vec<i32>, keepdims: bool } "count_nonzero" (1, 1) [SIZES_FROM_INPUTS] one mlx_count_nonzero_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Logsumexp { axes: Vec<i32>, keepdims: bool } "logsumexp" (1, 1) [SIZES_FROM_INPUTS] one mlx_logsumexp_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Max { axes: Vec<i32>, keepdims: bool } "max" (1, 1) [SIZES_FROM_INPUTS] one mlx_max_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Mean { axes: Vec<i32>, keepdims: bool } "mean" (1, 1) [SIZES_FROM_INPUTS] one mlx_mean_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Median { axes: Vec<i32>, keepdims: bool } "median" (1, 1) [SIZES_FROM_INPUTS] one mlx_median_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Min { axes: Vec<i32>, keepdims: bool } "min" (1, 1) [SIZES_FROM_INPUTS] one mlx_min_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Prod { axes: Vec<i32>, keepdims: bool } "prod" (1, 1) [SIZES_FROM_INPUTS] one mlx_prod_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Std { axes: Vec<i32>, keepdims: bool, ddof: i32 } "std" (1, 1) [SIZES_FROM_INPUTS] one mlx_std_axes(i[0], axes.as_ptr(), axes.len(), *keepdims, *ddof);
Sum { axes: Vec<i32>, keepdims: bool } "sum" (1, 1) [SIZES_FROM_INPUTS] one mlx_sum_axes(i[0], axes.as_ptr(), axes.len(), *keepdims);
Var { axes: Vec<i32>, keepdims: bool, ddof: i32 } "var" (1, 1) [SIZES_FROM_INPUTS] one mlx_var_axes(i[0], axes.as_ptr(), axes.len(), *keepdims, *ddof);
Softmax { axes: Vec<i32>, precise: bool } "softmax" (1, 1) [SIZES_FROM_INPUTS] one mlx_softmax_axes(i[0], axes.as_ptr(), axes.len(), *precise);
NumberOfElements { axes: Vec<i32>, inverted: bool, dtype: Dtype } "number_of_elements" (1, 1) [FIXED_SIZES] one
    mlx_number_of_elements(i[0], axes.as_ptr(), axes.len(), *inverted, dtype.raw());

// Positions, orders and running results along one axis.
Argmax { axis: i32, keepdims: bool } "argmax" (1, 1) [SIZES_FROM_INPUTS] one mlx_argmax_axis(i[0], *axis, *keepdims);
Argmin { axis: i32, keepdims: bool } "argmin" (1, 1) [SIZES_FROM_INPUTS] one mlx_argmin_axis(i[0], *axis, *keepdims);
Argpartition { kth: i32, axis: i32 } "argpartition" (1, 1) [FIXED_SIZES] one mlx_argpartition_axis(i[0], *kth, *axis);
Argsort { axis: i32 } "argsort" (1, 1) [SIZES_FROM_INPUTS] one mlx_argsort_axis(i[0], *axis);
Partition { kth: i32, axis: i32 } "partition" (1, 1) [FIXED_SIZES] one mlx_partition_axis(i[0], *kth, *axis);
Sort { axis: i32 } "sort" (1, 1) [SIZES_FROM_INPUTS] one mlx_sort_axis(i[0], *axis);
Topk { k: i32, axis: i32 } "topk" (1, 1) [FIXED_SIZES] one mlx_topk_axis(i[0], *k, *axis);
Cummax { axis: i32, reverse: bool, inclusive: bool } "cummax" (1, 1) [SIZES_FROM_INPUTS] one mlx_cummax_axis(i[0], *axis, *reverse, *inclusive);
Cummin { axis: i32, reverse: bool, inclusive: bool } "cummin" (1, 1) [SIZES_FROM_INPUTS] one mlx_cummin_axis(i[0], *axis, *reverse, *inclusive);
Cumprod { axis: i32, reverse: bool, inclusive: bool } "cumprod" (1, 1) [SIZES_FROM_INPUTS] one
    mlx_cumprod_axis(i[0], *axis, *reverse, *inclusive, optional_dtype(None));
Cumsum { axis: i32, reverse: bool, inclusive: bool } "cumsum" (1, 1) [SIZES_FROM_INPUTS] one
    mlx_cumsum_axis(i[0], *axis, *reverse, *inclusive, optional_dtype(None));
Logcumsumexp { axis: i32, reverse: bool, inclusive: bool } "logcumsumexp" (1, 1) [SIZES_FROM_INPUTS] one mlx_logcumsumexp_axis(i[0], *axis, *reverse, *inclusive);
Diff { n: i32, axis: i32 } "diff" (1, 1) [FIXED_SIZES] one mlx_diff(i[0], *n, *axis);
Searchsorted { side: SearchSide } "searchsorted" (2, 2) [FIXED_SIZES] one mlx_searchsorted(i[0], i[1], side.c_text());

// Products.
Matmul "matmul" (2, 2) [SIZES_FROM_INPUTS | CONTRACTION] one mlx_matmul(i[0], i[1]);
Addmm { alpha: f32, beta: f32 } "addmm" (3, 3) [SIZES_FROM_INPUTS] one mlx_addmm(i[0], i[1], i[2], *alpha, *beta);
Inner "inner" (2, 2) [SIZES_FROM_INPUTS | CONTRACTION] one mlx_inner(i[0], i[1]);
Outer "outer" (2, 2) [SIZES_FROM_INPUTS] one mlx_outer(i[0], i[1]);
Kron "kron" (2, 2) [FIXED_SIZES] one mlx_kron(i[0], i[1]);
Tensordot { axes_a: Vec<i32>, axes_b: Vec<i32> } "tensordot" (2, 2) [SIZES_FROM_INPUTS | CONTRACTION] one
    mlx_tensordot(i[0], i[1], axes_a.as_ptr(), axes_a.len(), axes_b.as_ptr(), axes_b.len());
Einsum { subscripts: OpString } "einsum" (1, usize::MAX) [SIZES_FROM_INPUTS | CONTRACTION] one mlx_einsum(subscripts.c_text(), Vector::of(i)?.raw());
Vecdot { axis: i32 } "vecdot" (2, 2) [SIZES_FROM_INPUTS | CONTRACTION] one mlx_vecdot(i[0], i[1], *axis);
Trace { offset: i32, axis1: i32, axis2: i32, dtype: Dtype } "trace" (1, 1) [FIXED_SIZES | CONTRACTION] one mlx_trace_axes(i[0], *offset, *axis1, *axis2, dtype.raw());
HadamardTransform { scale: Option<f32> } "hadamard_transform" (1, 1) [FIXED_SIZES] one mlx_hadamard_transform(i[0], optional_f32(*scale));
BlockMaskedMm { block_size: i32, mask_out: bool, mask_lhs: bool, mask_rhs: bool } "block_masked_mm" (2, 5) [FIXED_SIZES | CONTRACTION] one
    mlx_block_masked_mm(i[0], i[1], *block_size, nth_if(i, 2, *mask_out), nth_if(i, 2 + usize::from(*mask_out), *mask_lhs),
        nth_if(i, 2 + usize::from(*mask_out) + usize::from(*mask_lhs), *mask_rhs));
GatherMm { lhs: bool, rhs: bool, sorted_indices: bool } "gather_mm" (2, 4) [FIXED_SIZES | CONTRACTION] one
    mlx_gather_mm(i[0], i[1], nth_if(i, 2, *lhs), nth_if(i, 2 + usize::from(*lhs), *rhs), *sorted_indices);
SegmentedMm "segmented_mm" (3, 3) [FIXED_SIZES | CONTRACTION] one mlx_segmented_mm(i[0], i[1], i[2]);

// Quantized.
Quantize { group_size: i32, bits: i32, mode: QuantizationMode } "quantize" (1, 1) [FIXED_SIZES] many
    mlx_quantize(i[0], some_i32(*group_size), some_i32(*bits), mode.c_text(), null_array());
Dequantize { group_size: i32, bits: i32, mode: QuantizationMode, dtype: Option<Dtype> } "dequantize" (2, 3) [SIZES_FROM_INPUTS] one
    mlx_dequantize(i[0], i[1], nth(i, 2), some_i32(*group_size), some_i32(*bits), mode.c_text(), null_array(), optional_dtype(*dtype));
QuantizedMatmul { transpose: bool, group_size: i32, bits: i32, mode: QuantizationMode } "quantized_matmul" (3, 4) [SIZES_FROM_INPUTS | CONTRACTION] one
    mlx_quantized_matmul(i[0], i[1], i[2], nth(i, 3), *transpose, some_i32(*group_size), some_i32(*bits), mode.c_text());
GatherQmm { biases: bool, lhs: bool, rhs: bool, transpose: bool, group_size: i32, bits: i32, mode: QuantizationMode, sorted_indices: bool } "gather_qmm" (3, 6) [FIXED_SIZES | CONTRACTION] one
    mlx_gather_qmm(i[0], i[1], i[2], nth_if(i, 3, *biases), nth_if(i, 3 + usize::from(*biases), *lhs),
        nth_if(i, 3 + usize::from(*biases) + usize::from(*lhs), *rhs), *transpose, some_i32(*group_size), some_i32(*bits), mode.c_text(), *sorted_indices);

// Convolutions: input [batch, spatial.., channels], weight [out, spatial.., in / groups].
Conv { stride: Vec<i32>, padding_lo: Vec<i32>, padding_hi: Vec<i32>, kernel_dilation: Vec<i32>, input_dilation: Vec<i32>, groups: i32, flip: bool } "conv_general" (2, 2) [SIZES_FROM_INPUTS | CONTRACTION] one
    mlx_conv_general(i[0], i[1], stride.as_ptr(), stride.len(), padding_lo.as_ptr(), padding_lo.len(), padding_hi.as_ptr(), padding_hi.len(),
        kernel_dilation.as_ptr(), kernel_dilation.len(), input_dilation.as_ptr(), input_dilation.len(), *groups, *flip);

// Shapes.
Reshape { shape: Vec<i32> } "reshape" (1, 1) [FIXED_SIZES | VIEW | KEEPS_ORDER] one mlx_reshape(i[0], shape.as_ptr(), shape.len());
Flatten { start_axis: i32, end_axis: i32 } "flatten" (1, 1) [SIZES_FROM_INPUTS | VIEW | KEEPS_ORDER] one mlx_flatten(i[0], *start_axis, *end_axis);
Unflatten { axis: i32, shape: Vec<i32> } "unflatten" (1, 1) [FIXED_SIZES | VIEW | KEEPS_ORDER] one mlx_unflatten(i[0], *axis, shape.as_ptr(), shape.len());
Squeeze { axes: Vec<i32> } "squeeze" (1, 1) [SIZES_FROM_INPUTS | VIEW | KEEPS_ORDER | SHARES_MEMORY] one mlx_squeeze_axes(i[0], axes.as_ptr(), axes.len());
ExpandDims { axes: Vec<i32> } "expand_dims" (1, 1) [SIZES_FROM_INPUTS | VIEW | KEEPS_ORDER | SHARES_MEMORY] one mlx_expand_dims_axes(i[0], axes.as_ptr(), axes.len());
Transpose { axes: Vec<i32> } "transpose" (1, 1) [SIZES_FROM_INPUTS | VIEW | SHARES_MEMORY] one mlx_transpose_axes(i[0], axes.as_ptr(), axes.len());
Swapaxes { axis1: i32, axis2: i32 } "swapaxes" (1, 1) [SIZES_FROM_INPUTS | VIEW | SHARES_MEMORY] one mlx_swapaxes(i[0], *axis1, *axis2);
Moveaxis { source: i32, destination: i32 } "moveaxis" (1, 1) [SIZES_FROM_INPUTS | VIEW | SHARES_MEMORY] one mlx_moveaxis(i[0], *source, *destination);
BroadcastTo { shape: Vec<i32> } "broadcast_to" (1, 1) [FIXED_SIZES | VIEW | SHARES_MEMORY] one mlx_broadcast_to(i[0], shape.as_ptr(), shape.len());
BroadcastArrays "broadcast_arrays" (1, usize::MAX) [SIZES_FROM_INPUTS | SHARES_MEMORY] many mlx_broadcast_arrays(Vector::of(i)?.raw());
Contiguous { allow_col_major: bool } "contiguous" (1, 1) [SIZES_FROM_INPUTS] one mlx_contiguous(i[0], *allow_col_major);
AsStrided { shape: Vec<i32>, strides: Vec<i64>, offset: usize } "as_strided" (1, 1) [FIXED_SIZES | SHARES_MEMORY] one
    mlx_as_strided(i[0], shape.as_ptr(), shape.len(), strides.as_ptr(), strides.len(), *offset);
Atleast1d "atleast_1d" (1, 1) [SIZES_FROM_INPUTS] one mlx_atleast_1d(i[0]);
Atleast2d "atleast_2d" (1, 1) [SIZES_FROM_INPUTS] one mlx_atleast_2d(i[0]);
Atleast3d "atleast_3d" (1, 1) [SIZES_FROM_INPUTS] one mlx_atleast_3d(i[0]);

// Joining and splitting.
Concatenate { axis: i32 } "concatenate" (1, usize::MAX) [SIZES_FROM_INPUTS] one mlx_concatenate_axis(Vector::of(i)?.raw(), *axis);
Stack { axis: i32 } "stack" (1, usize::MAX) [SIZES_FROM_INPUTS] one mlx_stack_axis(Vector::of(i)?.raw(), *axis);
Split { num_splits: i32, axis: i32 } "split" (1, 1) [FIXED_SIZES] many mlx_split(i[0], *num_splits, *axis);
SplitSections { indices: Vec<i32>, axis: i32 } "split_sections" (1, 1) [FIXED_SIZES] many mlx_split_sections(i[0], indices.as_ptr(), indices.len(), *axis);
Unstack { axis: i32 } "unstack" (1, 1) [FIXED_SIZES] many mlx_unstack_axis(i[0], *axis);
Tile { reps: Vec<i32> } "tile" (1, 1) [SIZES_FROM_INPUTS] one mlx_tile(i[0], reps.as_ptr(), reps.len());
Repeat { repeats: i32, axis: i32 } "repeat" (1, 1) [SIZES_FROM_INPUTS] one mlx_repeat_axis(i[0], *repeats, *axis);
Pad { axes: Vec<i32>, low: Vec<i32>, high: Vec<i32>, mode: PadMode } "pad" (2, 2) [FIXED_SIZES] one
    mlx_pad(i[0], axes.as_ptr(), axes.len(), low.as_ptr(), low.len(), high.as_ptr(), high.len(), i[1], mode.c_text());
Roll { shift: Vec<i32>, axes: Vec<i32> } "roll" (1, 1) [SIZES_FROM_INPUTS] one mlx_roll_axes(i[0], shift.as_ptr(), shift.len(), axes.as_ptr(), axes.len());
Flip { axes: Vec<i32> } "flip" (1, 1) [SIZES_FROM_INPUTS] one mlx_flip_axes(i[0], axes.as_ptr(), axes.len());
Meshgrid { sparse: bool, indexing: MeshIndexing } "meshgrid" (1, usize::MAX) [FIXED_SIZES | SHARES_MEMORY] many mlx_meshgrid(Vector::of(i)?.raw(), *sparse, indexing.c_text());

// Indexing.
Slice { start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32> } "slice" (1, 1) [FIXED_SIZES | VIEW | SHARES_MEMORY] one
    mlx_slice(i[0], start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), strides.as_ptr(), strides.len());
SliceDynamic { axes: Vec<i32>, slice_size: Vec<i32> } "slice_dynamic" (2, 2) [FIXED_SIZES] one
    mlx_slice_dynamic(i[0], i[1], axes.as_ptr(), axes.len(), slice_size.as_ptr(), slice_size.len());
SliceUpdate { start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32> } "slice_update" (2, 2) [FIXED_SIZES] one
    mlx_slice_update(i[0], i[1], start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), strides.as_ptr(), strides.len());
SliceUpdateAdd { start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32> } "slice_update_add" (2, 2) [FIXED_SIZES] one
    mlx_slice_update_add(i[0], i[1], start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), strides.as_ptr(), strides.len());
SliceUpdateMax { start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32> } "slice_update_max" (2, 2) [FIXED_SIZES] one
    mlx_slice_update_max(i[0], i[1], start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), strides.as_ptr(), strides.len());
SliceUpdateMin { start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32> } "slice_update_min" (2, 2) [FIXED_SIZES] one
    mlx_slice_update_min(i[0], i[1], start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), strides.as_ptr(), strides.len());
SliceUpdateProd { start: Vec<i32>, stop: Vec<i32>, strides: Vec<i32> } "slice_update_prod" (2, 2) [FIXED_SIZES] one
    mlx_slice_update_prod(i[0], i[1], start.as_ptr(), start.len(), stop.as_ptr(), stop.len(), strides.as_ptr(), strides.len());
SliceUpdateDynamic { axes: Vec<i32> } "slice_update_dynamic" (3, 3) [FIXED_SIZES] one mlx_slice_update_dynamic(i[0], i[1], i[2], axes.as_ptr(), axes.len());
Take { axis: i32 } "take" (2, 2) [SIZES_FROM_INPUTS] one mlx_take_axis(i[0], i[1], *axis);
TakeAlongAxis { axis: i32 } "take_along_axis" (2, 2) [SIZES_FROM_INPUTS] one mlx_take_along_axis(i[0], i[1], *axis);
PutAlongAxis { axis: i32 } "put_along_axis" (3, 3) [FIXED_SIZES] one mlx_put_along_axis(i[0], i[1], i[2], *axis);
ScatterAddAxis { axis: i32 } "scatter_add_axis" (3, 3) [FIXED_SIZES] one mlx_scatter_add_axis(i[0], i[1], i[2], *axis);
Gather { axes: Vec<i32>, slice_sizes: Vec<i32> } "gather" (2, usize::MAX) [FIXED_SIZES] one
    mlx_gather(i[0], Vector::of(&i[1..])?.raw(), axes.as_ptr(), axes.len(), slice_sizes.as_ptr(), slice_sizes.len());
Scatter { axes: Vec<i32> } "scatter" (3, usize::MAX) [FIXED_SIZES | SCATTER] one mlx_scatter(i[0], Vector::of(&i[2..])?.raw(), i[1], axes.as_ptr(), axes.len());
ScatterAdd { axes: Vec<i32> } "scatter_add" (3, usize::MAX) [FIXED_SIZES | SCATTER] one mlx_scatter_add(i[0], Vector::of(&i[2..])?.raw(), i[1], axes.as_ptr(), axes.len());
ScatterMax { axes: Vec<i32> } "scatter_max" (3, usize::MAX) [FIXED_SIZES | SCATTER] one mlx_scatter_max(i[0], Vector::of(&i[2..])?.raw(), i[1], axes.as_ptr(), axes.len());
ScatterMin { axes: Vec<i32> } "scatter_min" (3, usize::MAX) [FIXED_SIZES | SCATTER] one mlx_scatter_min(i[0], Vector::of(&i[2..])?.raw(), i[1], axes.as_ptr(), axes.len());
ScatterProd { axes: Vec<i32> } "scatter_prod" (3, usize::MAX) [FIXED_SIZES | SCATTER] one mlx_scatter_prod(i[0], Vector::of(&i[2..])?.raw(), i[1], axes.as_ptr(), axes.len());
MaskedScatter "masked_scatter" (3, 3) [FIXED_SIZES] one mlx_masked_scatter(i[0], i[1], i[2]);
Diag { k: i32 } "diag" (1, 1) [FIXED_SIZES] one mlx_diag(i[0], *k);
Diagonal { offset: i32, axis1: i32, axis2: i32 } "diagonal" (1, 1) [FIXED_SIZES] one mlx_diagonal(i[0], *offset, *axis1, *axis2);
Tril { k: i32 } "tril" (1, 1) [SIZES_FROM_INPUTS] one mlx_tril(i[0], *k);
Triu { k: i32 } "triu" (1, 1) [SIZES_FROM_INPUTS] one mlx_triu(i[0], *k);

// Creation.
Arange { start: f64, stop: f64, step: f64, dtype: Dtype } "arange" (0, 0) [FIXED_SIZES] one mlx_arange(*start, *stop, *step, dtype.raw());
Linspace { start: f64, stop: f64, num: i32, endpoint: bool, dtype: Dtype } "linspace" (0, 0) [FIXED_SIZES] one
    mlx_linspace_endpoint(*start, *stop, *num, *endpoint, dtype.raw());
Zeros { shape: Vec<i32>, dtype: Dtype } "zeros" (0, 0) [FIXED_SIZES] one mlx_zeros(shape.as_ptr(), shape.len(), dtype.raw());
Ones { shape: Vec<i32>, dtype: Dtype } "ones" (0, 0) [FIXED_SIZES] one mlx_ones(shape.as_ptr(), shape.len(), dtype.raw());
ZerosLike "zeros_like" (1, 1) [SIZES_FROM_INPUTS] one mlx_zeros_like(i[0]);
OnesLike "ones_like" (1, 1) [SIZES_FROM_INPUTS] one mlx_ones_like(i[0]);
Full { shape: Vec<i32>, dtype: Dtype } "full" (1, 1) [FIXED_SIZES] one mlx_full(shape.as_ptr(), shape.len(), i[0], dtype.raw());
FullLike { dtype: Dtype } "full_like" (2, 2) [SIZES_FROM_INPUTS] one mlx_full_like(i[0], i[1], dtype.raw());
Eye { n: i32, m: i32, k: i32, dtype: Dtype } "eye" (0, 0) [FIXED_SIZES] one mlx_eye(*n, *m, *k, dtype.raw());
Tri { n: i32, m: i32, k: i32, dtype: Dtype } "tri" (0, 0) [FIXED_SIZES] one mlx_tri(*n, *m, *k, dtype.raw());
Bartlett { m: i32 } "bartlett" (0, 0) [FIXED_SIZES] one mlx_bartlett(*m);
Blackman { m: i32 } "blackman" (0, 0) [FIXED_SIZES] one mlx_blackman(*m);
Hamming { m: i32 } "hamming" (0, 0) [FIXED_SIZES] one mlx_hamming(*m);
Hanning { m: i32 } "hanning" (0, 0) [FIXED_SIZES] one mlx_hanning(*m);

// Random numbers: the key is always the last input.
RandomBernoulli { shape: Vec<i32> } "random.bernoulli" (2, 2) [FIXED_SIZES] one mlx_random_bernoulli(i[0], shape.as_ptr(), shape.len(), i[1]);
RandomBits { shape: Vec<i32>, width: i32 } "random.bits" (1, 1) [FIXED_SIZES] one mlx_random_bits(shape.as_ptr(), shape.len(), *width, i[0]);
RandomCategorical { axis: i32, shape: Vec<i32> } "random.categorical" (2, 2) [FIXED_SIZES] one
    mlx_random_categorical_shape(i[0], *axis, shape.as_ptr(), shape.len(), i[1]);
RandomGumbel { shape: Vec<i32>, dtype: Dtype } "random.gumbel" (1, 1) [FIXED_SIZES] one mlx_random_gumbel(shape.as_ptr(), shape.len(), dtype.raw(), i[0]);
RandomLaplace { shape: Vec<i32>, dtype: Dtype, loc: f32, scale: f32 } "random.laplace" (1, 1) [FIXED_SIZES] one
    mlx_random_laplace(shape.as_ptr(), shape.len(), dtype.raw(), *loc, *scale, i[0]);
RandomMultivariateNormal { shape: Vec<i32>, dtype: Dtype } "random.multivariate_normal" (3, 3) [FIXED_SIZES | CPU_ONLY] one
    mlx_random_multivariate_normal(i[0], i[1], shape.as_ptr(), shape.len(), dtype.raw(), i[2]);
RandomNormal { shape: Vec<i32>, dtype: Dtype, loc: f32, scale: f32 } "random.normal" (1, 1) [FIXED_SIZES] one
    mlx_random_normal(shape.as_ptr(), shape.len(), dtype.raw(), *loc, *scale, i[0]);
RandomPermutation { axis: i32 } "random.permutation" (2, 2) [FIXED_SIZES] one mlx_random_permutation(i[0], *axis, i[1]);
RandomRandint { shape: Vec<i32>, dtype: Dtype } "random.randint" (3, 3) [FIXED_SIZES] one
    mlx_random_randint(i[0], i[1], shape.as_ptr(), shape.len(), dtype.raw(), i[2]);
RandomSplit { num: i32 } "random.split" (1, 1) [FIXED_SIZES] one mlx_random_split_num(i[0], *num);
RandomTruncatedNormal { shape: Vec<i32>, dtype: Dtype } "random.truncated_normal" (3, 3) [FIXED_SIZES] one
    mlx_random_truncated_normal(i[0], i[1], shape.as_ptr(), shape.len(), dtype.raw(), i[2]);
RandomUniform { shape: Vec<i32>, dtype: Dtype } "random.uniform" (3, 3) [FIXED_SIZES] one
    mlx_random_uniform(i[0], i[1], shape.as_ptr(), shape.len(), dtype.raw(), i[2]);

// Fourier transforms.
Fftn { n: Vec<i32>, axes: Vec<i32>, norm: FftNorm } "fft.fftn" (1, 1) [FIXED_SIZES] one mlx_fft_fftn(i[0], n.as_ptr(), n.len(), axes.as_ptr(), axes.len(), norm.raw());
Ifftn { n: Vec<i32>, axes: Vec<i32>, norm: FftNorm } "fft.ifftn" (1, 1) [FIXED_SIZES] one mlx_fft_ifftn(i[0], n.as_ptr(), n.len(), axes.as_ptr(), axes.len(), norm.raw());
Rfftn { n: Vec<i32>, axes: Vec<i32>, norm: FftNorm } "fft.rfftn" (1, 1) [FIXED_SIZES] one mlx_fft_rfftn(i[0], n.as_ptr(), n.len(), axes.as_ptr(), axes.len(), norm.raw());
Irfftn { n: Vec<i32>, axes: Vec<i32>, norm: FftNorm } "fft.irfftn" (1, 1) [FIXED_SIZES] one mlx_fft_irfftn(i[0], n.as_ptr(), n.len(), axes.as_ptr(), axes.len(), norm.raw());
Fftshift { axes: Vec<i32> } "fft.fftshift" (1, 1) [FIXED_SIZES] one mlx_fft_fftshift(i[0], axes.as_ptr(), axes.len());
Ifftshift { axes: Vec<i32> } "fft.ifftshift" (1, 1) [FIXED_SIZES] one mlx_fft_ifftshift(i[0], axes.as_ptr(), axes.len());
Fftfreq { n: i32, d: f64 } "fft.fftfreq" (0, 0) [FIXED_SIZES] one mlx_fft_fftfreq(*n, *d);
Rfftfreq { n: i32, d: f64 } "fft.rfftfreq" (0, 0) [FIXED_SIZES] one mlx_fft_rfftfreq(*n, *d);

// Linear algebra.
Cholesky { upper: bool } "linalg.cholesky" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_cholesky(i[0], *upper);
CholeskyInv { upper: bool } "linalg.cholesky_inv" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_cholesky_inv(i[0], *upper);
Cross { axis: i32 } "linalg.cross" (2, 2) [FIXED_SIZES] one mlx_linalg_cross(i[0], i[1], *axis);
Det "linalg.det" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_det(i[0]);
Eig "linalg.eig" (1, 1) [FIXED_SIZES | CPU_ONLY] two mlx_linalg_eig(i[0]);
Eigh { uplo: Triangle } "linalg.eigh" (1, 1) [FIXED_SIZES | CPU_ONLY] two mlx_linalg_eigh(i[0], uplo.c_text());
Eigvals "linalg.eigvals" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_eigvals(i[0]);
Eigvalsh { uplo: Triangle } "linalg.eigvalsh" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_eigvalsh(i[0], uplo.c_text());
Inv "linalg.inv" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_inv(i[0]);
Lu "linalg.lu" (1, 1) [FIXED_SIZES | CPU_ONLY] many mlx_linalg_lu(i[0]);
LuFactor "linalg.lu_factor" (1, 1) [FIXED_SIZES | CPU_ONLY] two mlx_linalg_lu_factor(i[0]);
Norm { ord: f64, axes: Vec<i32>, keepdims: bool } "linalg.norm" (1, 1) [FIXED_SIZES] one mlx_linalg_norm(i[0], *ord, axes.as_ptr(), axes.len(), *keepdims);
NormMatrix { ord: OpString, axes: Vec<i32>, keepdims: bool } "linalg.norm_matrix" (1, 1) [FIXED_SIZES] one
    mlx_linalg_norm_matrix(i[0], ord.c_text(), axes.as_ptr(), axes.len(), *keepdims);
NormL2 { axes: Vec<i32>, keepdims: bool } "linalg.norm_l2" (1, 1) [FIXED_SIZES] one mlx_linalg_norm_l2(i[0], axes.as_ptr(), axes.len(), *keepdims);
Pinv "linalg.pinv" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_native_linalg_pinv(i[0]);
Qr "linalg.qr" (1, 1) [FIXED_SIZES | CPU_ONLY] two mlx_linalg_qr(i[0]);
Slogdet "linalg.slogdet" (1, 1) [FIXED_SIZES | CPU_ONLY] two mlx_linalg_slogdet(i[0]);
Solve "linalg.solve" (2, 2) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_solve(i[0], i[1]);
SolveTriangular { upper: bool } "linalg.solve_triangular" (2, 2) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_solve_triangular(i[0], i[1], *upper);
Svd { compute_uv: bool } "linalg.svd" (1, 1) [FIXED_SIZES | CPU_ONLY] many mlx_linalg_svd(i[0], *compute_uv);
TriInv { upper: bool } "linalg.tri_inv" (1, 1) [FIXED_SIZES | CPU_ONLY] one mlx_linalg_tri_inv(i[0], *upper);

// Communication between the ranks of a group.
AllSum { group: OpString } "distributed.all_sum" (1, 1) [SIZES_FROM_INPUTS | COMMUNICATES] one mlx_distributed_all_sum(i[0], group_of(group));
AllMax { group: OpString } "distributed.all_max" (1, 1) [SIZES_FROM_INPUTS | COMMUNICATES] one mlx_distributed_all_max(i[0], group_of(group));
AllMin { group: OpString } "distributed.all_min" (1, 1) [SIZES_FROM_INPUTS | COMMUNICATES] one mlx_distributed_all_min(i[0], group_of(group));
AllGather { group: OpString } "distributed.all_gather" (1, 1) [SIZES_FROM_INPUTS | COMMUNICATES] one
    mlx_distributed_all_gather(i[0], group_of(group));
SumScatter { group: OpString } "distributed.sum_scatter" (1, 1) [SIZES_FROM_INPUTS | COMMUNICATES] one
    mlx_distributed_sum_scatter(i[0], group_of(group));
Send { dst: i32, group: OpString } "distributed.send" (1, 1) [SIZES_FROM_INPUTS | COMMUNICATES] one
    mlx_distributed_send(i[0], *dst, group_of(group));
Recv { shape: Vec<i32>, dtype: Dtype, src: i32, group: OpString } "distributed.recv" (0, 0) [FIXED_SIZES | COMMUNICATES] one
    mlx_distributed_recv(shape.as_ptr(), shape.len(), dtype.raw(), *src, group_of(group));

// Fused transformer kernels: inputs in the order given, the optional ones that are there.
RmsNorm { eps: f32 } "fast.rms_norm" (1, 2) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
LayerNorm { weight: bool, bias: bool, eps: f32 } "fast.layer_norm" (1, 3) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
Rope { dims: i32, traditional: bool, base: Option<f32>, scale: f32, freqs: bool } "fast.rope" (2, 3) [FUSED | SIZES_FROM_INPUTS] fused
    mlx_native_fast();
ScaledDotProductAttention { scale: f32, mask: MaskMode, sinks: bool, force_fused: bool } "fast.scaled_dot_product_attention" (3, 5)
    [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
CrossEntropy "fast.cross_entropy" (2, 2) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
Gelu "fast.gelu" (1, 1) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
GeluApprox "fast.gelu_approx" (1, 1) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
Silu "fast.silu" (1, 1) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
SwiGlu "fast.swiglu" (2, 2) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
Linear "fast.linear" (2, 2) [FUSED | SIZES_FROM_INPUTS] fused mlx_native_fast();
        }
    };
}
pub(crate) use op_table;
