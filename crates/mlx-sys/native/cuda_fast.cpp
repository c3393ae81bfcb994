// Operations of mlx::core::fast that MLX composes on CUDA, by kernels of our own: one primitive for all of them.
#include "cuda_fast.h"

#ifdef __linux__

#include <stdexcept>

#include "cuda_activation.h"
#include "cuda_attention.h"
#include "cuda_hook.h"
#include "cuda_kernel.h"
#include "mlx/ops.h"
#include "mlx/transforms.h"
#include "vmap.h"

namespace mx = mlx::core;
using cuda::Arrays;

namespace {

// What computes an operation on evaluated inputs; false when it cannot.
using Run = std::function<bool(const Arrays&, Arrays&, const mx::Stream&)>;

class CudaPrimitive : public mx::Primitive {
 public:
  CudaPrimitive(mx::Stream stream, const char* name, ops::Bytes op, Run run, ComposedForm composed)
      : Primitive(stream), name_(name), op_(std::move(op)), run_(std::move(run)), composed_(std::move(composed)) {}

  void eval_cpu(const Arrays&, Arrays&) override {
    throw std::runtime_error(std::string(name_) + ": runs on CUDA only");
  }

  void eval_gpu(const Arrays& inputs, Arrays& outputs) override {
    if (!run_(inputs, outputs, stream())) {
      throw std::runtime_error(std::string(name_) + ": NVRTC did not compile the kernel; MLX_CUDA_KERNELS=0 does without");
    }
    count_cuda_kernel(name_);
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums, const Arrays&) override {
    return mx::vjp(only(primals, argnums), pick(primals, argnums), cotangents).second;
  }

  Arrays jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) override {
    return mx::jvp(only(primals, argnums), pick(primals, argnums), tangents).second;
  }

  std::pair<Arrays, std::vector<int>> vmap(const Arrays& inputs, const std::vector<int>& axes) override {
    auto outputs = vmap_in_front(composed_, inputs, axes);
    return {outputs, std::vector<int>(outputs.size(), 0)};
  }

  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override {
    return {composed_(inputs)[0].shape()};
  }

  const char* name() const override {
    return name_;
  }

  const ops::Bytes& op() const {
    return op_;
  }

  bool is_equivalent(const Primitive& other) const override {
    auto* same = dynamic_cast<const CudaPrimitive*>(&other);
    return same && same->op_ == op_;
  }

 private:
  static Arrays pick(const Arrays& all, const std::vector<int>& indices) {
    Arrays picked;
    for (int i : indices) {
      picked.push_back(all[i]);
    }
    return picked;
  }

  // `composed` of the inputs at `argnums`, the others being those of `primals`.
  ComposedForm only(const Arrays& primals, const std::vector<int>& argnums) const {
    return [composed = composed_, primals, argnums](const Arrays& some) {
      auto all = primals;
      for (size_t i = 0; i < argnums.size(); i++) {
        all[argnums[i]] = some[i];
      }
      return composed(all);
    };
  }

  const char* name_;
  ops::Bytes op_;
  Run run_;
  ComposedForm composed_;
};

cuda::Attention kernel_of(const ops::ScaledDotProductAttention& op) {
  return {op.scale, op.mask == ops::MaskMode::Causal, op.mask == ops::MaskMode::Array, op.sinks};
}

std::optional<mx::array> attention(const ops::Bytes& bytes, Arrays inputs, ComposedForm composed, mx::Stream s) {
  auto op = ops::decode<ops::ScaledDotProductAttention>(bytes);
  size_t wanted = 3 + (op.mask == ops::MaskMode::Array) + op.sinks;
  if (inputs.size() != wanted || !cuda::Attention::fits(inputs[0], inputs[1], inputs[2])) {
    return std::nullopt;
  }
  auto &q = inputs[0], &k = inputs[1];
  if (k.shape(1) == 0 || q.shape(1) % k.shape(1) != 0) {
    return std::nullopt;
  }
  auto attention = kernel_of(op);
  if (attention.has_mask) {
    auto& mask = inputs[3];
    if (mask.dtype() != mx::bool_) {
      mask = mx::astype(mask, q.dtype(), s);
    }
    mask = mx::broadcast_to(mask, {q.shape(0), q.shape(1), q.shape(2), k.shape(2)}, s);
  }
  if (op.sinks) {
    inputs.back() = mx::astype(inputs.back(), q.dtype(), s);
  }
  auto run = [attention](const Arrays& in, Arrays& out, const mx::Stream& s) { return attention.run(in, out[0], s); };
  auto primitive = std::make_shared<CudaPrimitive>(s, "ScaledDotProductAttention", bytes, run, std::move(composed));
  return mx::array(q.shape(), q.dtype(), std::move(primitive), inputs);
}

std::optional<mx::array> activation(
    const ops::Bytes& bytes,
    cuda::Activation kind,
    const char* name,
    const Arrays& inputs,
    ComposedForm composed,
    mx::Stream s) {
  auto& x = inputs.at(0);
  for (auto& input : inputs) {
    if (!cuda::type_name(input.dtype()) || input.dtype() != x.dtype() || input.shape() != x.shape() || input.size() == 0) {
      return std::nullopt;
    }
  }
  auto run = [kind](const Arrays& in, Arrays& out, const mx::Stream& s) { return cuda::activation(kind, in, out, s); };
  auto primitive = std::make_shared<CudaPrimitive>(s, name, bytes, run, std::move(composed));
  return mx::array(x.shape(), x.dtype(), std::move(primitive), inputs);
}

} // namespace

namespace cuda {

bool attention_or(mx::array& attention, const mx::array& flag, const mx::array& otherwise, mx::array& out) {
  auto* primitive = dynamic_cast<CudaPrimitive*>(&attention.primitive());
  if (!primitive || ops::id_of(primitive->op()) != ops::ScaledDotProductAttention::id) {
    return false;
  }
  auto kernel = kernel_of(ops::decode<ops::ScaledDotProductAttention>(primitive->op()));
  return kernel.run(attention.inputs(), out, primitive->stream(), &flag, &otherwise);
}

} // namespace cuda

std::optional<mx::array> cuda_fast(const ops::Bytes& op, const Arrays& inputs, ComposedForm composed, mx::Stream s) {
  if (s.device != mx::Device::gpu || !cuda::kernels_on()) {
    return std::nullopt;
  }
  switch (ops::id_of(op)) {
    case ops::ScaledDotProductAttention::id:
      return attention(op, inputs, std::move(composed), s);
    case ops::Gelu::id:
      return activation(op, cuda::Activation::Gelu, "Gelu", inputs, std::move(composed), s);
    case ops::GeluApprox::id:
      return activation(op, cuda::Activation::GeluApprox, "GeluApprox", inputs, std::move(composed), s);
    case ops::Silu::id:
      return activation(op, cuda::Activation::Silu, "Silu", inputs, std::move(composed), s);
    case ops::SwiGlu::id:
      return activation(op, cuda::Activation::SwiGlu, "SwiGlu", inputs, std::move(composed), s);
    default:
      return std::nullopt;
  }
}

#else

std::optional<mlx::core::array> cuda_fast(
    const ops::Bytes&,
    const std::vector<mlx::core::array>&,
    ComposedForm,
    mlx::core::Stream) {
  return std::nullopt;
}

#endif
