// mlx::core::fast and the activations of mlx.nn on the CPU: one primitive for all of them, computed by the backend's
// kernels, with the composed form for everything else: gradients without a kernel, tangents, vmap.
//
// Rust decides (`prepare`) whether an operation becomes that primitive.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "cpu.h"
#include "cuda_fast.h"
#include "guard.h"
#include "mlx/fast.h"
#include "mlx/ops.h"
#include "mlx/transforms.h"
#include "vmap.h"

namespace mx = mlx::core;

namespace {

using Function = std::function<Arrays(const Arrays&)>;

constexpr int kNone = -1;

// What mlx.nn computes.
mx::array activation(uint16_t id, const mx::array& x, mx::Stream s) {
  auto number = [&](double value) { return mx::array(static_cast<float>(value), x.dtype()); };
  auto half = [&](const mx::array& inner) {
    return mx::multiply(mx::multiply(x, number(0.5), s), mx::add(inner, number(1), s), s);
  };
  if (!mx::issubdtype(x.dtype(), mx::floating)) {
    throw std::invalid_argument("x must be floating, got another dtype");
  }
  switch (id) {
    case ops::Gelu::id:
      return half(mx::erf(mx::multiply(x, number(1 / std::numbers::sqrt2), s), s));
    case ops::GeluApprox::id: {
      auto cube = mx::multiply(mx::multiply(x, mx::square(x, s), s), number(0.044715), s);
      auto inner = mx::multiply(mx::add(x, cube, s), number(std::sqrt(2 / std::numbers::pi)), s);
      return half(mx::tanh(inner, s));
    }
    default:
      return mx::multiply(x, mx::sigmoid(x, s), s);
  }
}

const mx::array& input(const Arrays& inputs, size_t i) {
  if (i >= inputs.size()) {
    throw std::invalid_argument("has fewer inputs than its attributes say");
  }
  return inputs[i];
}

// Attention in MLX's operations. An operation that was prepared has sinks in `float32`, which MLX refuses beside a
// shorter result, and runs no kernel of a GPU.
mx::array attention(const ops::ScaledDotProductAttention& op, const Arrays& in, bool is_prepared, mx::Stream s) {
  std::optional<mx::array> mask, sinks;
  if (op.mask == ops::MaskMode::Array) {
    mask = input(in, 3);
  }
  if (op.sinks) {
    sinks = input(in, mask ? 4 : 3);
    sinks = is_prepared ? mx::astype(*sinks, in[0].dtype(), s) : *sinks;
  }
  return mx::fast::scaled_dot_product_attention(
      in[0], in[1], in[2], op.scale, ops::text(op.mask), mask, sinks, op.force_fused && !is_prepared, s);
}

// An operation in MLX's own; `is_prepared` when the inputs are as the kernel takes them.
mx::array composed(const ops::Bytes& op, const Arrays& in, bool is_prepared, mx::Stream s) {
  auto given = [&](bool is_given, size_t i) { return is_given ? std::make_optional(input(in, i)) : std::nullopt; };
  auto id = ops::id_of(op);
  switch (id) {
    case ops::RmsNorm::id:
      return mx::fast::rms_norm(in[0], given(in.size() > 1, 1), ops::decode<ops::RmsNorm>(op).eps, s);
    case ops::LayerNorm::id: {
      auto norm = ops::decode<ops::LayerNorm>(op);
      return mx::fast::layer_norm(
          in[0], given(norm.weight, 1), given(norm.bias, norm.weight ? 2 : 1), norm.eps, s);
    }
    case ops::Rope::id: {
      auto rope = ops::decode<ops::Rope>(op);
      return mx::fast::rope(
          in[0], rope.dims, rope.traditional, rope.base, rope.scale, input(in, 1), given(rope.freqs, 2), s);
    }
    case ops::ScaledDotProductAttention::id:
      return attention(ops::decode<ops::ScaledDotProductAttention>(op), in, is_prepared, s);
    case ops::CrossEntropy::id:
      return mx::fast::cross_entropy(in[0], input(in, 1), s);
    case ops::Gelu::id:
    case ops::GeluApprox::id:
    case ops::Silu::id:
      return activation(id, in[0], s);
    case ops::SwiGlu::id:
      return mx::multiply(activation(ops::Silu::id, in[0], s), input(in, 1), s);
    case ops::Linear::id:
      return mx::matmul(in[0], mx::swapaxes(input(in, 1), -1, -2, s), s);
    default:
      throw std::invalid_argument("no fused operation has this number");
  }
}

Arrays pick(const Arrays& all, const std::vector<int>& indices) {
  Arrays picked;
  for (int i : indices) {
    picked.push_back(all[i]);
  }
  return picked;
}

// The inputs as the kernel takes them.
Arrays prepared_inputs(Arrays inputs, const mlx_native_prepared& prepared, mx::Stream s) {
  for (size_t i = 0; i < inputs.size(); i++) {
    inputs[i] = mx::astype(inputs[i], mlx_dtype_to_cpp(prepared.input_dtypes[i]), s);
  }
  if (prepared.broadcast_input >= 0) {
    auto& input = inputs.at(prepared.broadcast_input);
    input = mx::broadcast_to(input, mx::Shape(prepared.broadcast_shape, prepared.broadcast_shape + 4), s);
  }
  return inputs;
}

mx::Shape output_shape(const Arrays& inputs, const mlx_native_prepared& prepared) {
  auto shape = inputs.at(prepared.output_like).shape();
  if (prepared.output_last >= 0) {
    shape.back() = prepared.output_last;
  }
  return shape;
}

// One operation that a kernel computes, or its gradient.
class CpuPrimitive : public mx::Primitive {
 public:
  // The gradient has a kernel for the first `n_gradients` inputs, and vmap one over `batched_inputs`; the primitive of a
  // gradient has these as its outputs.
  CpuPrimitive(mx::Stream stream, CpuOp op, Function composed, size_t n_gradients, uint32_t batched_inputs)
      : Primitive(stream),
        op_(std::move(op)),
        composed_(std::move(composed)),
        n_gradients_(n_gradients),
        batched_inputs_(batched_inputs) {}

