// Generated from crates/mlx/src/op/table.rs by `cargo xtask golden`. Do not edit.
//
// The operations as C++ names them: `op_bytes.h` writes and reads them.
#ifndef MLX_NATIVE_MLX_OPS_H
#define MLX_NATIVE_MLX_OPS_H

#include "op_bytes.h"

namespace ops {

enum class SearchSide : uint8_t { Left, Right };
inline const char* text(SearchSide value) {
  constexpr const char* kTexts[] = {"left", "right"};
  return kTexts[static_cast<size_t>(value)];
}
enum class QuantizationMode : uint8_t { Affine, Mxfp4, Mxfp8, Nvfp4 };
inline const char* text(QuantizationMode value) {
  constexpr const char* kTexts[] = {"affine", "mxfp4", "mxfp8", "nvfp4"};
  return kTexts[static_cast<size_t>(value)];
}
enum class PadMode : uint8_t { Constant, Edge, Reflect, Symmetric };
inline const char* text(PadMode value) {
  constexpr const char* kTexts[] = {"constant", "edge", "reflect", "symmetric"};
  return kTexts[static_cast<size_t>(value)];
}
enum class MeshIndexing : uint8_t { Xy, Ij };
inline const char* text(MeshIndexing value) {
  constexpr const char* kTexts[] = {"xy", "ij"};
  return kTexts[static_cast<size_t>(value)];
}
enum class Triangle : uint8_t { Lower, Upper };
inline const char* text(Triangle value) {
  constexpr const char* kTexts[] = {"L", "U"};
  return kTexts[static_cast<size_t>(value)];
}
enum class MaskMode : uint8_t { None, Causal, Array };
inline const char* text(MaskMode value) {
  constexpr const char* kTexts[] = {"", "causal", "array"};
  return kTexts[static_cast<size_t>(value)];
}
enum class FftNorm : uint8_t { Backward, Ortho, Forward };
inline const char* text(FftNorm value) {
  constexpr const char* kTexts[] = {"backward", "ortho", "forward"};
  return kTexts[static_cast<size_t>(value)];
}

// Of the table: what Rust was built with must be the same.
inline constexpr uint64_t kFingerprint = 0x2a35bb3dd268c459;

struct Abs { static constexpr uint16_t id = 0; auto fields() { return std::tie(); } };
struct Arccos { static constexpr uint16_t id = 1; auto fields() { return std::tie(); } };
struct Arccosh { static constexpr uint16_t id = 2; auto fields() { return std::tie(); } };
struct Arcsin { static constexpr uint16_t id = 3; auto fields() { return std::tie(); } };
struct Arcsinh { static constexpr uint16_t id = 4; auto fields() { return std::tie(); } };
struct Arctan { static constexpr uint16_t id = 5; auto fields() { return std::tie(); } };
struct Arctanh { static constexpr uint16_t id = 6; auto fields() { return std::tie(); } };
struct BitwiseInvert { static constexpr uint16_t id = 7; auto fields() { return std::tie(); } };
struct Ceil { static constexpr uint16_t id = 8; auto fields() { return std::tie(); } };
struct Conjugate { static constexpr uint16_t id = 9; auto fields() { return std::tie(); } };
struct Copy { static constexpr uint16_t id = 10; auto fields() { return std::tie(); } };
struct Cos { static constexpr uint16_t id = 11; auto fields() { return std::tie(); } };
struct Cosh { static constexpr uint16_t id = 12; auto fields() { return std::tie(); } };
struct Degrees { static constexpr uint16_t id = 13; auto fields() { return std::tie(); } };
struct Erf { static constexpr uint16_t id = 14; auto fields() { return std::tie(); } };
struct Erfinv { static constexpr uint16_t id = 15; auto fields() { return std::tie(); } };
struct Exp { static constexpr uint16_t id = 16; auto fields() { return std::tie(); } };
struct Expm1 { static constexpr uint16_t id = 17; auto fields() { return std::tie(); } };
struct Floor { static constexpr uint16_t id = 18; auto fields() { return std::tie(); } };
struct Imag { static constexpr uint16_t id = 19; auto fields() { return std::tie(); } };
struct Isfinite { static constexpr uint16_t id = 20; auto fields() { return std::tie(); } };
struct Isinf { static constexpr uint16_t id = 21; auto fields() { return std::tie(); } };
struct Isnan { static constexpr uint16_t id = 22; auto fields() { return std::tie(); } };
struct Isneginf { static constexpr uint16_t id = 23; auto fields() { return std::tie(); } };
struct Isposinf { static constexpr uint16_t id = 24; auto fields() { return std::tie(); } };
struct Log { static constexpr uint16_t id = 25; auto fields() { return std::tie(); } };
struct Log10 { static constexpr uint16_t id = 26; auto fields() { return std::tie(); } };
struct Log1p { static constexpr uint16_t id = 27; auto fields() { return std::tie(); } };
struct Log2 { static constexpr uint16_t id = 28; auto fields() { return std::tie(); } };
struct LogicalNot { static constexpr uint16_t id = 29; auto fields() { return std::tie(); } };
struct Negative { static constexpr uint16_t id = 30; auto fields() { return std::tie(); } };
struct NanToNum { static constexpr uint16_t id = 31; float nan; std::optional<float> posinf; std::optional<float> neginf; auto fields() { return std::tie(nan, posinf, neginf); } };
struct Positive { static constexpr uint16_t id = 32; auto fields() { return std::tie(); } };
struct Radians { static constexpr uint16_t id = 33; auto fields() { return std::tie(); } };
struct Real { static constexpr uint16_t id = 34; auto fields() { return std::tie(); } };
struct Reciprocal { static constexpr uint16_t id = 35; auto fields() { return std::tie(); } };
struct Round { static constexpr uint16_t id = 36; int32_t decimals; auto fields() { return std::tie(decimals); } };
struct Rsqrt { static constexpr uint16_t id = 37; auto fields() { return std::tie(); } };
struct Sigmoid { static constexpr uint16_t id = 38; auto fields() { return std::tie(); } };
struct Sign { static constexpr uint16_t id = 39; auto fields() { return std::tie(); } };
struct Sin { static constexpr uint16_t id = 40; auto fields() { return std::tie(); } };
struct Sinh { static constexpr uint16_t id = 41; auto fields() { return std::tie(); } };
struct Sqrt { static constexpr uint16_t id = 42; auto fields() { return std::tie(); } };
struct Square { static constexpr uint16_t id = 43; auto fields() { return std::tie(); } };
struct StopGradient { static constexpr uint16_t id = 44; auto fields() { return std::tie(); } };
struct Tan { static constexpr uint16_t id = 45; auto fields() { return std::tie(); } };
struct Tanh { static constexpr uint16_t id = 46; auto fields() { return std::tie(); } };
struct Trunc { static constexpr uint16_t id = 47; auto fields() { return std::tie(); } };
struct Astype { static constexpr uint16_t id = 48; uint8_t dtype; auto fields() { return std::tie(dtype); } };
struct View { static constexpr uint16_t id = 49; uint8_t dtype; auto fields() { return std::tie(dtype); } };
struct ToFp8 { static constexpr uint16_t id = 50; auto fields() { return std::tie(); } };
struct FromFp8 { static constexpr uint16_t id = 51; uint8_t dtype; auto fields() { return std::tie(dtype); } };
struct Add { static constexpr uint16_t id = 52; auto fields() { return std::tie(); } };
struct Arctan2 { static constexpr uint16_t id = 53; auto fields() { return std::tie(); } };
struct BitwiseAnd { static constexpr uint16_t id = 54; auto fields() { return std::tie(); } };
struct BitwiseOr { static constexpr uint16_t id = 55; auto fields() { return std::tie(); } };
struct BitwiseXor { static constexpr uint16_t id = 56; auto fields() { return std::tie(); } };
struct Divide { static constexpr uint16_t id = 57; auto fields() { return std::tie(); } };
struct Divmod { static constexpr uint16_t id = 58; auto fields() { return std::tie(); } };
struct Equal { static constexpr uint16_t id = 59; auto fields() { return std::tie(); } };
struct FloorDivide { static constexpr uint16_t id = 60; auto fields() { return std::tie(); } };
struct Greater { static constexpr uint16_t id = 61; auto fields() { return std::tie(); } };
struct GreaterEqual { static constexpr uint16_t id = 62; auto fields() { return std::tie(); } };
struct LeftShift { static constexpr uint16_t id = 63; auto fields() { return std::tie(); } };
struct Less { static constexpr uint16_t id = 64; auto fields() { return std::tie(); } };
struct LessEqual { static constexpr uint16_t id = 65; auto fields() { return std::tie(); } };
struct Logaddexp { static constexpr uint16_t id = 66; auto fields() { return std::tie(); } };
struct LogicalAnd { static constexpr uint16_t id = 67; auto fields() { return std::tie(); } };
struct LogicalOr { static constexpr uint16_t id = 68; auto fields() { return std::tie(); } };
struct LogicalXor { static constexpr uint16_t id = 69; auto fields() { return std::tie(); } };
struct Maximum { static constexpr uint16_t id = 70; auto fields() { return std::tie(); } };
struct Minimum { static constexpr uint16_t id = 71; auto fields() { return std::tie(); } };
struct Multiply { static constexpr uint16_t id = 72; auto fields() { return std::tie(); } };
struct NotEqual { static constexpr uint16_t id = 73; auto fields() { return std::tie(); } };
struct Power { static constexpr uint16_t id = 74; auto fields() { return std::tie(); } };
struct Remainder { static constexpr uint16_t id = 75; auto fields() { return std::tie(); } };
struct RightShift { static constexpr uint16_t id = 76; auto fields() { return std::tie(); } };
struct Subtract { static constexpr uint16_t id = 77; auto fields() { return std::tie(); } };
struct Where { static constexpr uint16_t id = 78; auto fields() { return std::tie(); } };
struct Clip { static constexpr uint16_t id = 79; bool min; bool max; auto fields() { return std::tie(min, max); } };
struct Isclose { static constexpr uint16_t id = 80; double rtol; double atol; bool equal_nan; auto fields() { return std::tie(rtol, atol, equal_nan); } };
struct Allclose { static constexpr uint16_t id = 81; double rtol; double atol; bool equal_nan; auto fields() { return std::tie(rtol, atol, equal_nan); } };
struct ArrayEqual { static constexpr uint16_t id = 82; bool equal_nan; auto fields() { return std::tie(equal_nan); } };
struct All { static constexpr uint16_t id = 83; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Any { static constexpr uint16_t id = 84; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct CountNonzero { static constexpr uint16_t id = 85; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Logsumexp { static constexpr uint16_t id = 86; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Max { static constexpr uint16_t id = 87; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Mean { static constexpr uint16_t id = 88; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Median { static constexpr uint16_t id = 89; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Min { static constexpr uint16_t id = 90; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Prod { static constexpr uint16_t id = 91; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Std { static constexpr uint16_t id = 92; std::vector<int32_t> axes; bool keepdims; int32_t ddof; auto fields() { return std::tie(axes, keepdims, ddof); } };
struct Sum { static constexpr uint16_t id = 93; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Var { static constexpr uint16_t id = 94; std::vector<int32_t> axes; bool keepdims; int32_t ddof; auto fields() { return std::tie(axes, keepdims, ddof); } };
struct Softmax { static constexpr uint16_t id = 95; std::vector<int32_t> axes; bool precise; auto fields() { return std::tie(axes, precise); } };
struct NumberOfElements { static constexpr uint16_t id = 96; std::vector<int32_t> axes; bool inverted; uint8_t dtype; auto fields() { return std::tie(axes, inverted, dtype); } };
struct Argmax { static constexpr uint16_t id = 97; int32_t axis; bool keepdims; auto fields() { return std::tie(axis, keepdims); } };
struct Argmin { static constexpr uint16_t id = 98; int32_t axis; bool keepdims; auto fields() { return std::tie(axis, keepdims); } };
struct Argpartition { static constexpr uint16_t id = 99; int32_t kth; int32_t axis; auto fields() { return std::tie(kth, axis); } };
struct Argsort { static constexpr uint16_t id = 100; int32_t axis; auto fields() { return std::tie(axis); } };
struct Partition { static constexpr uint16_t id = 101; int32_t kth; int32_t axis; auto fields() { return std::tie(kth, axis); } };
struct Sort { static constexpr uint16_t id = 102; int32_t axis; auto fields() { return std::tie(axis); } };
struct Topk { static constexpr uint16_t id = 103; int32_t k; int32_t axis; auto fields() { return std::tie(k, axis); } };
struct Cummax { static constexpr uint16_t id = 104; int32_t axis; bool reverse; bool inclusive; auto fields() { return std::tie(axis, reverse, inclusive); } };
struct Cummin { static constexpr uint16_t id = 105; int32_t axis; bool reverse; bool inclusive; auto fields() { return std::tie(axis, reverse, inclusive); } };
struct Cumprod { static constexpr uint16_t id = 106; int32_t axis; bool reverse; bool inclusive; auto fields() { return std::tie(axis, reverse, inclusive); } };
struct Cumsum { static constexpr uint16_t id = 107; int32_t axis; bool reverse; bool inclusive; auto fields() { return std::tie(axis, reverse, inclusive); } };
struct Logcumsumexp { static constexpr uint16_t id = 108; int32_t axis; bool reverse; bool inclusive; auto fields() { return std::tie(axis, reverse, inclusive); } };
struct Diff { static constexpr uint16_t id = 109; int32_t n; int32_t axis; auto fields() { return std::tie(n, axis); } };
struct Searchsorted { static constexpr uint16_t id = 110; SearchSide side; auto fields() { return std::tie(side); } };
struct Matmul { static constexpr uint16_t id = 111; auto fields() { return std::tie(); } };
struct Addmm { static constexpr uint16_t id = 112; float alpha; float beta; auto fields() { return std::tie(alpha, beta); } };
struct Inner { static constexpr uint16_t id = 113; auto fields() { return std::tie(); } };
struct Outer { static constexpr uint16_t id = 114; auto fields() { return std::tie(); } };
struct Kron { static constexpr uint16_t id = 115; auto fields() { return std::tie(); } };
struct Tensordot { static constexpr uint16_t id = 116; std::vector<int32_t> axes_a; std::vector<int32_t> axes_b; auto fields() { return std::tie(axes_a, axes_b); } };
struct Einsum { static constexpr uint16_t id = 117; std::string subscripts; auto fields() { return std::tie(subscripts); } };
struct Vecdot { static constexpr uint16_t id = 118; int32_t axis; auto fields() { return std::tie(axis); } };
struct Trace { static constexpr uint16_t id = 119; int32_t offset; int32_t axis1; int32_t axis2; uint8_t dtype; auto fields() { return std::tie(offset, axis1, axis2, dtype); } };
struct HadamardTransform { static constexpr uint16_t id = 120; std::optional<float> scale; auto fields() { return std::tie(scale); } };
struct BlockMaskedMm { static constexpr uint16_t id = 121; int32_t block_size; bool mask_out; bool mask_lhs; bool mask_rhs; auto fields() { return std::tie(block_size, mask_out, mask_lhs, mask_rhs); } };
struct GatherMm { static constexpr uint16_t id = 122; bool lhs; bool rhs; bool sorted_indices; auto fields() { return std::tie(lhs, rhs, sorted_indices); } };
struct SegmentedMm { static constexpr uint16_t id = 123; auto fields() { return std::tie(); } };
struct Quantize { static constexpr uint16_t id = 124; int32_t group_size; int32_t bits; QuantizationMode mode; auto fields() { return std::tie(group_size, bits, mode); } };
struct Dequantize { static constexpr uint16_t id = 125; int32_t group_size; int32_t bits; QuantizationMode mode; std::optional<uint8_t> dtype; auto fields() { return std::tie(group_size, bits, mode, dtype); } };
struct QuantizedMatmul { static constexpr uint16_t id = 126; bool transpose; int32_t group_size; int32_t bits; QuantizationMode mode; auto fields() { return std::tie(transpose, group_size, bits, mode); } };
struct GatherQmm { static constexpr uint16_t id = 127; bool biases; bool lhs; bool rhs; bool transpose; int32_t group_size; int32_t bits; QuantizationMode mode; bool sorted_indices; auto fields() { return std::tie(biases, lhs, rhs, transpose, group_size, bits, mode, sorted_indices); } };
struct Conv { static constexpr uint16_t id = 128; std::vector<int32_t> stride; std::vector<int32_t> padding_lo; std::vector<int32_t> padding_hi; std::vector<int32_t> kernel_dilation; std::vector<int32_t> input_dilation; int32_t groups; bool flip; auto fields() { return std::tie(stride, padding_lo, padding_hi, kernel_dilation, input_dilation, groups, flip); } };
struct Reshape { static constexpr uint16_t id = 129; std::vector<int32_t> shape; auto fields() { return std::tie(shape); } };
struct Flatten { static constexpr uint16_t id = 130; int32_t start_axis; int32_t end_axis; auto fields() { return std::tie(start_axis, end_axis); } };
struct Unflatten { static constexpr uint16_t id = 131; int32_t axis; std::vector<int32_t> shape; auto fields() { return std::tie(axis, shape); } };
struct Squeeze { static constexpr uint16_t id = 132; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct ExpandDims { static constexpr uint16_t id = 133; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct Transpose { static constexpr uint16_t id = 134; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct Swapaxes { static constexpr uint16_t id = 135; int32_t axis1; int32_t axis2; auto fields() { return std::tie(axis1, axis2); } };
struct Moveaxis { static constexpr uint16_t id = 136; int32_t source; int32_t destination; auto fields() { return std::tie(source, destination); } };
struct BroadcastTo { static constexpr uint16_t id = 137; std::vector<int32_t> shape; auto fields() { return std::tie(shape); } };
struct BroadcastArrays { static constexpr uint16_t id = 138; auto fields() { return std::tie(); } };
struct Contiguous { static constexpr uint16_t id = 139; bool allow_col_major; auto fields() { return std::tie(allow_col_major); } };
struct AsStrided { static constexpr uint16_t id = 140; std::vector<int32_t> shape; std::vector<int64_t> strides; uint64_t offset; auto fields() { return std::tie(shape, strides, offset); } };
struct Atleast1d { static constexpr uint16_t id = 141; auto fields() { return std::tie(); } };
struct Atleast2d { static constexpr uint16_t id = 142; auto fields() { return std::tie(); } };
struct Atleast3d { static constexpr uint16_t id = 143; auto fields() { return std::tie(); } };
struct Concatenate { static constexpr uint16_t id = 144; int32_t axis; auto fields() { return std::tie(axis); } };
struct Stack { static constexpr uint16_t id = 145; int32_t axis; auto fields() { return std::tie(axis); } };
struct Split { static constexpr uint16_t id = 146; int32_t num_splits; int32_t axis; auto fields() { return std::tie(num_splits, axis); } };
struct SplitSections { static constexpr uint16_t id = 147; std::vector<int32_t> indices; int32_t axis; auto fields() { return std::tie(indices, axis); } };
struct Unstack { static constexpr uint16_t id = 148; int32_t axis; auto fields() { return std::tie(axis); } };
struct Tile { static constexpr uint16_t id = 149; std::vector<int32_t> reps; auto fields() { return std::tie(reps); } };
struct Repeat { static constexpr uint16_t id = 150; int32_t repeats; int32_t axis; auto fields() { return std::tie(repeats, axis); } };
struct Pad { static constexpr uint16_t id = 151; std::vector<int32_t> axes; std::vector<int32_t> low; std::vector<int32_t> high; PadMode mode; auto fields() { return std::tie(axes, low, high, mode); } };
struct Roll { static constexpr uint16_t id = 152; std::vector<int32_t> shift; std::vector<int32_t> axes; auto fields() { return std::tie(shift, axes); } };
struct Flip { static constexpr uint16_t id = 153; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct Meshgrid { static constexpr uint16_t id = 154; bool sparse; MeshIndexing indexing; auto fields() { return std::tie(sparse, indexing); } };
struct Slice { static constexpr uint16_t id = 155; std::vector<int32_t> start; std::vector<int32_t> stop; std::vector<int32_t> strides; auto fields() { return std::tie(start, stop, strides); } };
struct SliceDynamic { static constexpr uint16_t id = 156; std::vector<int32_t> axes; std::vector<int32_t> slice_size; auto fields() { return std::tie(axes, slice_size); } };
struct SliceUpdate { static constexpr uint16_t id = 157; std::vector<int32_t> start; std::vector<int32_t> stop; std::vector<int32_t> strides; auto fields() { return std::tie(start, stop, strides); } };
struct SliceUpdateAdd { static constexpr uint16_t id = 158; std::vector<int32_t> start; std::vector<int32_t> stop; std::vector<int32_t> strides; auto fields() { return std::tie(start, stop, strides); } };
struct SliceUpdateMax { static constexpr uint16_t id = 159; std::vector<int32_t> start; std::vector<int32_t> stop; std::vector<int32_t> strides; auto fields() { return std::tie(start, stop, strides); } };
struct SliceUpdateMin { static constexpr uint16_t id = 160; std::vector<int32_t> start; std::vector<int32_t> stop; std::vector<int32_t> strides; auto fields() { return std::tie(start, stop, strides); } };
struct SliceUpdateProd { static constexpr uint16_t id = 161; std::vector<int32_t> start; std::vector<int32_t> stop; std::vector<int32_t> strides; auto fields() { return std::tie(start, stop, strides); } };
struct SliceUpdateDynamic { static constexpr uint16_t id = 162; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct Take { static constexpr uint16_t id = 163; int32_t axis; auto fields() { return std::tie(axis); } };
struct TakeAlongAxis { static constexpr uint16_t id = 164; int32_t axis; auto fields() { return std::tie(axis); } };
struct PutAlongAxis { static constexpr uint16_t id = 165; int32_t axis; auto fields() { return std::tie(axis); } };
struct ScatterAddAxis { static constexpr uint16_t id = 166; int32_t axis; auto fields() { return std::tie(axis); } };
struct Gather { static constexpr uint16_t id = 167; std::vector<int32_t> axes; std::vector<int32_t> slice_sizes; auto fields() { return std::tie(axes, slice_sizes); } };
struct Scatter { static constexpr uint16_t id = 168; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct ScatterAdd { static constexpr uint16_t id = 169; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct ScatterMax { static constexpr uint16_t id = 170; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct ScatterMin { static constexpr uint16_t id = 171; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct ScatterProd { static constexpr uint16_t id = 172; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct MaskedScatter { static constexpr uint16_t id = 173; auto fields() { return std::tie(); } };
struct Diag { static constexpr uint16_t id = 174; int32_t k; auto fields() { return std::tie(k); } };
struct Diagonal { static constexpr uint16_t id = 175; int32_t offset; int32_t axis1; int32_t axis2; auto fields() { return std::tie(offset, axis1, axis2); } };
struct Tril { static constexpr uint16_t id = 176; int32_t k; auto fields() { return std::tie(k); } };
struct Triu { static constexpr uint16_t id = 177; int32_t k; auto fields() { return std::tie(k); } };
struct Arange { static constexpr uint16_t id = 178; double start; double stop; double step; uint8_t dtype; auto fields() { return std::tie(start, stop, step, dtype); } };
struct Linspace { static constexpr uint16_t id = 179; double start; double stop; int32_t num; bool endpoint; uint8_t dtype; auto fields() { return std::tie(start, stop, num, endpoint, dtype); } };
struct Zeros { static constexpr uint16_t id = 180; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct Ones { static constexpr uint16_t id = 181; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct ZerosLike { static constexpr uint16_t id = 182; auto fields() { return std::tie(); } };
struct OnesLike { static constexpr uint16_t id = 183; auto fields() { return std::tie(); } };
struct Full { static constexpr uint16_t id = 184; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct FullLike { static constexpr uint16_t id = 185; uint8_t dtype; auto fields() { return std::tie(dtype); } };
struct Eye { static constexpr uint16_t id = 186; int32_t n; int32_t m; int32_t k; uint8_t dtype; auto fields() { return std::tie(n, m, k, dtype); } };
struct Tri { static constexpr uint16_t id = 187; int32_t n; int32_t m; int32_t k; uint8_t dtype; auto fields() { return std::tie(n, m, k, dtype); } };
struct Bartlett { static constexpr uint16_t id = 188; int32_t m; auto fields() { return std::tie(m); } };
struct Blackman { static constexpr uint16_t id = 189; int32_t m; auto fields() { return std::tie(m); } };
struct Hamming { static constexpr uint16_t id = 190; int32_t m; auto fields() { return std::tie(m); } };
struct Hanning { static constexpr uint16_t id = 191; int32_t m; auto fields() { return std::tie(m); } };
struct RandomBernoulli { static constexpr uint16_t id = 192; std::vector<int32_t> shape; auto fields() { return std::tie(shape); } };
struct RandomBits { static constexpr uint16_t id = 193; std::vector<int32_t> shape; int32_t width; auto fields() { return std::tie(shape, width); } };
struct RandomCategorical { static constexpr uint16_t id = 194; int32_t axis; std::vector<int32_t> shape; auto fields() { return std::tie(axis, shape); } };
struct RandomGumbel { static constexpr uint16_t id = 195; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct RandomLaplace { static constexpr uint16_t id = 196; std::vector<int32_t> shape; uint8_t dtype; float loc; float scale; auto fields() { return std::tie(shape, dtype, loc, scale); } };
struct RandomMultivariateNormal { static constexpr uint16_t id = 197; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct RandomNormal { static constexpr uint16_t id = 198; std::vector<int32_t> shape; uint8_t dtype; float loc; float scale; auto fields() { return std::tie(shape, dtype, loc, scale); } };
struct RandomPermutation { static constexpr uint16_t id = 199; int32_t axis; auto fields() { return std::tie(axis); } };
struct RandomRandint { static constexpr uint16_t id = 200; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct RandomSplit { static constexpr uint16_t id = 201; int32_t num; auto fields() { return std::tie(num); } };
struct RandomTruncatedNormal { static constexpr uint16_t id = 202; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct RandomUniform { static constexpr uint16_t id = 203; std::vector<int32_t> shape; uint8_t dtype; auto fields() { return std::tie(shape, dtype); } };
struct Fftn { static constexpr uint16_t id = 204; std::vector<int32_t> n; std::vector<int32_t> axes; FftNorm norm; auto fields() { return std::tie(n, axes, norm); } };
struct Ifftn { static constexpr uint16_t id = 205; std::vector<int32_t> n; std::vector<int32_t> axes; FftNorm norm; auto fields() { return std::tie(n, axes, norm); } };
struct Rfftn { static constexpr uint16_t id = 206; std::vector<int32_t> n; std::vector<int32_t> axes; FftNorm norm; auto fields() { return std::tie(n, axes, norm); } };
struct Irfftn { static constexpr uint16_t id = 207; std::vector<int32_t> n; std::vector<int32_t> axes; FftNorm norm; auto fields() { return std::tie(n, axes, norm); } };
struct Fftshift { static constexpr uint16_t id = 208; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct Ifftshift { static constexpr uint16_t id = 209; std::vector<int32_t> axes; auto fields() { return std::tie(axes); } };
struct Fftfreq { static constexpr uint16_t id = 210; int32_t n; double d; auto fields() { return std::tie(n, d); } };
struct Rfftfreq { static constexpr uint16_t id = 211; int32_t n; double d; auto fields() { return std::tie(n, d); } };
struct Cholesky { static constexpr uint16_t id = 212; bool upper; auto fields() { return std::tie(upper); } };
struct CholeskyInv { static constexpr uint16_t id = 213; bool upper; auto fields() { return std::tie(upper); } };
struct Cross { static constexpr uint16_t id = 214; int32_t axis; auto fields() { return std::tie(axis); } };
struct Det { static constexpr uint16_t id = 215; auto fields() { return std::tie(); } };
struct Eig { static constexpr uint16_t id = 216; auto fields() { return std::tie(); } };
struct Eigh { static constexpr uint16_t id = 217; Triangle uplo; auto fields() { return std::tie(uplo); } };
struct Eigvals { static constexpr uint16_t id = 218; auto fields() { return std::tie(); } };
struct Eigvalsh { static constexpr uint16_t id = 219; Triangle uplo; auto fields() { return std::tie(uplo); } };
struct Inv { static constexpr uint16_t id = 220; auto fields() { return std::tie(); } };
struct Lu { static constexpr uint16_t id = 221; auto fields() { return std::tie(); } };
struct LuFactor { static constexpr uint16_t id = 222; auto fields() { return std::tie(); } };
struct Norm { static constexpr uint16_t id = 223; double ord; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(ord, axes, keepdims); } };
struct NormMatrix { static constexpr uint16_t id = 224; std::string ord; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(ord, axes, keepdims); } };
struct NormL2 { static constexpr uint16_t id = 225; std::vector<int32_t> axes; bool keepdims; auto fields() { return std::tie(axes, keepdims); } };
struct Pinv { static constexpr uint16_t id = 226; auto fields() { return std::tie(); } };
struct Qr { static constexpr uint16_t id = 227; auto fields() { return std::tie(); } };
struct Slogdet { static constexpr uint16_t id = 228; auto fields() { return std::tie(); } };
struct Solve { static constexpr uint16_t id = 229; auto fields() { return std::tie(); } };
struct SolveTriangular { static constexpr uint16_t id = 230; bool upper; auto fields() { return std::tie(upper); } };
struct Svd { static constexpr uint16_t id = 231; bool compute_uv; auto fields() { return std::tie(compute_uv); } };
struct TriInv { static constexpr uint16_t id = 232; bool upper; auto fields() { return std::tie(upper); } };
struct AllSum { static constexpr uint16_t id = 233; std::string group; auto fields() { return std::tie(group); } };
struct AllMax { static constexpr uint16_t id = 234; std::string group; auto fields() { return std::tie(group); } };
struct AllMin { static constexpr uint16_t id = 235; std::string group; auto fields() { return std::tie(group); } };
struct AllGather { static constexpr uint16_t id = 236; std::string group; auto fields() { return std::tie(group); } };
struct SumScatter { static constexpr uint16_t id = 237; std::string group; auto fields() { return std::tie(group); } };
struct Send { static constexpr uint16_t id = 238; int32_t dst; std::string group; auto fields() { return std::tie(dst, group); } };
struct Recv { static constexpr uint16_t id = 239; std::vector<int32_t> shape; uint8_t dtype; int32_t src; std::string group; auto fields() { return std::tie(shape, dtype, src, group); } };
struct RmsNorm { static constexpr uint16_t id = 240; float eps; auto fields() { return std::tie(eps); } };
struct LayerNorm { static constexpr uint16_t id = 241; bool weight; bool bias; float eps; auto fields() { return std::tie(weight, bias, eps); } };
struct Rope { static constexpr uint16_t id = 242; int32_t dims; bool traditional; std::optional<float> base; float scale; bool freqs; auto fields() { return std::tie(dims, traditional, base, scale, freqs); } };
struct ScaledDotProductAttention { static constexpr uint16_t id = 243; float scale; MaskMode mask; bool sinks; bool force_fused; auto fields() { return std::tie(scale, mask, sinks, force_fused); } };
struct CrossEntropy { static constexpr uint16_t id = 244; auto fields() { return std::tie(); } };
struct Gelu { static constexpr uint16_t id = 245; auto fields() { return std::tie(); } };
struct GeluApprox { static constexpr uint16_t id = 246; auto fields() { return std::tie(); } };
struct Silu { static constexpr uint16_t id = 247; auto fields() { return std::tie(); } };
struct SwiGlu { static constexpr uint16_t id = 248; auto fields() { return std::tie(); } };
struct Linear { static constexpr uint16_t id = 249; auto fields() { return std::tie(); } };

// The names, by number.
inline constexpr const char* kNames[] = {
    "abs", "arccos", "arccosh", "arcsin", "arcsinh", "arctan",
    "arctanh", "bitwise_invert", "ceil", "conjugate", "copy", "cos",
    "cosh", "degrees", "erf", "erfinv", "exp", "expm1",
    "floor", "imag", "isfinite", "isinf", "isnan", "isneginf",
    "isposinf", "log", "log10", "log1p", "log2", "logical_not",
    "negative", "nan_to_num", "positive", "radians", "real", "reciprocal",
    "round", "rsqrt", "sigmoid", "sign", "sin", "sinh",
    "sqrt", "square", "stop_gradient", "tan", "tanh", "trunc",
    "astype", "view", "to_fp8", "from_fp8", "add", "arctan2",
    "bitwise_and", "bitwise_or", "bitwise_xor", "divide", "divmod", "equal",
    "floor_divide", "greater", "greater_equal", "left_shift", "less", "less_equal",
    "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum",
    "multiply", "not_equal", "power", "remainder", "right_shift", "subtract",
    "where", "clip", "isclose", "allclose", "array_equal", "all",
    "any", "count_nonzero", "logsumexp", "max", "mean", "median",
    "min", "prod", "std", "sum", "var", "softmax",
    "number_of_elements", "argmax", "argmin", "argpartition", "argsort", "partition",
    "sort", "topk", "cummax", "cummin", "cumprod", "cumsum",
    "logcumsumexp", "diff", "searchsorted", "matmul", "addmm", "inner",
    "outer", "kron", "tensordot", "einsum", "vecdot", "trace",
    "hadamard_transform", "block_masked_mm", "gather_mm", "segmented_mm", "quantize", "dequantize",
    "quantized_matmul", "gather_qmm", "conv_general", "reshape", "flatten", "unflatten",
    "squeeze", "expand_dims", "transpose", "swapaxes", "moveaxis", "broadcast_to",
    "broadcast_arrays", "contiguous", "as_strided", "atleast_1d", "atleast_2d", "atleast_3d",
    "concatenate", "stack", "split", "split_sections", "unstack", "tile",
    "repeat", "pad", "roll", "flip", "meshgrid", "slice",
    "slice_dynamic", "slice_update", "slice_update_add", "slice_update_max", "slice_update_min", "slice_update_prod",
    "slice_update_dynamic", "take", "take_along_axis", "put_along_axis", "scatter_add_axis", "gather",
    "scatter", "scatter_add", "scatter_max", "scatter_min", "scatter_prod", "masked_scatter",
    "diag", "diagonal", "tril", "triu", "arange", "linspace",
    "zeros", "ones", "zeros_like", "ones_like", "full", "full_like",
    "eye", "tri", "bartlett", "blackman", "hamming", "hanning",
    "random.bernoulli", "random.bits", "random.categorical", "random.gumbel", "random.laplace", "random.multivariate_normal",
    "random.normal", "random.permutation", "random.randint", "random.split", "random.truncated_normal", "random.uniform",
    "fft.fftn", "fft.ifftn", "fft.rfftn", "fft.irfftn", "fft.fftshift", "fft.ifftshift",
    "fft.fftfreq", "fft.rfftfreq", "linalg.cholesky", "linalg.cholesky_inv", "linalg.cross", "linalg.det",
    "linalg.eig", "linalg.eigh", "linalg.eigvals", "linalg.eigvalsh", "linalg.inv", "linalg.lu",
    "linalg.lu_factor", "linalg.norm", "linalg.norm_matrix", "linalg.norm_l2", "linalg.pinv", "linalg.qr",
    "linalg.slogdet", "linalg.solve", "linalg.solve_triangular", "linalg.svd", "linalg.tri_inv", "distributed.all_sum",
    "distributed.all_max", "distributed.all_min", "distributed.all_gather", "distributed.sum_scatter", "distributed.send", "distributed.recv",
    "fast.rms_norm", "fast.layer_norm", "fast.rope", "fast.scaled_dot_product_attention", "fast.cross_entropy", "fast.gelu",
    "fast.gelu_approx", "fast.silu", "fast.swiglu", "fast.linear",
};

} // namespace ops

#endif
