// mlx::core::fast on the CPU: primitives of our own, evaluated by a kernel, with MLX's composed form for everything
// else: gradients without a kernel, tangents, vmap, sizes of shapeless functions.
#include <cmath>
#include <cstring>
#include <numbers>
#include <optional>

#include "cpu.h"
#include "guard.h"
#include "mlx/fast.h"
#include "mlx/ops.h"
#include "mlx/transforms.h"
#include "vmap.h"

namespace mx = mlx::core;

namespace {

using Function = std::function<Arrays(const Arrays&)>;

constexpr int kNone = -1;

Arrays pick(const Arrays& all, const std::vector<int>& indices) {
  Arrays picked;
  for (int i : indices) {
    picked.push_back(all[i]);
  }
  return picked;
}

class CpuKernel : public mx::Primitive {
 public:
  // `gradient` is the number of the kernel that gives the gradients of the first `n_gradients` inputs, or kNone.
  CpuKernel(mx::Stream stream, Call call, Function composed, int gradient = kNone, size_t n_gradients = 0)
      : Primitive(stream),
        call_(call),
        composed_(std::move(composed)),
        gradient_(gradient),
        n_gradients_(n_gradients) {}

  void eval_cpu(const Arrays& inputs, Arrays& outputs) override {
    auto buffers = std::make_shared<Buffers>(inputs, outputs);
    allocate(outputs, *buffers);
    run_kernel(call_, inputs, outputs, std::move(buffers), stream());
  }

  void eval_gpu(const Arrays&, Arrays&) override {
    throw std::runtime_error(std::string(name()) + ": runs on the CPU only");
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums, const Arrays&) override {
    if (has_gradient(primals, argnums)) {
      return pick(gradients(primals, cotangents[0]), argnums);
    }
    return mx::vjp(only(primals, argnums), pick(primals, argnums), cotangents).second;
  }

  Arrays jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) override {
    return mx::jvp(only(primals, argnums), pick(primals, argnums), tangents).second;
  }

  std::pair<Arrays, std::vector<int>> vmap(const Arrays& inputs, const std::vector<int>& axes) override {
    if (auto mapped = in_front(inputs, axes)) {
      auto shapes = output_shapes(*mapped);
      return {make(*mapped, shapes[0]), {0}};
    }
    auto outputs = vmap_in_front(composed_, inputs, axes);
    return {outputs, std::vector<int>(outputs.size(), 0)};
  }

  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override {
    switch (call_.kernel) {
      case MLX_NATIVE_CROSS_ENTROPY:
        return {inputs[1].shape()};
      case MLX_NATIVE_ATTENTION: {
        auto shape = inputs[0].shape();
        shape.back() = inputs[2].shape(-1);
        return {shape};
      }
      case MLX_NATIVE_LINEAR: {
        auto shape = inputs[0].shape();
        shape.back() = inputs[1].shape(0);
        return {shape};
      }
      case MLX_NATIVE_RMS_NORM_GRADIENT:
      case MLX_NATIVE_LAYER_NORM_GRADIENT:
      case MLX_NATIVE_ATTENTION_GRADIENT:
      case MLX_NATIVE_CROSS_ENTROPY_GRADIENT: {
        std::vector<mx::Shape> shapes;
        for (size_t i = 0; i < n_gradients_; i++) {
          shapes.push_back(inputs[i].shape());
        }
        return shapes;
      }
      default:
        return {inputs[0].shape()};
    }
  }

  const char* name() const override {
    return kernel_name(call_.kernel);
  }

  bool is_equivalent(const Primitive& other) const override {
    auto* kernel = dynamic_cast<const CpuKernel*>(&other);
    return kernel && std::memcmp(&kernel->call_, &call_, sizeof(Call)) == 0;
  }

 private:
  Arrays make(const Arrays& inputs, const mx::Shape& shape) const {
    auto primitive = std::make_shared<CpuKernel>(
        const_cast<CpuKernel*>(this)->stream(), call_, composed_, gradient_, n_gradients_);
    return {mx::array(shape, inputs[0].dtype(), std::move(primitive), inputs)};
  }

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

