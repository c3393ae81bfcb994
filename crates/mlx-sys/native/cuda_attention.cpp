// Attention by a kernel of our own (`cuda/attention.cu`): when it fits, and how it is launched.
#include "cuda_attention.h"

#ifdef __linux__

#include <algorithm>

namespace cuda {

namespace {

// Queries up to which the kernel is used: in float32 MLX has none for most shapes, and composes.
constexpr int kMostQueries = 16;
constexpr int kMostQueriesOfFloat32 = 1024;
// Rows of a block, its warps, and keys of one turn of a block.
constexpr int kRows = 16;
constexpr int kWarps = 4;
constexpr int kTurn = 16 * kWarps;
// Blocks that a multiprocessor should have.
constexpr int kBusy = 2;
constexpr int64_t kMostBlocks = 65535;
// Turns of a block up to which one query is left to the kernel without tensor cores.
constexpr int kMostTurns = 4;

struct Strides3 {
  int64_t batch, head, row;

  explicit Strides3(const mx::array& x) : batch(x.strides(0)), head(x.strides(1)), row(x.strides(2)) {}
};

struct Strides4 {
  int64_t batch, head, row, key;
};

struct Sizes {
  int heads, kv_heads, queries, keys, keys_of_block;
  float scale;
};

// An array of which each row can be read 16 bytes at a time.
mx::array readable(const mx::array& x, const mx::Stream& s) {
  bool is_readable = x.strides(3) == 1 && is_aligned(x);
  for (int axis = 0; axis < 3; axis++) {
    is_readable = is_readable && (x.shape(axis) == 1 || x.strides(axis) * x.itemsize() % 16 == 0);
  }
  if (is_readable) {
    return x;
  }
  auto copy = in_rows(x, s);
  if (copy.data_shared_ptr() == x.data_shared_ptr()) {
    // In order, but not where it can be read.
    copy = computed(mx::multiply(x, mx::array(1, x.dtype()), s));
    keep(s, {copy});
  }
  return copy;
}

} // namespace

bool Attention::fits(const mx::array& q, const mx::array& k, const mx::array& v) {
  if (q.ndim() != 4 || k.ndim() != 4 || v.ndim() != 4 || !type_name(q.dtype()) || k.dtype() != q.dtype() || v.dtype() != q.dtype()) {
    return false;
  }
  int dim = q.shape(3);
  bool is_known = dim == 64 || dim == 80 || dim == 96 || dim == 128 || dim == 256;
  int most = q.dtype() == mx::float32 ? kMostQueriesOfFloat32 : kMostQueries;
  return is_known && v.shape(3) == dim && q.size() > 0 && k.size() > 0 && q.shape(2) <= most &&
      int64_t{q.shape(0)} * k.shape(1) <= kMostBlocks;
}

namespace {

// Keys that are split over blocks.
struct Split {
  int blocks, keys_of_block;

  // `blocks` are there without splitting; a block has `turn` keys at a time, and two turns at least: joining costs more than one.
  static Split of(int keys, int turn, int64_t blocks, const mx::Stream& s) {
    int all_turns = (keys + turn - 1) / turn;
    int splits = static_cast<int>(std::clamp<int64_t>(kBusy * processors(s) / blocks, 1, std::max(1, all_turns / 2)));
    int turns = (all_turns + splits - 1) / splits;
    return {(all_turns + turns - 1) / turns, turns * turn};
  }
};

bool is_power_of_two(int n) {
  return n > 0 && (n & (n - 1)) == 0;
}

// The kernel for one query, with its blocks; no kernel where it does not fit.
struct Decode {
  const Kernel* kernel = nullptr;
  Split split{};