  // The result of an operation of inputs that a kernel was found for.
  static mx::array apply(const CpuOp& op, Arrays inputs, const mlx_native_prepared& prepared, mx::Stream s) {
    auto shape = output_shape(inputs, prepared);
    auto dtype = mlx_dtype_to_cpp(prepared.output_dtype);
    auto form = [bytes = op.bytes, s](const Arrays& in) -> Arrays { return {composed(bytes, in, true, s)}; };
    auto primitive = std::make_shared<CpuPrimitive>(s, op, form, prepared.n_gradients, prepared.batched_inputs);
    return mx::array(
        std::move(shape), dtype, std::move(primitive), prepared_inputs(std::move(inputs), prepared, s));
  }

  void eval_cpu(const Arrays& inputs, Arrays& outputs) override {
    auto buffers = std::make_shared<Buffers>(inputs, outputs);
    allocate(outputs, *buffers);
    run_kernel(op_, inputs, outputs, std::move(buffers), stream());
  }

  void eval_gpu(const Arrays&, Arrays&) override {
    throw std::runtime_error(std::string(name()) + ": runs on the CPU only");
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums, const Arrays&) override {
    auto is_kept = [&](int i) { return !op_.is_gradient && static_cast<size_t>(i) < n_gradients_; };
    if (std::all_of(argnums.begin(), argnums.end(), is_kept)) {
      return pick(gradients(primals, cotangents[0]), argnums);
    }
    return mx::vjp(only(primals, argnums), pick(primals, argnums), cotangents).second;
  }

  Arrays jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) override {
    return mx::jvp(only(primals, argnums), pick(primals, argnums), tangents).second;
  }

