// Writing into part of an array by a kernel of our own (`cuda/update.cu`): when it fits, and how it is launched.
#include "cuda_update.h"

#ifdef __linux__

#include <limits>

namespace cuda {

namespace {

constexpr int kMostAxes = 8;
constexpr int kThreads = 128;
constexpr int kChunk = 16;

struct Sizes {
  int64_t from_strides[kMostAxes], to_strides[kMostAxes];
  int shape[kMostAxes];
  int64_t start_strides[kMostAxes];
  int most[kMostAxes];
  int ndim, n_axes, start_stride, size;
};

const char* index_name(mx::Dtype dtype) {
  if (dtype == mx::int32) {
    return "int";
  }
  if (dtype == mx::uint32) {
    return "uint32_t";
  }
  return dtype == mx::int64 ? "int64_t" : nullptr;
}

const char* item_name(size_t bytes) {
  switch (bytes) {
    case 1:
      return "uint8_t";
    case 2:
      return "uint16_t";
    case 4:
      return "uint32_t";
    case 8:
      return "uint64_t";
    default:
      return "Chunk";
  }
}

// Whether rows of both arrays can be moved 16 bytes at a time; they then have this many times fewer items.
bool has_chunks(const mx::array& from, const mx::array& to, const std::vector<int>& axes, int per_chunk) {
  int last = static_cast<int>(from.ndim()) - 1;
  bool fits = is_aligned(from) && is_aligned(to) && from.shape(last) % per_chunk == 0 && from.strides(last) == 1 && to.strides(last) == 1;
  for (int axis = 0; axis < last; axis++) {
    fits = fits && from.strides(axis) % per_chunk == 0 && to.strides(axis) % per_chunk == 0;
  }
  for (int axis : axes) {
    fits = fits && axis != last;
  }
  return fits;
}

} // namespace

bool update_in_place(const std::vector<int>& axes, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto &in = inputs[0], &from = inputs[1], &start = inputs[2];
  auto& out = outputs[0];
  auto* index = index_name(start.dtype());
  bool is_dense = in.flags().contiguous && in.data_size() == in.size();
  int ndim = static_cast<int>(in.ndim());
  if (!index || !is_dense || !in.is_donatable() || ndim == 0 || ndim > kMostAxes || from.ndim() != in.ndim() || from.size() == 0 ||
      from.size() > std::numeric_limits<int>::max() / 2 || in.itemsize() > 8 || start.size() != axes.size()) {
    return false;
  }
  Sizes sizes{};
  sizes.n_axes = static_cast<int>(axes.size());
  sizes.start_stride = start.ndim() > 0 && start.size() > 1 ? static_cast<int>(start.strides(0)) : 0;
  int per_chunk = kChunk / static_cast<int>(in.itemsize());
  bool is_chunked = has_chunks(from, in, axes, per_chunk);
  auto in_items = [&](int axis, int64_t stride) { return is_chunked && axis + 1 < ndim ? stride / per_chunk : stride; };
  for (int axis = 0; axis < ndim; axis++) {
    int size = is_chunked && axis + 1 == ndim ? from.shape(axis) / per_chunk : from.shape(axis);
    if (size > 1) {
      sizes.shape[sizes.ndim] = size;
      sizes.from_strides[sizes.ndim] = in_items(axis, from.strides(axis));
      sizes.to_strides[sizes.ndim++] = in_items(axis, in.strides(axis));
    }
  }
  for (int i = 0; i < sizes.n_axes; i++) {
    sizes.start_strides[i] = in_items(axes[i], in.strides(axes[i]));
    sizes.most[i] = in.shape(axes[i]) - from.shape(axes[i]);
  }
  sizes.size = static_cast<int>(from.size()) / (is_chunked ? per_chunk : 1);
  auto* kernel = find("update", std::string("update<") + item_name(is_chunked ? kChunk : in.itemsize()) + ", " + index + ">", s);
  if (!kernel) {
    return false;
  }
  Launch launch(*kernel, s);
  out.copy_shared_buffer(in);
  launch.input(from).output(out).input(start).value(sizes).run({static_cast<unsigned>((sizes.size + kThreads - 1) / kThreads)}, kThreads);
  return true;
}

} // namespace cuda

#endif