  bool has_gradient(const Arrays& primals, const std::vector<int>& argnums) const {
    for (int i : argnums) {
      if (static_cast<size_t>(i) >= n_gradients_) {
        return false;
      }
    }
    return gradient_ != kNone && primals[0].dtype() == mx::float32;
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
    auto composed = [forward = composed_, argnums](const Arrays& all) {
      Arrays primals(all.begin(), all.end() - 1);
      auto function = [&](const Arrays& some) {
        auto inputs = primals;
        std::copy(some.begin(), some.end(), inputs.begin());
        return forward(inputs);
      };
      return mx::vjp(function, pick(primals, argnums), {all.back()}).second;
    };
    auto call = call_;
    call.kernel = gradient_;
    auto primitive = std::make_shared<CpuKernel>(stream(), call, composed, kNone, n_gradients_);
    return mx::array::make_arrays(std::move(shapes), dtypes, primitive, inputs);
  }

  // The inputs with the vectorized axis in front, where the kernel takes one more axis; nothing where it does not.
  std::optional<Arrays> in_front(const Arrays& inputs, const std::vector<int>& axes) {
    auto moved = [&](int i) { return axes[i] == kNone ? inputs[i] : mx::moveaxis(inputs[i], axes[i], 0, stream()); };
    switch (call_.kernel) {
      case MLX_NATIVE_RMS_NORM:
      case MLX_NATIVE_LAYER_NORM:
      case MLX_NATIVE_LINEAR: {
        for (size_t i = 1; i < axes.size(); i++) {
          if (axes[i] != kNone) {
            return {};
          }
        }
        auto all = inputs;
        all[0] = moved(0);
        return all;
      }
      case MLX_NATIVE_GELU:
      case MLX_NATIVE_GELU_APPROX:
      case MLX_NATIVE_SILU:
        return Arrays{moved(0)};
      case MLX_NATIVE_SWIGLU:
      case MLX_NATIVE_CROSS_ENTROPY:
        if (axes[0] == kNone || axes[1] == kNone) {
          return {};
        }
        return Arrays{moved(0), moved(1)};
      default:
        return {};
    }
  }

  Call call_;
  Function composed_;
  int gradient_;
  size_t n_gradients_;
};

bool is_short(mx::Dtype dtype) {
  return dtype == mx::float32 || dtype == mx::float16 || dtype == mx::bfloat16;
}

std::optional<mx::array> optional(const mlx_array a) {
  return a.ctx ? std::make_optional(mlx_array_get_(a)) : std::nullopt;
}

Arrays with(mx::array first, const std::optional<mx::array>& second, const std::optional<mx::array>& third = {}) {
  Arrays all{std::move(first)};
  if (second) {
    all.push_back(*second);
  }
  if (third) {
    all.push_back(*third);
  }
  return all;
}

// A vector of the length of the last axis of `x`, or nothing at all.
bool fits(const std::optional<mx::array>& vector, const mx::array& x) {
  return !vector || (vector->ndim() == 1 && vector->size() == static_cast<size_t>(x.shape(-1)));
}

std::optional<mx::array> cast(const std::optional<mx::array>& a, mx::Dtype dtype, mx::Stream s) {
  return a ? std::make_optional(mx::astype(*a, dtype, s)) : std::nullopt;
}

mx::array rms_norm(const mx::array& x, const std::optional<mx::array>& weight, float eps, mx::Stream s) {
  auto dtype = weight ? mx::result_type(x, *weight) : x.dtype();
  if (!kernels_on(s) || !is_short(dtype) || x.ndim() == 0 || x.size() == 0 || !fits(weight, x)) {
    return mx::fast::rms_norm(x, weight, eps, s);
  }
  Call call{MLX_NATIVE_RMS_NORM, {weight.has_value()}, {eps}};
  auto composed = [eps, s](const Arrays& in) -> Arrays {
    return {mx::fast::rms_norm(in[0], in.size() > 1 ? std::make_optional(in[1]) : std::nullopt, eps, s)};
  };
  auto inputs = with(mx::astype(x, dtype, s), cast(weight, dtype, s));
  size_t n = inputs.size();
  return mx::array(
      x.shape(),
      dtype,
      std::make_shared<CpuKernel>(s, call, composed, MLX_NATIVE_RMS_NORM_GRADIENT, n),
      std::move(inputs));
}

