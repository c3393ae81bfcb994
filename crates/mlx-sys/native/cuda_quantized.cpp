// Products of a few rows with packed weights by a kernel of our own (`cuda/quantized.cu`): when it fits, and its launch.
#include "cuda_quantized.h"

#ifdef __linux__

#include <algorithm>
#include <cstdlib>

#include "cuda_graph.h"
#include "cuda_kernel.h"
#include "mlx/ops.h"

namespace cuda {

namespace {

constexpr int kMostRows = 16;
// Columns of 8 results in half precision, beyond which MLX's kernels for many rows are as fast.
constexpr int kMostSets = 2;
// Rows of weights that a warp has, and warps of a block.
constexpr int kTile = 16;
constexpr int kWarps = 8;
// Warps that a multiprocessor should be given, two times what it runs at once.
constexpr int kBusy = 32;

// Rows from which unpacking pays for all weights, and elements of weights up to which it pays for fewer.
constexpr int64_t kManyRows = 64;
constexpr int64_t kFewWeights = 1 << 23;
// Elements that a thread unpacks.
constexpr int64_t kUnpacked = 32;
// Bytes of unpacked weights that a recorded graph keeps.
constexpr size_t kMostKept = size_t{1} << 30;

bool is_matrix(const mx::array& w) {
  return w.ndim() == 2 && w.flags().row_contiguous;
}

// The smallest power of two from `n` on.
int power_from(int n) {
  int power = 1;
  while (power < n) {
    power *= 2;
  }
  return power;
}

// Whether weights are packed as the kernels here take them, in the dtype of `out`.
bool is_packed(int group_size, int bits, const Arrays& inputs, const mx::array& out) {
  if (inputs.size() != 4 || (bits != 4 && bits != 8) || !type_name(out.dtype()) || out.size() == 0) {
    return false;
  }
  auto& w = inputs[1];
  bool has_matrices = is_matrix(w) && is_matrix(inputs[2]) && is_matrix(inputs[3]) && w.dtype() == mx::uint32;
  return has_matrices && inputs[0].shape(-1) % group_size == 0 && inputs[0].dtype() == out.dtype() &&
      inputs[2].dtype() == out.dtype() && inputs[3].dtype() == out.dtype() && is_aligned(w);
}

// The same elements with another shape.
void reshape_into(mx::array& out, const mx::array& x) {
  mx::Strides strides(out.ndim());
  int64_t stride = 1;
  for (int axis = static_cast<int>(out.ndim()) - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= out.shape(axis);
  }
  auto flags = x.flags();
  size_t longest = out.ndim() == 0 ? 1 : *std::max_element(out.shape().begin(), out.shape().end());
  flags.col_contiguous = out.size() <= 1 || out.size() == longest;
  out.copy_shared_buffer(x, strides, flags, x.data_size());
}

} // namespace

bool quantized_product(int group_size, int bits, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& out = outputs[0];
  if (!is_packed(group_size, bits, inputs, out)) {
    return false;
  }
  auto& w = inputs[1];
  int size = inputs[0].shape(-1);
  int64_t n_x = inputs[0].size() / size;
  if (n_x > kMostRows) {
    return false;
  }
  int rows = w.shape(0);
  int at_once = 4 * 128 / bits;
  int groups = at_once > group_size ? at_once / group_size : 1;
  int sets = power_from(static_cast<int>((n_x * groups + 7) / 8));
  if (sets > kMostSets && out.dtype() != mx::float32) {
    return false;
  }
  int tiles = (rows + kTile - 1) / kTile;
  int n_steps = (size + at_once - 1) / at_once;
  int split = 1;
  while (split < kWarps && tiles * split < kBusy * processors(s) && n_steps >= 4 * split) {
    split *= 2;
  }
  bool can_load = is_aligned(inputs[2]) && is_aligned(inputs[3]);
  // Where there are few warps or long rows, each has more reads under way.
  bool is_short = 2 * tiles * split >= kBusy * processors(s) && n_steps <= 4 * split;
  int steps = sets > 1 || is_short ? 2 : 4;
  while (steps > 1 && size % (steps * at_once) != 0) {
    steps /= 2;
  }
  bool is_whole = can_load && size % (steps * at_once) == 0;
  auto number = [](int n) { return std::to_string(n); };
  auto name = std::string("quantized_product<") + type_name(out.dtype()) + ", " + number(bits) + ", " +
      number(group_size) + ", " + number(sets) + ", " + number(split) + ", " + number(steps) + (is_whole ? ", true>" : ", false>");
  auto* kernel = find("quantized", name, s);
  if (!kernel) {
    return false;
  }
  auto x = in_rows(inputs[0], s);
  if (!is_aligned(x)) {
    return false;
  }
  allocate(out, s);
  int per_block = kWarps / split;
  Launch(*kernel, s)
      .input(x)
      .input(w)
      .input(inputs[2])
      .input(inputs[3])
      .output(out)
      .value(static_cast<int>(n_x))
      .value(rows)
      .value(size)
      .value(may_read_early(w) & may_read_early(inputs[2]) & may_read_early(inputs[3]))
      .run({static_cast<unsigned>((tiles + per_block - 1) / per_block)}, 32 * kWarps);
  return true;
}

bool unpacked_product(int group_size, int bits, const Arrays& inputs, Arrays& outputs, const mx::Stream& s) {
  auto& out = outputs[0];
  if (!is_packed(group_size, bits, inputs, out)) {
    return false;
  }
  auto& w = inputs[1];
  int rows = w.shape(0), size = inputs[0].shape(-1);
  int64_t n_x = inputs[0].size() / size, n_weights = int64_t{rows} * size;
  // MLX's kernels for float32 take NVRTC a minute, and those of groups of 128 are refused by the driver. A graph of few rows
  // is launched often, a token for one, and would keep its weights twice.
  bool is_kept = GraphRecorder::current() != nullptr;
  if (n_x < kManyRows && (n_weights > kFewWeights || is_kept) && out.dtype() != mx::float32) {
    return false;
  }
  auto name = std::string("unpack<") + type_name(out.dtype()) + ", " + std::to_string(bits) + ", " + std::to_string(group_size) + ">";
  auto* kernel = find("quantized", name, s);
  if (!kernel) {
    return false;
  }
  auto weights = scratch({rows, size}, out.dtype(), s);
  if (auto* recorder = GraphRecorder::current()) {
    recorder->note_unpacked(weights.nbytes(), kMostKept);
  }
  Launch(*kernel, s)
      .input(w)
      .input(inputs[2])
      .input(inputs[3])
      .output(weights)
      .value(n_weights / 8)
      .run({static_cast<unsigned>((n_weights + 256 * kUnpacked - 1) / (256 * kUnpacked))}, 256);
  auto in_order = in_rows(inputs[0], s);
  mx::array x({static_cast<int>(n_x), size}, out.dtype(), nullptr, {});
  reshape_into(x, in_order);
  auto y = computed(mx::matmul(x, computed(mx::transpose(weights, {1, 0}, s)), s));
  keep(s, {weights, x, y});
  reshape_into(out, y);
  return true;
}

} // namespace cuda

#endif