  Decode(const Attention& attention, const mx::array& q, const mx::array& k, int mask_bytes, const mx::Stream& s) {
    int group = q.shape(1) / k.shape(1), dim = q.shape(3), item = static_cast<int>(q.itemsize());
    int lanes = dim * item / 16;
    if (q.shape(2) != 1 || (group != 1 && group != 2 && group != 4) || !is_power_of_two(lanes) || lanes > 32 || mask_bytes > 1) {
      return;
    }
    constexpr int kLoads = 4;
    int turn = kWarps * kLoads * 32 / lanes;
    auto of_keys = Split::of(k.shape(2), turn, int64_t{q.shape(0)} * k.shape(1), s);
    // Where a block has many, tensor cores are faster.
    if (of_keys.keys_of_block > kMostTurns * turn) {
      return;
    }
    auto name = std::string("decode_attention<") + type_name(q.dtype()) + ", " + std::to_string(dim) + ", " + std::to_string(group) +
        (attention.has_mask ? ", true>" : ", false>");
    kernel = find("decode_attention", name, s);
    split = of_keys;
  }
};

} // namespace

bool Attention::run(
    const Arrays& inputs,
    mx::array& out,
    const mx::Stream& s,
    const mx::array* flag,
    const mx::array* otherwise) const {
  int dim = inputs[0].shape(3);
  auto type = std::string(type_name(out.dtype()));
  std::optional<mx::array> mask, sinks;
  if (has_mask) {
    mask = inputs[3];
  }
  if (has_sinks) {
    sinks = in_rows(inputs.back(), s);
  }
  int mask_bytes = mask ? static_cast<int>(mask->itemsize()) : 0;
  auto name = "attention<" + type + ", " + std::to_string(dim) + ", " + std::to_string(kWarps) + (is_causal ? ", true, " : ", false, ") +
      std::to_string(mask_bytes) + ">";
  Decode decode(*this, inputs[0], inputs[1], mask_bytes, s);
  auto* kernel = decode.kernel ? decode.kernel : find("attention", name, s);
  auto* join = find("attention", "join<" + type + ", " + std::to_string(dim) + (mask_bytes > 1 ? ", true>" : ", false>"), s);
  if (!kernel || !join) {
    return false;
  }
  auto q = readable(inputs[0], s), k = readable(inputs[1], s), v = readable(inputs[2], s);
  int batch = q.shape(0), heads = q.shape(1), queries = q.shape(2), kv_heads = k.shape(1), keys = k.shape(2);
  int chunks = (heads / kv_heads * queries + kRows - 1) / kRows;
  int64_t blocks = int64_t{chunks} * batch * kv_heads;
  auto split = decode.kernel ? decode.split : Split::of(keys, kTurn, blocks, s);
  int splits = split.blocks;

  allocate(out, s);
  std::optional<mx::array> partial;
  int64_t rows = int64_t{batch} * heads * queries;
  if (splits > 1) {
    partial = scratch({static_cast<int>(rows), splits, dim + 2}, mx::float32, s);
    keep(s, {*partial});
  }
  constexpr float log2e = 1.44269504088896f;
  auto choose = [&](Launch& launch) -> Launch& {
    return flag ? launch.input(*flag).input(*otherwise) : launch.null().null();
  };
  Launch launch(*kernel, s);
  launch.input(q).input(k).input(v).input(mask).input(sinks);
  choose(launch);
  (partial ? launch.null().output(*partial) : launch.output(out).null())
      .value(Strides3(q))
      .value(Strides3(k))
      .value(Strides3(v))
      .value(mask ? Strides4{mask->strides(0), mask->strides(1), mask->strides(2), mask->strides(3)} : Strides4{})
      .value(Sizes{heads, kv_heads, queries, keys, split.keys_of_block, scale * log2e})
      .run({static_cast<unsigned>(splits), static_cast<unsigned>(chunks), static_cast<unsigned>(batch * kv_heads)}, 32 * kWarps);
  if (partial) {
    Launch parts(*join, s);
    parts.input(*partial).input(sinks);
    choose(parts).output(out).value(splits).value(heads).value(queries).run({static_cast<unsigned>(rows)}, 256);
  }
  return true;
}

} // namespace cuda

#endif