mx::array layer_norm(
    const mx::array& x,
    const std::optional<mx::array>& weight,
    const std::optional<mx::array>& bias,
    float eps,
    mx::Stream s) {
  // As in MLX, a bias takes part in the promotion only beside a weight.
  auto dtype = weight ? mx::promote_types(x.dtype(), weight->dtype()) : x.dtype();
  dtype = weight && bias ? mx::promote_types(dtype, bias->dtype()) : dtype;
  if (!kernels_on(s) || !is_short(dtype) || x.ndim() == 0 || x.size() == 0 || !fits(weight, x) || !fits(bias, x)) {
    return mx::fast::layer_norm(x, weight, bias, eps, s);
  }
  Call call{MLX_NATIVE_LAYER_NORM, {weight.has_value(), bias.has_value()}, {eps}};
  auto composed = [eps, s, weighted = weight.has_value(), biased = bias.has_value()](const Arrays& in) -> Arrays {
    auto w = weighted ? std::make_optional(in[1]) : std::nullopt;
    auto b = biased ? std::make_optional(in.back()) : std::nullopt;
    return {mx::fast::layer_norm(in[0], w, b, eps, s)};
  };
  auto inputs = with(mx::astype(x, dtype, s), cast(weight, dtype, s), cast(bias, dtype, s));
  size_t n = inputs.size();
  return mx::array(
      x.shape(),
      dtype,
      std::make_shared<CpuKernel>(s, call, composed, MLX_NATIVE_LAYER_NORM_GRADIENT, n),
      std::move(inputs));
}

mx::array rope(
    const mx::array& x,
    int dims,
    bool traditional,
    std::optional<float> base,
    float scale,
    const mx::array& offset,
    const std::optional<mx::array>& freqs,
    mx::Stream s) {
  auto plain = [=](const Arrays& in) -> Arrays {
    auto f = in.size() > 2 ? std::make_optional(in[2]) : std::nullopt;
    return {mx::fast::rope(in[0], dims, traditional, base, scale, in[1], f, s)};
  };
  bool right = x.ndim() >= 3 && dims > 0 && dims % 2 == 0 && dims <= x.shape(-1) && base.has_value() != freqs.has_value() &&
      offset.ndim() <= 1 && (offset.size() == 1 || offset.size() == static_cast<size_t>(x.shape(0))) &&
      mx::issubdtype(offset.dtype(), mx::integer) && (!freqs || (freqs->ndim() == 1 && freqs->shape(0) == dims / 2));
  if (!kernels_on(s) || !is_short(x.dtype()) || x.size() == 0 || !right) {
    return plain(with(x, offset, freqs))[0];
  }
  Call call{MLX_NATIVE_ROPE, {dims, traditional, freqs.has_value()}, {base.value_or(0.0f), scale}};
  auto inputs = with(x, mx::astype(offset, mx::int32, s), cast(freqs, mx::float32, s));
  return mx::array(x.shape(), x.dtype(), std::make_shared<CpuKernel>(s, call, plain), std::move(inputs));
}

mx::array attention(
    const mx::array& q,
    const mx::array& k,
    const mx::array& v,
    float scale,
    const std::string& mode,
    const std::optional<mx::array>& mask,
    const std::optional<mx::array>& sinks,
    bool force_fused,
    mx::Stream s) {
  auto dtype = mx::promote_types(mx::promote_types(q.dtype(), k.dtype()), v.dtype());
  bool right = q.ndim() == 4 && k.ndim() == 4 && v.ndim() == 4 && q.shape(0) == k.shape(0) && q.shape(0) == v.shape(0) &&
      q.shape(3) == k.shape(3) && k.shape(1) == v.shape(1) && k.shape(2) == v.shape(2) && k.shape(1) > 0 &&
      q.shape(1) % k.shape(1) == 0 && (mode.empty() || mode == "causal" || mode == "array") &&
      (mode == "array") == mask.has_value() && (!mask || mask->dtype() == mx::bool_ || mask->dtype() == dtype) &&
      (!sinks || (sinks->ndim() == 1 && sinks->shape(0) == q.shape(1)));
  if (!kernels_on(s) || !is_short(dtype) || !right || q.size() == 0 || k.size() == 0 || v.size() == 0) {
    return mx::fast::scaled_dot_product_attention(q, k, v, scale, mode, mask, sinks, force_fused, s);
  }
  Call call{MLX_NATIVE_ATTENTION, {mask ? 2 : mode == "causal", sinks.has_value()}, {scale}};
  auto composed = [=, masked = mask.has_value(), has_sinks = sinks.has_value()](const Arrays& in) -> Arrays {
    auto m = masked ? std::make_optional(in[3]) : std::nullopt;
    // The kernel reads sinks in `float32`; MLX refuses those that are wider than the result.
    auto sinks = has_sinks ? std::make_optional(mx::astype(in.back(), dtype, s)) : std::nullopt;
    return {mx::fast::scaled_dot_product_attention(in[0], in[1], in[2], scale, mode, m, sinks, false, s)};
  };
  Arrays inputs{mx::astype(q, dtype, s), mx::astype(k, dtype, s), mx::astype(v, dtype, s)};
  if (mask) {
    inputs.push_back(mx::broadcast_to(*mask, {q.shape(0), q.shape(1), q.shape(2), k.shape(2)}, s));
  }
  if (sinks) {
    inputs.push_back(mx::astype(*sinks, mx::float32, s));
  }
  auto shape = q.shape();
  shape.back() = v.shape(3);
  return mx::array(
      shape,
      dtype,
      std::make_shared<CpuKernel>(s, call, composed, MLX_NATIVE_ATTENTION_GRADIENT, 3),
      std::move(inputs));
}

