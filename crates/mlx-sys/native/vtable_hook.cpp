// vtable patching: the entry `eval_cpu` in the virtual function tables of MLX's own classes, so that kernels of the CPU
// backend evaluate them. Here: arithmetic, reductions and products; `vtable_hook_data.cpp` and `vtable_hook_linalg.cpp` have the rest.
//
// For each class below, the entry is replaced (`vtable.h`) by a function that asks the backend whether it has a kernel, and
// calls what was there before when it has none (`hook.h`). So everything that MLX derives from its operations (gradients,
// vmap, compiled and shapeless functions) uses the kernels without knowing. `MLX_HOST_KERNELS=0` switches it off: then the
// backend is not installed. A hook knows how the attributes of its class are read, and nothing else.
#include "hook.h"

namespace hooks {

namespace {

ops::Bytes read_log(const mx::Log& log) {
  switch (log.state()) {
    case mx::Log::two:
      return ops::encode(ops::Log2{});
    case mx::Log::ten:
      return ops::encode(ops::Log10{});
    default:
      return ops::encode(ops::Log{});
  }
}

ops::Bytes read_sqrt(const mx::Sqrt& sqrt) {
  return sqrt.state() ? ops::encode(ops::Rsqrt{}) : ops::encode(ops::Sqrt{});
}

// MLX's primitives are of the last axis.
ops::Bytes read_softmax(const mx::Softmax& softmax) {
  return ops::encode(ops::Softmax{{-1}, softmax.state()});
}

ops::Bytes read_logsumexp(const mx::LogSumExp&) {
  return ops::encode(ops::Logsumexp{{-1}, true});
}

ops::Bytes read_reduce(const mx::Reduce& reduce) {
  auto [kind, axes] = reduce.state();
  std::vector<int32_t> list(axes.begin(), axes.end());
  switch (kind) {
    case mx::Reduce::And:
      return ops::encode(ops::All{list, true});
    case mx::Reduce::Or:
      return ops::encode(ops::Any{list, true});
    case mx::Reduce::Sum:
      return ops::encode(ops::Sum{list, true});
    case mx::Reduce::Prod:
      return ops::encode(ops::Prod{list, true});
    case mx::Reduce::Min:
      return ops::encode(ops::Min{list, true});
    default:
      return ops::encode(ops::Max{list, true});
  }
}

ops::Bytes read_convolution(const mx::Convolution& convolution) {
  auto [strides, padding_lo, padding_hi, kernel_dilation, input_dilation, groups, flip] = convolution.state();
  return ops::encode(ops::Conv{strides, padding_lo, padding_hi, kernel_dilation, input_dilation, groups, flip});
}

ops::Bytes read_quantized_matmul(const mx::QuantizedMatmul& product) {
  auto [group_size, bits, mode, transposed] = product.state();
  auto of = [](mx::QuantizationMode mode) {
    switch (mode) {
      case mx::QuantizationMode::Affine:
        return ops::QuantizationMode::Affine;
      case mx::QuantizationMode::Mxfp4:
        return ops::QuantizationMode::Mxfp4;
      case mx::QuantizationMode::Mxfp8:
        return ops::QuantizationMode::Mxfp8;
      default:
        return ops::QuantizationMode::Nvfp4;
    }
  };
  return ops::encode(ops::QuantizedMatmul{transposed, group_size, bits, of(mode)});
}

ops::Bytes read_equal(const mx::Equal& equal) {
  // With `equal_nan` it is no operation of the table.
  return equal.state() ? ops::Bytes{} : ops::encode(ops::Equal{});
}

ops::Bytes read_bitwise(const mx::BitwiseBinary& binary) {
  switch (binary.state()) {
    case mx::BitwiseBinary::And:
      return ops::encode(ops::BitwiseAnd{});
    case mx::BitwiseBinary::Or:
      return ops::encode(ops::BitwiseOr{});
    case mx::BitwiseBinary::Xor:
      return ops::encode(ops::BitwiseXor{});
    case mx::BitwiseBinary::LeftShift:
      return ops::encode(ops::LeftShift{});
    default:
      return ops::encode(ops::RightShift{});
  }
}

ops::Bytes read_round(const mx::Round&) {
  return ops::encode(ops::Round{0});
}

ops::Bytes read_astype(const mx::AsType& cast) {
  return ops::encode(ops::Astype{static_cast<uint8_t>(mlx_dtype_to_c(cast.state()))});
}

// In MLX the inputs are a, b and c.
ops::Bytes read_addmm(const mx::AddMM& addmm, Arrays& inputs, const mx::array&) {
  auto [alpha, beta] = addmm.state();
  inputs = {inputs[2], inputs[0], inputs[1]};
  return ops::encode(ops::Addmm{alpha, beta});
}

} // namespace

#if defined(__linux__)

namespace {

int hook_elementwise_classes(const mx::Stream& s) {
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  mx::array i({1, 1, 1, 1}, {2, 2});
  mx::array b({true, true, true, true}, {2, 2});
  auto z = mx::zeros({2, 2}, mx::complex64, s);
  int done = 0;
  done += hook_elementwise<mx::Abs, ops::Abs>(mx::abs(x, s), "Abs");
  done += hook_elementwise<mx::Ceil, ops::Ceil>(mx::ceil(x, s), "Ceil");
  done += hook_elementwise<mx::Conjugate, ops::Conjugate>(mx::conjugate(z, s), "Conjugate");
  done += hook_elementwise<mx::Cos, ops::Cos>(mx::cos(x, s), "Cos");
  done += hook_elementwise<mx::Cosh, ops::Cosh>(mx::cosh(x, s), "Cosh");
  done += hook_elementwise<mx::Erf, ops::Erf>(mx::erf(x, s), "Erf");
  done += hook_elementwise<mx::Exp, ops::Exp>(mx::exp(x, s), "Exp");
  done += hook_elementwise<mx::Expm1, ops::Expm1>(mx::expm1(x, s), "Expm1");
  done += hook_elementwise<mx::Floor, ops::Floor>(mx::floor(x, s), "Floor");
  done += hook_elementwise<mx::Imag, ops::Imag>(mx::imag(z, s), "Imag");
  done += hook_elementwise<mx::Log1p, ops::Log1p>(mx::log1p(x, s), "Log1p");
  done += hook_elementwise<mx::LogicalNot, ops::LogicalNot>(mx::logical_not(x, s), "LogicalNot");
  done += hook_elementwise<mx::Negative, ops::Negative>(mx::negative(x, s), "Negative");
  done += hook_elementwise<mx::Real, ops::Real>(mx::real(z, s), "Real");
  done += hook_elementwise<mx::Sigmoid, ops::Sigmoid>(mx::sigmoid(x, s), "Sigmoid");
  done += hook_elementwise<mx::Sign, ops::Sign>(mx::sign(x, s), "Sign");
  done += hook_elementwise<mx::Sin, ops::Sin>(mx::sin(x, s), "Sin");
  done += hook_elementwise<mx::Sinh, ops::Sinh>(mx::sinh(x, s), "Sinh");
  done += hook_elementwise<mx::Square, ops::Square>(mx::square(x, s), "Square");
  done += hook_elementwise<mx::Tan, ops::Tan>(mx::tan(x, s), "Tan");
  done += hook_elementwise<mx::Tanh, ops::Tanh>(mx::tanh(x, s), "Tanh");
  done += hook_elementwise<mx::ArcCos, ops::Arccos>(mx::arccos(x, s), "ArcCos");
  done += hook_elementwise<mx::ArcCosh, ops::Arccosh>(mx::arccosh(x, s), "ArcCosh");
  done += hook_elementwise<mx::ArcSin, ops::Arcsin>(mx::arcsin(x, s), "ArcSin");
  done += hook_elementwise<mx::ArcSinh, ops::Arcsinh>(mx::arcsinh(x, s), "ArcSinh");
  done += hook_elementwise<mx::ArcTan, ops::Arctan>(mx::arctan(x, s), "ArcTan");
  done += hook_elementwise<mx::ArcTanh, ops::Arctanh>(mx::arctanh(x, s), "ArcTanh");
  done += hook_elementwise<mx::ErfInv, ops::Erfinv>(mx::erfinv(x, s), "ErfInv");
  done += hook_elementwise<mx::BitwiseInvert, ops::BitwiseInvert>(mx::bitwise_invert(i, s), "BitwiseInvert");
  done += hook<mx::Log, read_log, Kind::Elementwise>(mx::log(x, s), "Log");
  done += hook<mx::Sqrt, read_sqrt, Kind::Elementwise>(mx::sqrt(x, s), "Sqrt");
  done += hook<mx::Round, read_round, Kind::Elementwise>(mx::round(x, s), "Round");
  done += hook<mx::AsType, read_astype, Kind::Elementwise>(mx::astype(x, mx::float16, s), "AsType");
  done += hook_elementwise<mx::Add, ops::Add>(mx::add(x, x, s), "Add");
  done += hook_elementwise<mx::Subtract, ops::Subtract>(mx::subtract(x, x, s), "Subtract");
  done += hook_elementwise<mx::Multiply, ops::Multiply>(mx::multiply(x, x, s), "Multiply");
  done += hook_elementwise<mx::Divide, ops::Divide>(mx::divide(x, x, s), "Divide");
  done += hook_elementwise<mx::Maximum, ops::Maximum>(mx::maximum(x, x, s), "Maximum");
  done += hook_elementwise<mx::Minimum, ops::Minimum>(mx::minimum(x, x, s), "Minimum");
  done += hook_elementwise<mx::Power, ops::Power>(mx::power(x, x, s), "Power");
  done += hook_elementwise<mx::Remainder, ops::Remainder>(mx::remainder(x, x, s), "Remainder");
  done += hook_elementwise<mx::LogAddExp, ops::Logaddexp>(mx::logaddexp(x, x, s), "LogAddExp");
  done += hook_elementwise<mx::ArcTan2, ops::Arctan2>(mx::arctan2(x, x, s), "ArcTan2");
  done += hook_elementwise<mx::NotEqual, ops::NotEqual>(mx::not_equal(x, x, s), "NotEqual");
  done += hook_elementwise<mx::Greater, ops::Greater>(mx::greater(x, x, s), "Greater");
  done += hook_elementwise<mx::GreaterEqual, ops::GreaterEqual>(mx::greater_equal(x, x, s), "GreaterEqual");
  done += hook_elementwise<mx::Less, ops::Less>(mx::less(x, x, s), "Less");
  done += hook_elementwise<mx::LessEqual, ops::LessEqual>(mx::less_equal(x, x, s), "LessEqual");
  done += hook_elementwise<mx::LogicalAnd, ops::LogicalAnd>(mx::logical_and(b, b, s), "LogicalAnd");
  done += hook_elementwise<mx::LogicalOr, ops::LogicalOr>(mx::logical_or(b, b, s), "LogicalOr");
  done += hook<mx::Equal, read_equal, Kind::Elementwise>(mx::equal(x, x, s), "Equal");
  done += hook<mx::BitwiseBinary, read_bitwise, Kind::Elementwise>(mx::bitwise_and(i, i, s), "BitwiseAnd");
  done += hook_elementwise<mx::Select, ops::Where>(mx::where(b, x, x, s), "Select");
  return done;
}

} // namespace

int hook_arithmetic(const mx::Stream& s) {
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  std::vector<int> last{-1};
  auto grid = mx::zeros({2, 32}, mx::float32, s);
  auto packed = mx::zeros({2, 4}, mx::uint32, s);
  auto scales = mx::zeros({2, 1}, mx::float32, s);
  auto sequence = mx::zeros({1, 4, 1}, mx::float32, s);
  int done = hook_elementwise_classes(s);
  done += hook<mx::Softmax, read_softmax>(mx::softmax(x, last, false, s), "Softmax");
  done += hook<mx::LogSumExp, read_logsumexp>(mx::logsumexp(x, last, true, s), "LogSumExp");
  done += hook<mx::Reduce, read_reduce>(mx::sum(x, last, true, s), "Sum");
  done += hook<mx::Matmul, plain<mx::Matmul, ops::Matmul>>(mx::matmul(x, x, s), "Matmul");
  done += hook_with_inputs<mx::AddMM, read_addmm>(mx::addmm(x, x, x, 1.0f, 1.0f, s), "AddMM");
  done += hook<mx::Convolution, read_convolution>(mx::conv1d(sequence, sequence, 1, 0, 1, 1, s), "Convolution");
  done += hook<mx::QuantizedMatmul, read_quantized_matmul>(
      mx::quantized_matmul(grid, packed, scales, scales, true, 32, 4, "affine", s), "QuantizedMatmul");
  return done;
}

#endif

} // namespace hooks

int hook_evaluations() {
#if defined(__linux__)
  if (!vtable::is_as_expected()) {
    return 0;
  }
  auto s = mlx::core::default_stream(mlx::core::Device::cpu);
  return hooks::hook_arithmetic(s) + hooks::hook_data(s) + hooks::hook_linalg(s);
#else
  return 0;
#endif
}
