// Rotary embedding by a kernel of our own (`cuda/rope.cu`): when it fits, and how it is launched.
#include "cuda_rope.h"

#ifdef __linux__

#include <cmath>

namespace cuda {

namespace {

constexpr int kMostPairs = 256;
constexpr int kHeadsAtOnce = 8;
constexpr int kThreads = 128;
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

} // namespace

bool Rope::run(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) const {
  auto& x = inputs[0];
  auto& offset = inputs[1];
  auto& out = outputs[0];
  bool has_freqs = inputs.size() == 3;
  if (x.ndim() != 4 || x.size() == 0 || !type_name(x.dtype()) || x.strides(3) != 1 || dims > 2 * kMostPairs ||
      offset.dtype() != mx::int32 || x.shape(0) > kMostBlocks || (has_freqs && inputs[2].dtype() != mx::float32)) {
    return false;
  }
  int item = static_cast<int>(x.itemsize());
  int pairs = dims / 2;
  // Pairs of a thread: 16 bytes of each half, or of neighbours.
  int n = is_traditional ? 8 / item : 16 / item;
  int width = is_traditional ? 2 * n : n;
  if (!is_aligned_to(x, 16) || pairs % n != 0 || (x.shape(3) - dims) % width != 0 || pairs * item % 16 != 0) {
    n = 1;
    width = is_traditional ? 2 : 1;
  }
  if (is_traditional && n == 1 && ((x.shape(3) - dims) % 2 != 0 || !is_aligned_to(x, 2 * item))) {
    return false;
  }
  auto name = std::string("rope<") + type_name(x.dtype()) + (is_traditional ? ", true, " : ", false, ") + std::to_string(n) + ">";
  auto* kernel = find("rope", name, s);
  if (!kernel) {
    return false;
  }
  Frequencies table{};
  for (int i = 0; i < pairs && !has_freqs; i++) {
    table.at[i] = static_cast<float>(std::pow(static_cast<double>(base), -2.0 * i / dims));
  }
  Sizes sizes{x.shape(1), x.shape(2), x.shape(3), dims, 0, 0, scale, is_forward ? 1.0f : -1.0f};
  sizes.offset_stride = offset.ndim() == 1 && offset.size() > 1 ? static_cast<int>(offset.strides(0)) : 0;
  sizes.freqs_stride = has_freqs ? static_cast<int>(inputs[2].strides(0)) : 0;
  Strides3 strides{x.strides(0), x.strides(1), x.strides(2)};
  auto freqs = has_freqs ? std::make_optional(inputs[2]) : std::nullopt;

  Launch launch(*kernel, s);
  launch.input(x);
  if (x.is_donatable() && x.flags().row_contiguous) {
    out.copy_shared_buffer(x);
  } else {
    allocate(out, s);
  }
  int64_t threads = int64_t{sizes.positions} * (pairs / n + (sizes.size - dims) / width);
  launch.output(out).input(offset).input(freqs).value(strides).value(sizes).value(table).run(
      {static_cast<unsigned>((threads + kThreads - 1) / kThreads),
       static_cast<unsigned>((sizes.heads + kHeadsAtOnce - 1) / kHeadsAtOnce),
       static_cast<unsigned>(x.shape(0))},
      kThreads);
  return true;
}

} // namespace cuda

#endif