mx::array cross_entropy(const mx::array& logits, const mx::array& targets, mx::Stream s) {
  bool right = logits.ndim() == targets.ndim() + 1 && mx::issubdtype(targets.dtype(), mx::integer) && logits.size() > 0 &&
      std::equal(targets.shape().begin(), targets.shape().end(), logits.shape().begin());
  if (!kernels_on(s) || !is_short(logits.dtype()) || !right) {
    return mx::fast::cross_entropy(logits, targets, s);
  }
  auto composed = [s](const Arrays& in) -> Arrays { return {mx::fast::cross_entropy(in[0], in[1], s)}; };
  Arrays inputs{mx::astype(logits, mx::float32, s), mx::astype(targets, mx::int64, s)};
  return mx::array(
      targets.shape(),
      mx::float32,
      std::make_shared<CpuKernel>(s, Call{MLX_NATIVE_CROSS_ENTROPY}, composed, MLX_NATIVE_CROSS_ENTROPY_GRADIENT, 1),
      std::move(inputs));
}

// What mlx.nn computes.
mx::array composed_activation(int kernel, const mx::array& x, mx::Stream s) {
  auto number = [&](double value) { return mx::array(static_cast<float>(value), x.dtype()); };
  auto half = [&](const mx::array& inner) {
    return mx::multiply(mx::multiply(x, number(0.5), s), mx::add(inner, number(1), s), s);
  };
  switch (kernel) {
    case MLX_NATIVE_GELU:
      return half(mx::erf(mx::multiply(x, number(1 / std::numbers::sqrt2), s), s));
    case MLX_NATIVE_GELU_APPROX: {
      auto cube = mx::multiply(mx::multiply(x, mx::square(x, s), s), number(0.044715), s);
      auto inner = mx::multiply(mx::add(x, cube, s), number(std::sqrt(2 / std::numbers::pi)), s);
      return half(mx::tanh(inner, s));
    }
    case MLX_NATIVE_SILU:
      return mx::multiply(x, mx::sigmoid(x, s), s);
    default:
      throw std::invalid_argument("fast.activation: no activation has this number");
  }
}

mx::array activation(int kernel, const mx::array& x, mx::Stream s) {
  if (!mx::issubdtype(x.dtype(), mx::floating)) {
    throw std::invalid_argument("x must be floating, got another dtype");
  }
  if (!kernels_on(s) || !is_short(x.dtype()) || x.size() == 0) {
    return composed_activation(kernel, x, s);
  }
  auto composed = [kernel, s](const Arrays& in) -> Arrays { return {composed_activation(kernel, in[0], s)}; };
  return mx::array(x.shape(), x.dtype(), std::make_shared<CpuKernel>(s, Call{kernel}, composed), Arrays{x});
}

mx::array swiglu(const mx::array& gate, const mx::array& x, mx::Stream s) {
  auto composed = [s](const Arrays& in) -> Arrays {
    return {mx::multiply(composed_activation(MLX_NATIVE_SILU, in[0], s), in[1], s)};
  };
  if (!kernels_on(s) || !is_short(x.dtype()) || gate.dtype() != x.dtype() || gate.shape() != x.shape() || x.size() == 0) {
    return composed({gate, x})[0];
  }
  return mx::array(
      x.shape(), x.dtype(), std::make_shared<CpuKernel>(s, Call{MLX_NATIVE_SWIGLU}, composed), Arrays{gate, x});
}

