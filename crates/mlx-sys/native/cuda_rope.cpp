// Rotary embedding by a kernel of our own (`cuda/rope.cu`): when it fits, and how it is launched.
#include "cuda_rope.h"

#ifdef __linux__

#include <cmath>

#include "mlx/fast_primitives.h"
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

// Whether every row of x can be read `bytes` at a time.
bool is_aligned_to(const mx::array& x, int64_t bytes) {
  int64_t item = x.itemsize();
  bool is_aligned = cuda::is_aligned(x) && x.shape(3) * item % bytes == 0;
  for (int axis = 0; axis < 3; axis++) {
    is_aligned = is_aligned && (x.shape(axis) == 1 || x.strides(axis) * item % bytes == 0);
  }
  return is_aligned;
}

// A norm's weight, or none.
bool is_weight(const mx::array& w, mx::Dtype dtype) {
  return w.ndim() == 0 || (w.ndim() == 1 && w.dtype() == dtype && w.strides(0) == 1);
}

std::optional<mx::array> freqs_of(const Arrays& inputs) {
  return inputs.size() == 3 ? std::make_optional(inputs[2]) : std::nullopt;
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

struct Rope::Sizes {
  int heads, positions, size, dims, offset_stride, freqs_stride;
  float scale, sign;
};

// Of one position, `[batch, 1, heads, dims]`.
Rope::Sizes Rope::sizes_of(const mx::array& x, const Arrays& inputs) const {
  auto& offset = inputs[1];
  int offset_stride = offset.ndim() == 1 && offset.size() > 1 ? static_cast<int>(offset.strides(0)) : 0;
  int freqs_stride = inputs.size() == 3 ? static_cast<int>(inputs[2].strides(0)) : 0;
  return {x.shape(2), 1, dims, dims, offset_stride, freqs_stride, scale, 1.0f};
}

// Few rows of one position, whose features all turn, as kernels for them take them.
bool Rope::turns_whole_rows(const mx::array& x, const Arrays& inputs) const {
  bool is_position = x.ndim() == 4 && x.shape(1) == 1 && x.size() > 0 && x.size() <= kFew && x.shape(3) == dims && type_name(x.dtype());
  return is_position && dims % 2 == 0 && dims <= 256 && is_forward && inputs[1].dtype() == mx::int32 &&
      (inputs.size() < 3 || inputs[2].dtype() == mx::float32);
}

// Pairs of a lane.
std::string Rope::most_pairs() const {
  return dims <= 64 ? "1" : dims <= 128 ? "2" : "4";
}

bool Rope::run(const Arrays& inputs, Arrays& outputs, const mx::Stream& s) const {
  auto& offset = inputs[1];
  auto& out = outputs[0];
  bool has_freqs = inputs.size() == 3;
  if (inputs[0].ndim() != 4 || inputs[0].size() == 0 || !type_name(out.dtype()) || dims > 2 * kMostPairs ||
      offset.dtype() != mx::int32 || inputs[0].shape(0) > kMostBlocks || inputs[0].shape(1) > kMostBlocks) {
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
  bool is_in_rows = x.flags().row_contiguous && x.data_size() == x.size();
  if (!turns_whole_rows(x, inputs) || !is_in_rows || !is_weight(w, x.dtype()) || out.dtype() != x.dtype()) {
    return false;
  }
  auto name = std::string("norm_rope<") + type_name(x.dtype()) + (is_traditional ? ", true, " : ", false, ") + most_pairs() + ">";
  auto* kernel = find("rope", name, s);
  if (!kernel) {
    return false;
  }
  int rows = x.shape(0) * x.shape(2);
  allocate(out, s);
  Launch(*kernel, s)
      .input(x)
      .input(w.ndim() == 1 ? std::make_optional(w) : std::nullopt)
      .output(out)
      .input(inputs[1])
      .input(freqs_of(inputs))
      .value(rows)
      .value(eps)
      .value(sizes_of(x, inputs))
      .value(inputs.size() == 3 ? Frequencies{} : frequencies(base, dims))
      .run({static_cast<unsigned>((rows + 3) / 4)}, kThreads);
  return true;
}

const Kernel* Rope::heads_kernel(const TokenHeads& token, const Arrays& inputs, const mx::Stream& s) const {
  auto &q = token.q, &k = token.k, &v = token.v;
  auto fits = [&](const mx::array& x) {
    return turns_whole_rows(x, inputs) && x.dtype() == q.dtype() && x.shape(0) == q.shape(0);
  };
  if (!fits(q) || !fits(k) || !fits(v) || k.shape() != v.shape() || token.is_normed() != (token.k_norm != nullptr)) {
    return nullptr;
  }
  if (token.is_normed() && (!is_weight(token.q_norm->inputs()[1], q.dtype()) || !is_weight(token.k_norm->inputs()[1], q.dtype()))) {
    return nullptr;
  }
  auto flag = [](bool is) { return is ? ", true" : ", false"; };
  auto name = std::string("heads<") + type_name(q.dtype()) + flag(is_traditional) + flag(token.is_normed()) + ", " + most_pairs() + ">";
  return find("rope", name, s);
}

void Rope::run_heads(
    const Kernel& kernel,
    const TokenHeads& token,
    const Arrays& inputs,
    mx::array& queries,
    const CachePosition& keys,
    const CachePosition& values,
    const mx::Stream& s) const {
  auto rows = [&](const mx::array& x) { return in_rows(x, s); };
  auto weight = [&](const mx::array* norm) {
    return norm && norm->inputs()[1].ndim() == 1 ? std::make_optional(norm->inputs()[1]) : std::nullopt;
  };
  auto eps = [&](const mx::array* norm) { return norm ? static_cast<mx::fast::RMSNorm&>(norm->primitive()).state().second : 0.0f; };
  int batch = token.q.shape(0), kv_heads = token.k.shape(2);
  int n_rows = batch * (token.q.shape(2) + 2 * kv_heads);
  keys.take();
  values.take();
  allocate(queries, s);
  Launch(kernel, s)
      .input(rows(token.q))
      .input(rows(token.k))
      .input(rows(token.v))
      .input(weight(token.q_norm))
      .input(weight(token.k_norm))
      .output(queries)
      .output(keys.result())
      .output(values.result())
      .input(inputs[1])
      .input(freqs_of(inputs))
      .input(keys.start())
      .value(keys.place())
      .value(values.place())
      .value(batch)
      .value(kv_heads)
      .value(eps(token.q_norm))
      .value(eps(token.k_norm))
      .value(sizes_of(token.q, inputs))
      .value(inputs.size() == 3 ? Frequencies{} : frequencies(base, dims))
      .run({static_cast<unsigned>((n_rows + 3) / 4)}, kThreads);
}

} // namespace cuda

#endif
