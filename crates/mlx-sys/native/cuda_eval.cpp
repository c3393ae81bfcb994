// vtable patching: the entry `eval_gpu` in the virtual function tables of those of MLX's classes whose CUDA kernels are wrong
// for some arrays. So what MLX derives from them, gradients above all, is right too.
//
// - Sums and products of half precision are added up in half precision: a thousand ones in bfloat16 can be 456. Here they
//   are computed in float32, and rounded once; so is what is added at indices, where atomic additions do the same.
// - The rotary embedding writes over an array that is one element seen many times, as the gradient of a sum is.
// - Convolutions keep cuDNN's plans by the alignment of the arrays that they were given, but make them for the copies of
//   those that are not in order: such a plan fails for the next array that is aligned like the first.
// - Plans of Fourier transforms are shared by all threads without a lock, and each use gives the plan its own stream and
//   memory: one thread at a time prepares and records them.
#include "cuda.h"
#include "cuda_graph.h"
#include "cuda_hook.h"
#include "cuda_rows.h"

#ifdef __linux__

#include <dlfcn.h>

#include <functional>
#include <string>

#include "mlx/fast.h"
#include "mlx/fft.h"
#include "mlx/ops.h"
#include "vtable.h"

namespace {

namespace mx = mlx::core;

using Evaluate = void (*)(mx::Primitive*, const Arrays&, Arrays&);

// What MLX has in the entries of each class.
Evaluate sum_of_mlx;
Evaluate scatter_of_mlx;
Evaluate scatter_axis_of_mlx;
Evaluate rope_of_mlx;
Evaluate convolution_of_mlx;
Evaluate transform_of_mlx;

// Functions of libmlx that its headers for the CPU do not declare.
template <class Function>
Function of_mlx(const char* symbol) {
  return reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, symbol));
}

// Keeps arrays until the GPU has done what was given to it so far.
void keep(const mx::Stream& s, Arrays arrays) {
  if (auto* recorder = cuda::GraphRecorder::current()) {
    recorder->hold(arrays);
  }
  using Encoder = void;
  static auto encoder_of = of_mlx<Encoder* (*)(mx::Stream)>("_ZN3mlx4core2cu19get_command_encoderENS0_6StreamE");
  static auto add_handler =
      of_mlx<void (*)(Encoder*, std::function<void()>)>("_ZN3mlx4core2cu14CommandEncoder21add_completed_handlerESt8functionIFvvEE");
  add_handler(encoder_of(s), [arrays = std::move(arrays)] {});
}

bool can_keep() {
  return of_mlx<void*>("_ZN3mlx4core2cu19get_command_encoderENS0_6StreamE") &&
      of_mlx<void*>("_ZN3mlx4core2cu14CommandEncoder21add_completed_handlerESt8functionIFvvEE");
}

// Computes an array of one operation whose inputs are computed: in the middle of an evaluation.
mx::array computed(mx::array result) {
  if (result.has_primitive()) {
    Arrays outputs{result};
    result.primitive().eval_gpu(result.inputs(), outputs);
  }
  return result;
}

bool is_half(const mx::array& x) {
  return x.dtype() == mx::float16 || x.dtype() == mx::bfloat16;
}

// Computes in float32 what `original` computes in half precision; `floating` says which inputs are numbers.
void in_float32(
    Evaluate original,
    mx::Primitive* primitive,
    const Arrays& inputs,
    Arrays& outputs,
    bool (*is_number)(size_t place, size_t n_inputs)) {
  auto s = primitive->stream();
  Arrays wide;
  for (size_t i = 0; i < inputs.size(); i++) {
    wide.push_back(is_number(i, inputs.size()) ? computed(mx::astype(inputs[i], mx::float32, s)) : inputs[i]);
  }
  // MLX asks an array's operation for the stream.
  Arrays result{mx::array(outputs[0].shape(), mx::float32, outputs[0].primitive_ptr(), {})};
  original(primitive, wide, result);
  auto rounded = mx::astype(result[0], outputs[0].dtype(), s);
  rounded.primitive().eval_gpu({result[0]}, outputs);
  wide.push_back(result[0]);
  keep(s, std::move(wide));
}

void sum(mx::Primitive* primitive, const Arrays& inputs, Arrays& outputs) {
  auto [kind, axes] = static_cast<mx::Reduce*>(primitive)->state();
  if (is_half(inputs[0]) && kind == mx::Reduce::Sum && cuda::sum_rows(axes, inputs, outputs, primitive->stream())) {
    count_cuda_kernel("Sum");
  } else if (is_half(inputs[0]) && inputs[0].size() > 0 && (kind == mx::Reduce::Sum || kind == mx::Reduce::Prod)) {
    in_float32(sum_of_mlx, primitive, inputs, outputs, [](size_t, size_t) { return true; });
  } else {
    sum_of_mlx(primitive, inputs, outputs);
  }
}

// Of an array, indices and updates, the first and the last are numbers.
bool is_first_or_last(size_t place, size_t n_inputs) {
  return place == 0 || place + 1 == n_inputs;
}

