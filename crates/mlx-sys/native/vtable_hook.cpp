// MLX's own operations on the CPU, evaluated by kernels of ours where those apply.
//
// For each class below, the evaluation is replaced (`vtable.h`) by a function that offers the work to our kernels and
// calls what was there before when they decline. So everything that MLX derives from its operations (gradients, vmap,
// compiled and shapeless functions) uses them without knowing.
#include "cpu.h"
#include "vtable.h"

namespace mx = mlx::core;

namespace {

using vtable::Evaluate;

// Offers the evaluation to a kernel. Returns false when that declines; then nothing has been done.
bool offer(const Call& call, mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
  auto& out = outputs[0];
  if (out.size() == 0) {
    return false;
  }
  auto buffers = std::make_shared<Buffers>(inputs, outputs);
  // Functions of one element do not care for the order: what is dense stays as it is.
  bool dense = inputs.size() == 1 && call.kernel <= MLX_NATIVE_ABS && inputs[0].flags().contiguous &&
      !inputs[0].flags().row_contiguous;
  if (dense) {
    buffers->flatten(inputs[0].data_size());
  }
  if (!kernel_accepts(call, *buffers)) {
    return false;
  }
  if (dense) {
    auto& x = inputs[0];
    out.set_data(mx::allocator::malloc(x.data_size() * out.itemsize()), x.data_size(), x.strides(), x.flags());
    buffers->outputs[0].data = out.data<void>();
  } else {
    allocate(outputs, *buffers);
  }
  run_kernel(call, inputs, outputs, std::move(buffers), self->stream());
  return true;
}

// One class: what was done before, and what is done now. `describe` returns false for what no kernel can do.
template <class Class, bool (*describe)(const Class&, const Arrays&, Call&)>
struct Site {
  static inline Evaluate original = nullptr;

  static void evaluate(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    Call call{};
    if (!describe(static_cast<const Class&>(*self), inputs, call) || !offer(call, self, inputs, outputs)) {
      original(self, inputs, outputs);
    }
  }
};

template <int kernel, class Class>
bool plain(const Class&, const Arrays&, Call& call) {
  call.kernel = kernel;
  return true;
}

bool natural_log(const mx::Log& log, const Arrays&, Call& call) {
  call.kernel = MLX_NATIVE_LOG;
  return log.state() == mx::Log::e;
}

bool root(const mx::Sqrt& sqrt, const Arrays&, Call& call) {
  call.kernel = sqrt.state() ? MLX_NATIVE_RSQRT : MLX_NATIVE_SQRT;
  return true;
}

// What is not precise rounds the sum to the storage type; a kernel that does better does no harm.
bool softmax(const mx::Softmax&, const Arrays&, Call& call) {
  call.kernel = MLX_NATIVE_SOFTMAX;
  return true;
}

bool reduce(const mx::Reduce& reduce, const Arrays&, Call& call) {
  auto [kind, axes] = reduce.state();
  call.kernel = MLX_NATIVE_REDUCE;
  switch (kind) {
    case mx::Reduce::Sum:
      call.integers[0] = 0;
      break;
    case mx::Reduce::Max:
      call.integers[0] = 1;
      break;
    case mx::Reduce::Min:
      call.integers[0] = 2;
      break;
    default:
      return false;
  }
  if (axes.size() > 6) {
    return false;
  }
  call.integers[1] = static_cast<int64_t>(axes.size());
  for (size_t i = 0; i < axes.size(); i++) {
    call.integers[2 + i] = axes[i];
  }
  return true;
}

bool addmm(const mx::AddMM& product, const Arrays&, Call& call) {
  auto [alpha, beta] = product.state();
  call.kernel = MLX_NATIVE_ADDMM;
  call.numbers[0] = alpha;
  call.numbers[1] = beta;
  return true;
}

bool conv1d(const mx::Convolution& conv, const Arrays& inputs, Call& call) {
  auto [strides, padding_lo, padding_hi, kernel_dilation, input_dilation, groups, flip] = conv.state();
  if (inputs[0].ndim() != 3 || padding_lo != padding_hi || input_dilation[0] != 1 || flip) {
    return false;
  }
  call.kernel = MLX_NATIVE_CONV1D;
  call.integers[0] = strides[0];
  call.integers[1] = padding_lo[0];
  call.integers[2] = kernel_dilation[0];
  call.integers[3] = groups;
  return true;
}

bool quantized_matmul(const mx::QuantizedMatmul& product, const Arrays& inputs, Call& call) {
  auto [group_size, bits, mode, transposed] = product.state();
  call.kernel = MLX_NATIVE_QUANTIZED_MATMUL;
  call.integers[0] = group_size;
  call.integers[1] = bits;
  call.integers[2] = transposed;
  return mode == mx::QuantizationMode::Affine && inputs.size() == 4;
}

#if defined(__linux__)

// Replaces the evaluation of the class of `sample`'s primitive, which must have this name.
template <class Class, bool (*describe)(const Class&, const Arrays&, Call&)>
int replace(const mx::array& sample, const char* name) {
  using Here = Site<Class, describe>;
  return vtable::exchange(sample, name, &Here::evaluate, Here::original);
}

#endif

} // namespace