  std::pair<Arrays, std::vector<int>> vmap(const Arrays& inputs, const std::vector<int>& axes) override {
    uint32_t mapped = 0;
    for (size_t i = 0; i < axes.size(); i++) {
      mapped |= axes[i] == kNone ? 0u : 1u << i;
    }
    if (mapped == batched_inputs_) {
      auto batched = inputs;
      for (size_t i = 0; i < axes.size(); i++) {
        batched[i] = axes[i] == kNone ? inputs[i] : mx::moveaxis(inputs[i], axes[i], 0, stream());
      }
      mlx_native_prepared prepared{};
      if (prepare(op_, batched, prepared)) {
        return {{apply(op_, std::move(batched), prepared, stream())}, {0}};
      }
    }
    auto outputs = vmap_in_front(composed_, inputs, axes);
    return {outputs, std::vector<int>(outputs.size(), 0)};
  }

  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override {
    std::vector<mx::Shape> shapes;
    if (op_.is_gradient) {
      for (size_t i = 0; i < n_gradients_; i++) {
        shapes.push_back(inputs[i].shape());
      }
      return shapes;
    }
    mlx_native_prepared prepared{};
    if (prepare(op_, inputs, prepared)) {
      return {output_shape(inputs, prepared)};
    }
    // Sizes for which no kernel would have been chosen.
    return {composed_(inputs)[0].shape()};
  }

  const char* name() const override {
    return op_.name();
  }

  bool is_equivalent(const Primitive& other) const override {
    auto* same = dynamic_cast<const CpuPrimitive*>(&other);
    return same && same->op_.bytes == op_.bytes && same->op_.is_gradient == op_.is_gradient;
  }

 private:
  // `composed` of the inputs at `argnums`, the others being those of `primals`.
  Function only(const Arrays& primals, const std::vector<int>& argnums) const {
    return [composed = composed_, primals, argnums](const Arrays& some) {
      auto all = primals;
      for (size_t i = 0; i < argnums.size(); i++) {
        all[argnums[i]] = some[i];
      }
      return composed(all);
    };
  }

  Arrays gradients(const Arrays& primals, const mx::array& cotangent) {
    auto inputs = primals;
    inputs.push_back(cotangent);
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> dtypes;
    std::vector<int> argnums;
    for (size_t i = 0; i < n_gradients_; i++) {
      shapes.push_back(primals[i].shape());
      dtypes.push_back(primals[i].dtype());
      argnums.push_back(static_cast<int>(i));
    }
    auto form = [forward = composed_, argnums](const Arrays& all) {
      Arrays primals(all.begin(), all.end() - 1);
      auto function = [&](const Arrays& some) {
        auto inputs = primals;
        std::copy(some.begin(), some.end(), inputs.begin());
        return forward(inputs);
      };
      return mx::vjp(function, pick(primals, argnums), {all.back()}).second;
    };
    auto primitive = std::make_shared<CpuPrimitive>(stream(), CpuOp{op_.bytes, true}, form, n_gradients_, 0);
    return mx::array::make_arrays(std::move(shapes), dtypes, primitive, inputs);
  }

  CpuOp op_;
  Function composed_;
  size_t n_gradients_;
  uint32_t batched_inputs_;
};

} // namespace

extern "C" int mlx_native_fast(
    mlx_array* res,
    const uint8_t* op,
    size_t op_size,
    const mlx_array* inputs,
    size_t n_inputs,
    const mlx_stream s) {
  return guarded("fast", [&] {
    Arrays arrays;
    arrays.reserve(n_inputs);
    for (size_t i = 0; i < n_inputs; i++) {
      arrays.push_back(mlx_array_get_(inputs[i]));
    }
    CpuOp fused{ops::Bytes(reinterpret_cast<const char*>(op), op_size)};
    auto stream = mlx_stream_get_(s);
    mlx_native_prepared prepared{};
    if (kernels_on(stream) && prepare(fused, arrays, prepared)) {
      mlx_array_set_(*res, CpuPrimitive::apply(fused, std::move(arrays), prepared, stream));
      return;
    }
    auto form = [bytes = fused.bytes, stream](const Arrays& in) -> Arrays { return {composed(bytes, in, false, stream)}; };
    auto result = cuda_fast(fused.bytes, arrays, form, stream);
    mlx_array_set_(*res, result ? *result : form(arrays)[0]);
  });
}
