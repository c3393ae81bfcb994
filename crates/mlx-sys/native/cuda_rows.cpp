// Whole rows of a matrix by kernels of our own (`cuda/rows.cu`): when they fit, and how they are launched.
#include "cuda_rows.h"

#ifdef __linux__

#include <algorithm>
#include <limits>

namespace cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 4;
// Rows up to this length are a warp's.
constexpr int kShortRow = 1024;
// A few long rows would leave most of the device without work.
constexpr size_t kFewRows = 64;
constexpr int kLongRow = 1 << 16;

bool is_in_order(const mx::array& x) {
  return x.flags().row_contiguous && x.data_size() == x.size();
}

// What a thread moves at once: as many bytes as rows and their beginnings allow.
const char* chunk_of(const mx::array& x, int64_t row_bytes, int& bytes) {
  auto fits = [&](int n) { return row_bytes % n == 0 && x.offset() % n == 0; };
  bytes = is_aligned(x) && fits(16) ? 16 : fits(8) ? 8 : fits(4) ? 4 : fits(2) ? 2 : 1;
  switch (bytes) {
    case 16:
      return "Vector<uint32_t, 4>";
    case 8:
      return "Vector<uint32_t, 2>";
    case 4:
      return "uint32_t";
    case 2:
      return "uint16_t";
    default:
      return "uint8_t";
  }
}

// Whether a sum is over the last axes, all of them or none of the others.
bool are_last(const std::vector<int>& axes, int ndim) {
  int n = static_cast<int>(axes.size());
  return std::all_of(axes.begin(), axes.end(), [&](int axis) { return axis >= ndim - n; });
}

} // namespace

bool gather_rows(
    const std::vector<int>& axes, const mx::Shape& slice_sizes, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& out = outputs[0];
  if (inputs.size() != 2 || axes != std::vector<int>{0} || out.size() == 0 || inputs[0].size() == 0 || inputs[0].ndim() == 0) {
    return false;
  }
  auto &x = inputs[0], &index = inputs[1];
  bool is_row = slice_sizes[0] == 1 && std::equal(slice_sizes.begin() + 1, slice_sizes.end(), x.shape().begin() + 1);
  bool is_index = index.dtype() == mx::int32 || index.dtype() == mx::uint32;
  if (!is_row || !is_index || !is_in_order(x) || !is_in_order(index)) {
    return false;
  }
  int64_t row_bytes = static_cast<int64_t>(x.nbytes()) / x.shape(0);
  int bytes = 0;
  auto* chunk = chunk_of(x, row_bytes, bytes);
  int64_t chunks = row_bytes / bytes;
  int64_t size = static_cast<int64_t>(index.size()) * chunks;
  int64_t blocks = (size + kThreads * kPerThread - 1) / (kThreads * kPerThread);
  if (chunks > std::numeric_limits<int>::max() || blocks > std::numeric_limits<int>::max()) {
    return false;
  }
  auto name = std::string("gather_rows<") + chunk + (index.dtype() == mx::int32 ? ", int>" : ", uint32_t>");
  auto* kernel = find("rows", name, s);
  if (!kernel) {
    return false;
  }
  allocate(out, s);
  Launch(*kernel, s)
      .input(x)
      .input(index)
      .output(out)
      .value(int64_t{x.shape(0)})
      .value(static_cast<int>(chunks))
      .value(size)
      .run({static_cast<unsigned>(blocks)}, kThreads);
  return true;
}

bool sum_rows(const std::vector<int>& axes, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& x = inputs[0];
  auto& out = outputs[0];
  if (!kernels_on() || x.itemsize() != 2 || !type_name(x.dtype()) || out.size() == 0 || x.size() == 0 || !is_in_order(x) ||
      !are_last(axes, static_cast<int>(x.ndim()))) {
    return false;
  }
  auto rows = out.size(), length = x.size() / rows;
  if (length > std::numeric_limits<int>::max() / 2 || rows > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      (rows < kFewRows && length > kLongRow)) {
    return false;
  }
  int threads = length <= kShortRow ? 32 : kThreads;
  int n = is_aligned(x) && length % 8 == 0 ? 8 : 1;
  auto name = std::string("sum_rows<") + type_name(x.dtype()) + ", " + std::to_string(threads) + ", " + std::to_string(n) + ">";
  auto* kernel = find("rows", name, s);
  if (!kernel) {
    return false;
  }
  allocate(out, s);
  auto at_once = static_cast<size_t>(kThreads / threads);
  Launch(*kernel, s)
      .input(x)
      .output(out)
      .value(static_cast<int64_t>(rows))
      .value(static_cast<int>(length))
      .run({static_cast<unsigned>((rows + at_once - 1) / at_once)}, kThreads);
  return true;
}

} // namespace cuda

#endif
