// Rotary embedding by a kernel of our own (`cuda/rope.cu`): when it fits, and how it is launched.
#include "cuda_rope.h"

#ifdef __linux__

#include <cmath>

#include "mlx/ops.h"

namespace cuda {

namespace {

constexpr int kMostPairs = 256;
constexpr int kHeadsAtOnce = 8;
constexpr int kThreads = 128;
// Elements up to which a thread for each pair pays.
constexpr size_t kFew = 1 << 16;
constexpr int kMostBlocks = 65535;

struct Frequencies {
  float at[kMostPairs];
};

struct Strides3 {
  int64_t batch, head, row;
};

struct Sizes {
  int heads, positions, size, dims, offset_stride, freqs_stride;
  float scale, sign;
};

// Whether every row of x can be read `bytes` at a time.
bool is_aligned_to(const mx::array& x, int64_t bytes) {
  int64_t item = x.itemsize();
  bool is_aligned = cuda::is_aligned(x) && x.shape(3) * item % bytes == 0;
  for (int axis = 0; axis < 3; axis++) {
    is_aligned = is_aligned && (x.shape(axis) == 1 || x.strides(axis) * item % bytes == 0);
  }
  return is_aligned;
}

// What each pair turns by for one position; made once for neighbouring calls.
const Frequencies& frequencies(float base, int dims) {
  thread_local float last_base = 0;
  thread_local int last_dims = 0;
  thread_local Frequencies table;
  if (last_base != base || last_dims != dims) {
    for (int i = 0; i < dims / 2; i++) {
      table.at[i] = static_cast<float>(std::pow(static_cast<double>(base), -2.0 * i / dims));
    }
    last_base = base;
    last_dims = dims;
  }
  return table;
}

} // namespace

bool Rope::run(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) const {
  auto& offset = inputs[1];
  auto& out = outputs[0];
  bool has_freqs = inputs.size() == 3;
  if (inputs[0].ndim() != 4 || inputs[0].size() == 0 || !type_name(out.dtype()) || dims > 2 * kMostPairs ||
      offset.dtype() != mx::int32 || inputs[0].shape(0) > kMostBlocks) {
    return false;
  }
  // Asked before there is a second name for it.
  bool is_free = inputs[0].is_donatable() && inputs[0].flags().row_contiguous;
  auto x = inputs[0].strides(3) == 1 ? inputs[0] : in_rows(inputs[0], s);
  int item = static_cast<int>(x.itemsize());
  int pairs = dims / 2;
  // Pairs of a thread: 16 bytes of each half, or of neighbours.
  int n = is_traditional ? 8 / item : 16 / item;
  int width = is_traditional ? 2 * n : n;
  if (!is_aligned_to(x, 16) || pairs % n != 0 || (x.shape(3) - dims) % width != 0 || pairs * item % 16 != 0) {
    n = 1;
    width = 1;
  }
  bool is_few = x.size() <= kFew;
  if (is_few) {
    n = 1;
    width = 1;
  }
  int heads_at_once = is_few ? 1 : kHeadsAtOnce;
  auto name = std::string("rope<") + type_name(x.dtype()) + (is_traditional ? ", true, " : ", false, ") + std::to_string(n) + ", " +
      std::to_string(heads_at_once) + ">";
  auto* kernel = find("rope", name, s);
  if (!kernel) {
    return false;
  }
  Sizes sizes{x.shape(1), x.shape(2), x.shape(3), dims, 0, 0, scale, is_forward ? 1.0f : -1.0f};
  sizes.offset_stride = offset.ndim() == 1 && offset.size() > 1 ? static_cast<int>(offset.strides(0)) : 0;
  Strides3 strides{x.strides(0), x.strides(1), x.strides(2)};
  std::optional<mx::array> freqs;
  if (has_freqs) {
    freqs = inputs[2].dtype() == mx::float32 ? inputs[2] : computed(mx::astype(inputs[2], mx::float32, s));
    keep(s, {*freqs});
    sizes.freqs_stride = static_cast<int>(freqs->strides(0));
  }

  Launch launch(*kernel, s);
  launch.input(x);
  if (is_free) {
    out.copy_shared_buffer(x);
  } else {
    allocate(out, s);
  }
  int64_t threads = int64_t{sizes.positions} * (pairs / n + (sizes.size - dims) / width);
  launch.output(out).input(offset).input(freqs).value(strides).value(sizes).value(has_freqs ? Frequencies{} : frequencies(base, dims)).run(
      {static_cast<unsigned>((threads + kThreads - 1) / kThreads),
       static_cast<unsigned>((sizes.heads + heads_at_once - 1) / heads_at_once),
       static_cast<unsigned>(x.shape(0))},
      kThreads);
  return true;
}

bool Rope::run_with_norm(
    float eps, const mx::array& x, const mx::array& w, const Arrays& inputs, mx::array& out, const mx::Stream& s) const {
  auto& offset = inputs[1];
  bool has_freqs = inputs.size() == 3;
  bool has_weight = w.ndim() == 1;
  bool is_in_rows = x.flags().row_contiguous && x.data_size() == x.size();
  if (x.ndim() != 4 || x.shape(1) != 1 || x.size() == 0 || x.size() > kFew || !is_in_rows || !type_name(x.dtype()) || x.shape(3) != dims ||
      dims % 2 != 0 || dims > 256 || !is_forward || offset.dtype() != mx::int32 || (has_freqs && inputs[2].dtype() != mx::float32) ||
      (has_weight && (w.dtype() != x.dtype() || w.strides(0) != 1)) || out.dtype() != x.dtype()) {
    return false;
  }
  int most = dims <= 64 ? 1 : dims <= 128 ? 2 : 4;
  auto name = std::string("norm_rope<") + type_name(x.dtype()) + (is_traditional ? ", true, " : ", false, ") + std::to_string(most) + ">";
  auto* kernel = find("rope", name, s);
  if (!kernel) {
    return false;
  }
  Sizes sizes{x.shape(2), 1, dims, dims, 0, 0, scale, 1.0f};
  sizes.offset_stride = offset.ndim() == 1 && offset.size() > 1 ? static_cast<int>(offset.strides(0)) : 0;
  sizes.freqs_stride = has_freqs ? static_cast<int>(inputs[2].strides(0)) : 0;
  int rows = x.shape(0) * x.shape(2);
  allocate(out, s);
  Launch(*kernel, s)
      .input(x)
      .input(has_weight ? std::make_optional(w) : std::nullopt)
      .output(out)
      .input(offset)
      .input(has_freqs ? std::make_optional(inputs[2]) : std::nullopt)
      .value(rows)
      .value(eps)
      .value(sizes)
      .value(has_freqs ? Frequencies{} : frequencies(base, dims))
      .run({static_cast<unsigned>((rows + 3) / 4)}, kThreads);
  return true;
}

} // namespace cuda

#endif