// Up to so many vectors the weights are better read as they are; more are worth a cast and a BLAS.
constexpr size_t kFewVectors = 8;

mx::array linear(const mx::array& x, const mx::array& weight, mx::Stream s) {
  auto composed = [s](const Arrays& in) -> Arrays {
    return {mx::matmul(in[0], mx::swapaxes(mx::astype(in[1], in[0].dtype(), s), -1, -2, s), s)};
  };
  bool is_half = weight.dtype() == mx::float16 || weight.dtype() == mx::bfloat16;
  bool right = x.ndim() >= 1 && weight.ndim() == 2 && x.shape(-1) == weight.shape(1) && x.size() > 0 && weight.size() > 0;
  if (!kernels_on(s) || x.dtype() != mx::float32 || !is_half || !right || x.size() / x.shape(-1) > kFewVectors) {
    return mx::matmul(x, mx::swapaxes(weight, -1, -2, s), s);
  }
  auto shape = x.shape();
  shape.back() = weight.shape(0);
  return mx::array(
      shape, mx::float32, std::make_shared<CpuKernel>(s, Call{MLX_NATIVE_LINEAR}, composed), Arrays{x, weight});
}

} // namespace

extern "C" int mlx_native_fast_rms_norm(
    mlx_array* res,
    const mlx_array x,
    const mlx_array weight,
    float eps,
    const mlx_stream s) {
  return guarded("fast.rms_norm", [&] {
    mlx_array_set_(*res, rms_norm(mlx_array_get_(x), optional(weight), eps, mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_layer_norm(
    mlx_array* res,
    const mlx_array x,
    const mlx_array weight,
    const mlx_array bias,
    float eps,
    const mlx_stream s) {
  return guarded("fast.layer_norm", [&] {
    mlx_array_set_(*res, layer_norm(mlx_array_get_(x), optional(weight), optional(bias), eps, mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_rope(
    mlx_array* res,
    const mlx_array x,
    int dims,
    bool traditional,
    mlx_optional_float base,
    float scale,
    const mlx_array offset,
    const mlx_array freqs,
    const mlx_stream s) {
  return guarded("fast.rope", [&] {
    auto b = base.has_value ? std::make_optional(base.value) : std::nullopt;
    auto& o = mlx_array_get_(offset);
    mlx_array_set_(
        *res, rope(mlx_array_get_(x), dims, traditional, b, scale, o, optional(freqs), mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_scaled_dot_product_attention(
    mlx_array* res,
    const mlx_array queries,
    const mlx_array keys,
    const mlx_array values,
    float scale,
    const char* mask_mode,
    const mlx_array mask_arr,
    const mlx_array sinks,
    bool force_fused,
    const mlx_stream s) {
  return guarded("fast.scaled_dot_product_attention", [&] {
    mlx_array_set_(
        *res,
        attention(
            mlx_array_get_(queries),
            mlx_array_get_(keys),
            mlx_array_get_(values),
            scale,
            mask_mode,
            optional(mask_arr),
            optional(sinks),
            force_fused,
            mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_cross_entropy(
    mlx_array* res,
    const mlx_array logits,
    const mlx_array targets,
    const mlx_stream s) {
  return guarded("fast.cross_entropy", [&] {
    mlx_array_set_(*res, cross_entropy(mlx_array_get_(logits), mlx_array_get_(targets), mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_activation(mlx_array* res, int kernel, const mlx_array x, const mlx_stream s) {
  return guarded("fast.activation", [&] {
    mlx_array_set_(*res, activation(kernel, mlx_array_get_(x), mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_swiglu(mlx_array* res, const mlx_array gate, const mlx_array x, const mlx_stream s) {
  return guarded("fast.swiglu", [&] {
    mlx_array_set_(*res, swiglu(mlx_array_get_(gate), mlx_array_get_(x), mlx_stream_get_(s)));
  });
}

extern "C" int mlx_native_fast_linear(mlx_array* res, const mlx_array x, const mlx_array weight, const mlx_stream s) {
  return guarded("fast.linear", [&] {
    mlx_array_set_(*res, linear(mlx_array_get_(x), mlx_array_get_(weight), mlx_stream_get_(s)));
  });
}