void scatter(mx::Primitive* primitive, const Arrays& inputs, Arrays& outputs) {
  auto kind = static_cast<mx::Scatter*>(primitive)->state().first;
  if (is_half(inputs[0]) && outputs[0].size() > 0 && (kind == mx::Scatter::Sum || kind == mx::Scatter::Prod)) {
    in_float32(scatter_of_mlx, primitive, inputs, outputs, is_first_or_last);
  } else {
    scatter_of_mlx(primitive, inputs, outputs);
  }
}

void scatter_axis(mx::Primitive* primitive, const Arrays& inputs, Arrays& outputs) {
  auto kind = static_cast<mx::ScatterAxis*>(primitive)->state().first;
  if (is_half(inputs[0]) && outputs[0].size() > 0 && kind == mx::ScatterAxis::Sum) {
    in_float32(scatter_axis_of_mlx, primitive, inputs, outputs, is_first_or_last);
  } else {
    scatter_axis_of_mlx(primitive, inputs, outputs);
  }
}

bool is_repeated(const mx::array& x) {
  for (int axis = 0; axis < static_cast<int>(x.ndim()); axis++) {
    if (x.strides(axis) == 0 && x.shape(axis) > 1) {
      return true;
    }
  }
  return false;
}

void rope(mx::Primitive* primitive, const Arrays& inputs, Arrays& outputs) {
  if (!is_repeated(inputs[0])) {
    return rope_of_mlx(primitive, inputs, outputs);
  }
  Arrays whole = inputs;
  whole[0] = computed(mx::contiguous(inputs[0], false, primitive->stream()));
  rope_of_mlx(primitive, whole, outputs);
  keep(primitive->stream(), std::move(whole));
}

// The alignment that MLX looks for at most, and the size of arrays that its allocator aligns less.
constexpr int64_t kAlignment = 32;
constexpr size_t kSmall = 8;

// An array whose plan is that of any other array with its alignment.
mx::array aligned(const mx::array& x, const mx::Stream& s) {
  if (x.nbytes() <= kSmall) {
    return computed(mx::contiguous(x, false, s));
  }
  // The larger of both is a copy.
  return x.offset() % kAlignment == 0 ? x : computed(mx::maximum(x, x, s));
}

void convolution(mx::Primitive* primitive, const Arrays& inputs, Arrays& outputs) {
  auto s = primitive->stream();
  Arrays own;
  for (auto& input : inputs) {
    own.push_back(aligned(input, s));
  }
  convolution_of_mlx(primitive, own, outputs);
  keep(s, std::move(own));
}

void transform(mx::Primitive* primitive, const Arrays& inputs, Arrays& outputs) {
  auto held = keep_recordings_out();
  transform_of_mlx(primitive, inputs, outputs);
}

// Whether the tables are laid out as expected: the function of a class that libmlx exports is compared.
bool is_as_expected(const mx::array& sample) {
  auto* own = dlsym(RTLD_DEFAULT, "_ZN3mlx4core3Add8eval_gpuERKSt6vectorINS0_5arrayESaIS3_EERS3_");
  return own && vtable::vtable_of(sample.primitive())[vtable::kEvalGpuOneSlot] == own;
}

void hook(const mx::array& sample, const char* name, Evaluate now, Evaluate& original) {
  if (!sample.has_primitive() || sample.primitive().name() != std::string(name)) {
    return;
  }
  auto** entry = vtable::vtable_of(sample.primitive()) + vtable::kEvalGpuSlot;
  original = reinterpret_cast<Evaluate>(*entry);
  vtable::write_slot(entry, reinterpret_cast<void*>(now));
}

bool hook_all() {
  if (!is_cuda() || !can_keep()) {
    return false;
  }
  auto s = mx::default_stream(mx::Device::gpu);
  mx::array x({0.5f, 0.5f, 0.5f, 0.5f}, {1, 1, 1, 4});
  mx::array line({0.5f, 0.5f}, {2});
  mx::array index({0}, {1});
  mx::array sequence({0.5f}, {1, 1, 1});
  if (!is_as_expected(mx::add(x, x, s))) {
    return false;
  }
  hook(mx::sum(x, true, s), "Sum", sum, sum_of_mlx);
  auto update = mx::reshape(sequence, {1, 1}, s);
  hook(mx::scatter_add(line, index, update, 0, s), "Scatter Sum", scatter, scatter_of_mlx);
  hook(mx::scatter_add_axis(line, index, mx::array({0.5f}, {1}), 0, s), "ScatterAxis Sum", scatter_axis, scatter_axis_of_mlx);
  hook(mx::fast::rope(x, 4, false, 10000.0f, 1.0f, 0, std::nullopt, s), "RoPE", rope, rope_of_mlx);
  hook(mx::conv1d(sequence, sequence, 1, 0, 1, 1, s), "Convolution", convolution, convolution_of_mlx);
  hook(mx::fft::fftn(line, mx::fft::FFTNorm::Backward, s), "FFT", transform, transform_of_mlx);
  hook_cuda_kernels();
  return true;
}

} // namespace

void hook_cuda_evaluations() {
  static const bool done = hook_all();
  static_cast<void>(done);
}

#else

void hook_cuda_evaluations() {}

#endif
