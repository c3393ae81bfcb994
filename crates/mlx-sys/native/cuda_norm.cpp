// layer_norm, rms_norm and their gradients by kernels of our own (`cuda/norm.cu`): when they fit, and how they are launched.
#include "cuda_norm.h"

#ifdef __linux__

#include <algorithm>

#include "cuda_kernel.h"

namespace cuda {

namespace {

// How the threads of a row share it.
struct Shape {
  int threads;
  int vectors;
  int at_once;

  // For rows of `size` elements of which a thread holds `most` at most; no threads when that is too few.
  static Shape of(int size, int itemsize, bool is_aligned, int fewest_threads, int most) {
    int at_once = is_aligned && size % (16 / itemsize) == 0 ? 16 / itemsize : 1;
    int loads = (size + at_once - 1) / at_once;
    int wanted = std::max(4, 16 / at_once) / (most <= 16 && at_once == 8 ? 2 : 1);
    int threads = fewest_threads;
    while (threads < 1024 && threads * wanted < loads) {
      threads *= 2;
    }
    // Few different ones, as each is compiled.
    int vectors = 1;
    while (vectors * threads < loads) {
      vectors *= 2;
    }
    return {vectors * at_once <= most ? threads : 0, vectors, at_once};
  }

  std::string text() const {
    return std::to_string(threads) + ", " + std::to_string(vectors) + ", " + std::to_string(at_once) + ">";
  }
};

std::optional<mx::array> vector(const mx::array& w) {
  return w.ndim() == 1 ? std::make_optional(w) : std::nullopt;
}

bool is_plain(const std::optional<mx::array>& w) {
  return !w || w->strides(0) == 1 || w->size() == 1;
}

bool is_aligned(const std::optional<mx::array>& w) {
  return !w || cuda::is_aligned(*w);
}

// The array with rows side by side, and the result in the same layout: in the input's memory where that is free.
mx::array prepare(const mx::array& x, mx::array& out, const mx::Stream& s) {
  bool is_dense = x.flags().contiguous && x.strides(-1) == 1 && x.data_size() % x.shape(-1) == 0;
  if (is_dense && x.ndim() > 1) {
    is_dense = x.strides(-2) == 0 || x.strides(-2) == x.shape(-1);
  }
  if (!is_dense) {
    auto copy = computed(mx::contiguous(x, false, s));
    out.copy_shared_buffer(copy);
    return copy;
  }
  if (x.is_donatable()) {
    out.copy_shared_buffer(x);
  } else {
    auto memory = scratch({static_cast<int>(x.data_size())}, x.dtype(), s);
    out.copy_shared_buffer(memory, x.strides(), x.flags(), x.data_size());
  }
  return x;
}

std::string instance(const char* kernel, mx::Dtype dtype, std::initializer_list<bool> flags, const Shape& shape) {
  std::string text = std::string(kernel) + "<" + type_name(dtype) + ", ";
  for (bool flag : flags) {
    text += flag ? "true, " : "false, ";
  }
  return text + shape.text();
}

// The most elements of a row that a thread holds.
constexpr int kMost = 32;
constexpr int kMostOfGradient = 16;

} // namespace

bool norm(bool is_centered, float eps, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& out = outputs[0];
  auto w = vector(inputs[1]);
  auto b = is_centered ? vector(inputs[2]) : std::nullopt;
  if (!type_name(out.dtype()) || out.size() == 0 || !is_plain(w) || !is_plain(b)) {
    return false;
  }
  int size = inputs[0].shape(-1);
  bool can_load = is_aligned(inputs[0]) && is_aligned(w) && is_aligned(b);
  auto shape = Shape::of(size, static_cast<int>(out.itemsize()), can_load, 8, kMost);
  auto* kernel = shape.threads ? find("norm", instance("norm", out.dtype(), {is_centered}, shape), s) : nullptr;
  if (!kernel) {
    return false;
  }
  auto x = prepare(inputs[0], out, s);
  int64_t rows = x.data_size() / size;
  unsigned per_block = shape.threads <= 32 ? 128 / shape.threads : 1;
  Launch(*kernel, s)
      .input(x)
      .input(w)
      .input(b)
      .output(out)
      .value(rows)
      .value(size)
      .value(eps)
      .run({static_cast<unsigned>((rows + per_block - 1) / per_block)}, shape.threads * per_block);
  return true;
}

bool add_and_norm(float eps, const Arrays& terms, const mx::array& weight, mx::array& sum, mx::array& out, const mx::Stream& s) {
  auto w = vector(weight);
  auto &x = terms[0], &more = terms[1];
  auto is_term = [&](const mx::array& term) {
    return term.dtype() == out.dtype() && term.shape() == out.shape() && term.flags().row_contiguous && term.data_size() == term.size();
  };
  if (!type_name(out.dtype()) || out.size() == 0 || !is_term(x) || !is_term(more) || !is_plain(w) || weight.dtype() != out.dtype()) {
    return false;
  }
  int size = out.shape(-1);
  bool can_load = is_aligned(x) && is_aligned(more) && is_aligned(w);
  auto shape = Shape::of(size, static_cast<int>(out.itemsize()), can_load, 8, kMostOfGradient * 2);
  auto* kernel = shape.threads ? find("norm", instance("add_norm", out.dtype(), {}, shape), s) : nullptr;
  if (!kernel) {
    return false;
  }
  allocate(sum, s);
  allocate(out, s);
  int64_t rows = static_cast<int64_t>(out.size()) / size;
  unsigned per_block = shape.threads <= 32 ? 128 / shape.threads : 1;
  Launch(*kernel, s)
      .input(x)
      .input(more)
      .input(w)
      .output(sum)
      .output(out)
      .value(rows)
      .value(size)
      .value(eps)
      .run({static_cast<unsigned>((rows + per_block - 1) / per_block)}, shape.threads * per_block);
  return true;
}

bool layer_norm_gradient(float eps, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto w = vector(inputs[1]);
  auto& gx = outputs[0];
  if (!type_name(gx.dtype()) || gx.size() == 0 || !is_plain(w) || inputs[1].dtype() != gx.dtype()) {
    return false;
  }
  int size = inputs[0].shape(-1);
  auto x = in_rows(inputs[0], s);
  auto g = in_rows(inputs.back(), s);
  bool can_load = is_aligned(x) && is_aligned(g) && is_aligned(w);
  auto shape = Shape::of(size, static_cast<int>(gx.itemsize()), can_load, 32, kMostOfGradient);
  if (!shape.threads) {
    return false;
  }
  auto name = instance("norm_gradient", gx.dtype(), {true, w.has_value()}, shape);
  auto* kernel = find("norm", name, s);
  auto* add = find("norm", std::string("add_rows<") + type_name(gx.dtype()) + ">", s);
  if (!kernel || !add) {
    return false;
  }
  bool has_bias = outputs[2].ndim() == 1 && outputs[2].size() == static_cast<size_t>(size);
  allocate(gx, s);
  int64_t rows = x.size() / size;
  int per_processor = std::max(1, 512 / shape.threads);
  int blocks = static_cast<int>(std::min<int64_t>(rows, int64_t{per_processor} * processors(s)));
  int width = 2 * size;
  std::optional<mx::array> partial;
  if (w || has_bias) {
    partial = scratch({blocks, width}, mx::float32, s);
  }
  Launch launch(*kernel, s);
  launch.input(x).input(w).input(g).output(gx);
  (partial ? launch.output(*partial) : launch.null()).value(rows).value(size).value(eps).run(
      {static_cast<unsigned>(blocks)}, shape.threads);
  if (!partial) {
    return true;
  }
  Launch sums(*add, s);
  sums.input(*partial);
  for (auto [is_wanted, place] : {std::pair{w.has_value(), 1}, std::pair{has_bias, 2}}) {
    if (is_wanted) {
      allocate(outputs[place], s);
      sums.output(outputs[place]);
    } else {
      sums.null();
    }
  }
  sums.value(blocks).value(width).value(size).run({static_cast<unsigned>((width + 31) / 32)}, 1024);
  keep(s, {*partial});
  return true;
}

} // namespace cuda

#endif