int replace_evaluations() {
#if defined(__linux__)
  if (!vtable::can_exchange()) {
    return 0;
  }
  auto s = mx::default_stream(mx::Device::cpu);
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  auto exp = mx::exp(x, s);
  auto add = mx::add(x, x, s);
  mx::array grid = mx::zeros({2, 32}, mx::float32, s);
  auto packed = mx::zeros({2, 4}, mx::uint32, s);
  auto scales = mx::zeros({2, 1}, mx::float32, s);
  int done = 0;
  done += replace<mx::Exp, plain<MLX_NATIVE_EXP, mx::Exp>>(exp, "Exp");
  done += replace<mx::Log, natural_log>(mx::log(x, s), "Log");
  done += replace<mx::Sin, plain<MLX_NATIVE_SIN, mx::Sin>>(mx::sin(x, s), "Sin");
  done += replace<mx::Cos, plain<MLX_NATIVE_COS, mx::Cos>>(mx::cos(x, s), "Cos");
  done += replace<mx::Tanh, plain<MLX_NATIVE_TANH, mx::Tanh>>(mx::tanh(x, s), "Tanh");
  done += replace<mx::Sigmoid, plain<MLX_NATIVE_SIGMOID, mx::Sigmoid>>(mx::sigmoid(x, s), "Sigmoid");
  done += replace<mx::Erf, plain<MLX_NATIVE_ERF, mx::Erf>>(mx::erf(x, s), "Erf");
  done += replace<mx::Square, plain<MLX_NATIVE_SQUARE, mx::Square>>(mx::square(x, s), "Square");
  done += replace<mx::Sqrt, root>(mx::sqrt(x, s), "Sqrt");
  done += replace<mx::Negative, plain<MLX_NATIVE_NEGATIVE, mx::Negative>>(mx::negative(x, s), "Negative");
  done += replace<mx::Abs, plain<MLX_NATIVE_ABS, mx::Abs>>(mx::abs(x, s), "Abs");
  done += replace<mx::Add, plain<MLX_NATIVE_ADD, mx::Add>>(add, "Add");
  done += replace<mx::Subtract, plain<MLX_NATIVE_SUBTRACT, mx::Subtract>>(mx::subtract(x, x, s), "Subtract");
  done += replace<mx::Multiply, plain<MLX_NATIVE_MULTIPLY, mx::Multiply>>(mx::multiply(x, x, s), "Multiply");
  done += replace<mx::Divide, plain<MLX_NATIVE_DIVIDE, mx::Divide>>(mx::divide(x, x, s), "Divide");
  done += replace<mx::Maximum, plain<MLX_NATIVE_MAXIMUM, mx::Maximum>>(mx::maximum(x, x, s), "Maximum");
  done += replace<mx::Minimum, plain<MLX_NATIVE_MINIMUM, mx::Minimum>>(mx::minimum(x, x, s), "Minimum");
  done += replace<mx::Softmax, softmax>(mx::softmax(x, std::vector<int>{-1}, false, s), "Softmax");
  done += replace<mx::LogSumExp, plain<MLX_NATIVE_LOGSUMEXP, mx::LogSumExp>>(
      mx::logsumexp(x, std::vector<int>{-1}, true, s), "LogSumExp");
  done += replace<mx::Reduce, reduce>(mx::sum(x, std::vector<int>{-1}, true, s), "Sum");
  done += replace<mx::Matmul, plain<MLX_NATIVE_MATMUL, mx::Matmul>>(mx::matmul(x, x, s), "Matmul");
  done += replace<mx::AddMM, addmm>(mx::addmm(x, x, x, 1.0f, 1.0f, s), "AddMM");
  auto sequence = mx::zeros({1, 4, 1}, mx::float32, s);
  done += replace<mx::Convolution, conv1d>(mx::conv1d(sequence, sequence, 1, 0, 1, 1, s), "Convolution");
  done += replace<mx::QuantizedMatmul, quantized_matmul>(
      mx::quantized_matmul(grid, packed, scales, scales, true, 32, 4, "affine", s), "QuantizedMatmul");
  return done;
#else
  return 0;
#endif
}
