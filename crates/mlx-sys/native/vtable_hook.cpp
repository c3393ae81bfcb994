// vtable patching: the entry `eval_cpu` in the virtual function tables of MLX's own classes, so that kernels of the CPU
// backend evaluate them.
//
// For each class below, the entry is replaced (`vtable.h`) by a function that asks the backend whether it has a kernel, and
// calls what was there before when it has none. So everything that MLX derives from its operations (gradients, vmap,
// compiled and shapeless functions) uses the kernels without knowing. `MLX_HOST_KERNELS=0` switches it off: then the backend
// is not installed. A hook knows how the attributes of its class are read, and nothing else.
#include "cpu.h"
#include "vtable.h"

namespace mx = mlx::core;

namespace {

using vtable::EvalCpu;

// Runs the kernel of an operation on these inputs. Returns false when there is none; then nothing has been done.
// `is_elementwise` says that each element of the result is made of the one in its place, so that the order is free.
bool try_kernel(const CpuOp& op, bool is_elementwise, mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
  auto buffers = std::make_shared<Buffers>(inputs, outputs);
  auto& x = inputs[0];
  // What is dense in another order stays so.
  bool keeps_order = is_elementwise && x.flags().contiguous && !x.flags().row_contiguous;
  if (keeps_order) {
    buffers->flatten(x.data_size());
  }
  if (!supports(op, *buffers)) {
    return false;
  }
  if (keeps_order) {
    auto& out = outputs[0];
    out.set_data(mx::allocator::malloc(x.data_size() * out.itemsize()), x.data_size(), x.strides(), x.flags());
    buffers->outputs[0].data = out.data<void>();
  } else {
    allocate(outputs, *buffers);
  }
  run_kernel(op, inputs, outputs, std::move(buffers), self->stream());
  return true;
}

// How a class of MLX's reads: the operation that a primitive of it is.
template <class Class>
using ToOp = ops::Bytes (*)(const Class&);

// One patched class.
template <class Class, ToOp<Class> to_op, bool is_elementwise>
struct Hook {
  static inline EvalCpu original_eval_cpu = nullptr;

  static void eval_cpu(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    CpuOp op{to_op(static_cast<const Class&>(*self))};
    if (!try_kernel(op, is_elementwise, self, inputs, outputs)) {
      original_eval_cpu(self, inputs, outputs);
    }
  }
};

// The same for a class whose inputs are in another order than the operation's: a, b and c instead of c, a and b.
struct AddMMHook {
  static inline EvalCpu original_eval_cpu = nullptr;

  static void eval_cpu(mx::Primitive* self, const Arrays& inputs, Arrays& outputs) {
    auto [alpha, beta] = static_cast<const mx::AddMM&>(*self).state();
    CpuOp op{ops::encode(ops::Addmm{alpha, beta})};
    if (!try_kernel(op, false, self, {inputs[2], inputs[0], inputs[1]}, outputs)) {
      original_eval_cpu(self, inputs, outputs);
    }
  }
};

// Of a class without attributes.
template <class Class, class Op>
ops::Bytes plain(const Class&) {
  return ops::encode(Op{});
}

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

#if defined(__linux__)

// Patches the class of `sample`'s primitive, which must have this name.
template <class Class, ToOp<Class> to_op, bool is_elementwise = false>
int hook(const mx::array& sample, const char* name) {
  using Here = Hook<Class, to_op, is_elementwise>;
  return vtable::hook_eval_cpu(sample, name, &Here::eval_cpu, Here::original_eval_cpu);
}

// The same for an elementwise class of one input.
template <class Class, class Op>
int hook_unary(const mx::array& sample, const char* name) {
  return hook<Class, plain<Class, Op>, true>(sample, name);
}

template <class Class, class Op>
int hook_plain(const mx::array& sample, const char* name) {
  return hook<Class, plain<Class, Op>>(sample, name);
}

#endif

} // namespace

int hook_evaluations() {
#if defined(__linux__)
  if (!vtable::is_as_expected()) {
    return 0;
  }
  auto s = mx::default_stream(mx::Device::cpu);
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {2, 2});
  std::vector<int> last{-1};
  auto grid = mx::zeros({2, 32}, mx::float32, s);
  auto packed = mx::zeros({2, 4}, mx::uint32, s);
  auto scales = mx::zeros({2, 1}, mx::float32, s);
  auto sequence = mx::zeros({1, 4, 1}, mx::float32, s);
  int done = 0;
  done += hook_unary<mx::Exp, ops::Exp>(mx::exp(x, s), "Exp");
  done += hook<mx::Log, read_log, true>(mx::log(x, s), "Log");
  done += hook_unary<mx::Sin, ops::Sin>(mx::sin(x, s), "Sin");
  done += hook_unary<mx::Cos, ops::Cos>(mx::cos(x, s), "Cos");
  done += hook_unary<mx::Tanh, ops::Tanh>(mx::tanh(x, s), "Tanh");
  done += hook_unary<mx::Sigmoid, ops::Sigmoid>(mx::sigmoid(x, s), "Sigmoid");
  done += hook_unary<mx::Erf, ops::Erf>(mx::erf(x, s), "Erf");
  done += hook_unary<mx::Square, ops::Square>(mx::square(x, s), "Square");
  done += hook<mx::Sqrt, read_sqrt, true>(mx::sqrt(x, s), "Sqrt");
  done += hook_unary<mx::Negative, ops::Negative>(mx::negative(x, s), "Negative");
  done += hook_unary<mx::Abs, ops::Abs>(mx::abs(x, s), "Abs");
  done += hook_plain<mx::Add, ops::Add>(mx::add(x, x, s), "Add");
  done += hook_plain<mx::Subtract, ops::Subtract>(mx::subtract(x, x, s), "Subtract");
  done += hook_plain<mx::Multiply, ops::Multiply>(mx::multiply(x, x, s), "Multiply");
  done += hook_plain<mx::Divide, ops::Divide>(mx::divide(x, x, s), "Divide");
  done += hook_plain<mx::Maximum, ops::Maximum>(mx::maximum(x, x, s), "Maximum");
  done += hook_plain<mx::Minimum, ops::Minimum>(mx::minimum(x, x, s), "Minimum");
  done += hook<mx::Softmax, read_softmax>(mx::softmax(x, last, false, s), "Softmax");
  done += hook<mx::LogSumExp, read_logsumexp>(mx::logsumexp(x, last, true, s), "LogSumExp");
  done += hook<mx::Reduce, read_reduce>(mx::sum(x, last, true, s), "Sum");
  done += hook_plain<mx::Matmul, ops::Matmul>(mx::matmul(x, x, s), "Matmul");
  auto addmm = mx::addmm(x, x, x, 1.0f, 1.0f, s);
  done += vtable::hook_eval_cpu(addmm, "AddMM", &AddMMHook::eval_cpu, AddMMHook::original_eval_cpu);
  done += hook<mx::Convolution, read_convolution>(mx::conv1d(sequence, sequence, 1, 0, 1, 1, s), "Convolution");
  done += hook<mx::QuantizedMatmul, read_quantized_matmul>(
      mx::quantized_matmul(grid, packed, scales, scales, true, 32, 4, "affine", s), "QuantizedMatmul");
  return done;
#else
  return 0;
#endif
}
