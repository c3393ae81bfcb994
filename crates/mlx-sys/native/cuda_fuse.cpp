// Operations of a recording that one kernel computes together (`cuda_fuse.h`).
//
// A step of one token is a chain of small kernels, and each costs a launch and a latency. What is joined here are operations that
// MLX's functions and transforms know apart, with a view in between as models are written.
#include "cuda_fuse.h"

#ifdef __linux__

#include <algorithm>
#include <string_view>

#include "cuda_attention.h"
#include "cuda_fast.h"
#include "cuda_gemv.h"
#include "cuda_hook.h"
#include "cuda_norm.h"
#include "cuda_rope.h"
#include "mlx/fast_primitives.h"
#include "mlx/primitives.h"
#include "owners.h"

namespace cuda {

namespace {

bool is_a(const mx::array& x, std::string_view name) {
  return x.primitive().name() == name;
}

bool is_ready(const mx::array& x) {
  return x.status() != mx::array::Status::unscheduled;
}

// Swaps heads and positions.
bool is_by_head(const mx::array& x) {
  return is_a(x, "Transpose") && static_cast<mx::Transpose&>(x.primitive()).state() == std::vector<int>{0, 2, 1, 3};
}

// Arrays that follow one another in the tape, each the only reader of the one before.
class Chain {
 public:
  // Begins with an array, behind which the tape goes on at `at`.
  Chain(mx::array& first, Tape& tape, size_t at = 0) : last_(&first), tape_(tape), at_(at) {}

  mx::array& last() const {
    return *last_;
  }

  // Where the tape goes on.
  size_t at() const {
    return at_;
  }

  // The next array of the tape, if it is an operation of this name.
  mx::array* peek(std::string_view name) const {
    return at_ < tape_.size() && is_a(tape_[at_], name) ? &tape_[at_] : nullptr;
  }

  // Goes on to an operation of this name whose input at `place` is the last array.
  bool next(std::string_view name, size_t place = 0) {
    auto* found = peek(name);
    // Held by the tape, or by its taker, and by what reads it.
    if (!found || found->inputs()[place].id() != last_->id() || owners(*last_) != 2) {
      return false;
    }
    last_ = found;
    at_++;
    return true;
  }

  // Goes on over other shapes of the same elements in order.
  void skip_shapes() {
    while (next("Reshape") || next("Unflatten") || next("Flatten") || next("Squeeze") || next("ExpandDims")) {
    }
  }

  // Goes on to what swaps heads and positions.
  bool next_by_head() {
    return at_ < tape_.size() && is_by_head(tape_[at_]) && next("Transpose");
  }

 private:
  mx::array* last_;
  Tape& tape_;
  size_t at_;
};

void hold_inputs(const mx::array& x, Datas& held) {
  for (auto& input : x.inputs()) {
    if (input.data_shared_ptr() && input.data_shared_ptr() != x.data_shared_ptr()) {
      held.push_back(input.data_shared_ptr());
    }
  }
}

// Takes the first `n` arrays out of the tape, of which those that have data are results, and keeps what all of them read.
bool finish(const char* name, mx::array& first, Tape& tape, size_t n, Datas& held) {
  auto take = [&](mx::array& x) {
    if (x.data_shared_ptr() && !is_ready(x)) {
      settle(x, held);
    } else {
      hold_inputs(x, held);
    }
  };
  take(first);
  std::for_each(tape.begin(), tape.begin() + n, take);
  tape.erase(tape.begin(), tape.begin() + n);
  count_cuda_kernel(name);
  return true;
}

// An addition and the norm of its result; both have a result.
bool fuse_add_norm(mx::array& sum, Tape& tape, Datas& held) {
  if (tape.empty() || !is_a(sum, "Add") || !is_a(tape[0], "RMSNorm")) {
    return false;
  }
  auto& norm = tape[0];
  if (norm.inputs()[0].id() != sum.id() || !is_ready(norm.inputs()[1])) {
    return false;
  }
  float eps = static_cast<mx::fast::RMSNorm&>(norm.primitive()).state().second;
  if (!add_and_norm(eps, sum.inputs(), norm.inputs()[1], sum, norm, norm.primitive().stream())) {
    return false;
  }
  return finish("AddRMSNorm", sum, tape, 1, held);
}

// A norm of heads and their rotary embedding.
bool fuse_norm_rope(mx::array& norm, Tape& tape, Datas& held) {
  Chain chain(norm, tape);
  if (!is_a(norm, "RMSNorm") || !chain.next_by_head() || !chain.next("RoPE")) {
    return false;
  }
  auto& rope = chain.last();
  auto &of_norm = norm.inputs(), &of_rope = rope.inputs();
  if (!std::all_of(of_norm.begin(), of_norm.end(), is_ready) || !std::all_of(of_rope.begin() + 1, of_rope.end(), is_ready)) {
    return false;
  }
  float eps = static_cast<mx::fast::RMSNorm&>(norm.primitive()).state().second;
  auto [_, dims, is_traditional, base, scale, is_forward] = static_cast<mx::fast::RoPE&>(rope.primitive()).state();
  Rope kernel{dims, is_traditional, base, scale, is_forward};
  return kernel.run_with_norm(eps, of_norm[0], of_norm[1], of_rope, rope, rope.primitive().stream()) &&
      finish("RMSNormRoPE", norm, tape, chain.at(), held);
}

// Queries or keys of one token on their way to attention.
struct Turned {
  // `[batch, 1, heads, dims]`, their norm, if any, and their rotary embedding.
  mx::array* rows;
  mx::array* norm;
  mx::array* rope;

  // Goes on from rows to a rotary embedding; nothing where that is not what follows.
  static std::optional<Turned> after_rows(mx::array& rows, Chain& chain) {
    Turned turned{&rows, chain.next("RMSNorm") ? &chain.last() : nullptr, nullptr};
    if (!chain.next_by_head() || !chain.next("RoPE")) {
      return std::nullopt;
    }
    turned.rope = &chain.last();
    return turned;
  }

  bool turns_as(const Turned& other) const {
    auto &mine = rope->inputs(), &its = other.rope->inputs();
    bool is_same = mine.size() == its.size() && rope->primitive().is_equivalent(other.rope->primitive());
    for (size_t i = 1; is_same && i < mine.size(); i++) {
      is_same = mine[i].id() == its[i].id() && is_ready(mine[i]);
    }
    return is_same;
  }
};

// A product at this place of the tape, of which all inputs are ready; null if it is something else.
mx::array* product_at(Tape& tape, size_t at) {
  if (at >= tape.size()) {
    return nullptr;
  }
  auto& x = tape[at];
  bool is_product = is_a(x, "Matmul") || is_a(x, "AddMM") || is_a(x, "QuantizedMatmul");
  return is_product && std::all_of(x.inputs().begin(), x.inputs().end(), is_ready) ? &x : nullptr;
}

// The heads of one token from queries' norm or transposition on: both rotary embeddings, and both updates of caches. The
// products that make keys and values come in between in the tape, and are computed first.
bool fuse_heads(mx::array& first, Tape& tape, Datas& held) {
  if (!(is_a(first, "RMSNorm") || is_by_head(first)) || !is_ready(first.inputs()[0])) {
    return false;
  }
  Chain of_q(first, tape);
  Turned q{nullptr, is_a(first, "RMSNorm") ? &first : nullptr, nullptr};
  if ((q.norm && !of_q.next_by_head()) || !of_q.next("RoPE")) {
    return false;
  }
  q.rope = &of_q.last();
  auto* k_product = product_at(tape, of_q.at());
  if (!k_product) {
    return false;
  }
  Chain of_k(*k_product, tape, of_q.at() + 1);
  of_k.skip_shapes();
  size_t k_rows = of_k.at();
  auto k = Turned::after_rows(of_k.last(), of_k);
  if (!k || !k->turns_as(q) || !of_k.next("DynamicSliceUpdate", 1)) {
    return false;
  }
  auto* v_product = product_at(tape, of_k.at());
  if (!v_product) {
    return false;
  }
  Chain of_v(*v_product, tape, of_k.at() + 1);
  of_v.skip_shapes();
  size_t v_rows = of_v.at();
  auto& v = of_v.last();
  if (!of_v.next_by_head() || !of_v.next("DynamicSliceUpdate", 1)) {
    return false;
  }
  CachePosition keys(of_k.last()), values(of_v.last());
  if (!keys.fits() || !values.fits() || keys.start().id() != values.start().id()) {
    return false;
  }
  auto [_, dims, is_traditional, base, scale, is_forward] = static_cast<mx::fast::RoPE&>(q.rope->primitive()).state();
  Rope rope{dims, is_traditional, base, scale, is_forward};
  auto s = q.rope->primitive().stream();
  TokenHeads token{first.inputs()[0], *k->rows, v, q.norm, k->norm};
  auto* kernel = rope.heads_kernel(token, q.rope->inputs(), s);
  if (!kernel) {
    return false;
  }
  for (size_t i = of_q.at(); i < k_rows; i++) {
    evaluate(tape[i], held);
  }
  for (size_t i = of_k.at(); i < v_rows; i++) {
    evaluate(tape[i], held);
  }
  rope.run_heads(*kernel, token, q.rope->inputs(), *q.rope, keys, values, s);
  return finish("TokenHeads", first, tape, of_v.at(), held);
}

// Two products of one row, and SwiGLU of them.
bool fuse_gated_product(mx::array& gate, Tape& tape, Datas& held) {
  if (!is_a(gate, "Matmul")) {
    return false;
  }
  Chain of_gate(gate, tape);
  of_gate.skip_shapes();
  auto* up = of_gate.peek("Matmul");
  if (!up || up->inputs()[0].id() != gate.inputs()[0].id() || !is_ready(up->inputs()[1])) {
    return false;
  }
  Chain of_up(*up, tape, of_gate.at() + 1);
  of_up.skip_shapes();
  auto& gated = of_gate.last();
  if (owners(gated) != 2 || !of_up.next("SwiGlu", 1) || of_up.last().inputs()[0].id() != gated.id()) {
    return false;
  }
  auto& result = of_up.last();
  return gated_gemv(gate.inputs()[0], gate.inputs()[1], up->inputs()[1], result, result.primitive().stream()) &&
      finish("MatmulSwiGlu", gate, tape, of_up.at(), held);
}

// Attention whose result gives way to a number where a flag says so: where a mask hides all keys.
bool fuse_attention_select(mx::array& attention, Tape& tape, Datas& held) {
  if (!is_a(attention, "ScaledDotProductAttention") || tape.empty()) {
    return false;
  }
  auto& select = tape[0];
  // MLX's name for the fused operations `Select(Broadcast, x, Broadcast)`, of inputs in this order.
  if (!is_a(select, "CompiledBroadcastBroadcastSelect") || select.inputs().size() != 3) {
    return false;
  }
  auto &flag = select.inputs()[0], &x = select.inputs()[1], &otherwise = select.inputs()[2];
  bool is_of_one = flag.dtype() == mx::bool_ && flag.size() == 1 && otherwise.size() == 1 && otherwise.dtype() == select.dtype();
  if (x.id() != attention.id() || owners(attention) != 2 || select.shape() != attention.shape() || !is_of_one || !is_ready(flag) ||
      !is_ready(otherwise)) {
    return false;
  }
  return attention_or(attention, flag, otherwise, select) && finish("AttentionSelect", attention, tape, 1, held);
}

} // namespace

void evaluate(mx::array& x, Datas& held) {
  {
    auto outputs = x.outputs();
    x.primitive().eval_gpu(x.inputs(), outputs);
  }
  settle(x, held);
}

void settle(mx::array& x, Datas& held) {
  // The order in a graph is known by the last write only: memory that was read must not be written again.
  hold_inputs(x, held);
  x.set_status(mx::array::Status::evaluated);
  for (auto& sibling : x.siblings()) {
    held.push_back(sibling.data_shared_ptr());
    sibling.set_status(mx::array::Status::evaluated);
  }
  x.detach();
}

bool fuse(mx::array& first, Tape& tape, Datas& held) {
  return kernels_on() &&
      (fuse_add_norm(first, tape, held) || fuse_heads(first, tape, held) || fuse_norm_rope(first, tape, held) ||
       fuse_gated_product(first, tape, held) || fuse_attention_select(first, tape, held));
}

} // namespace cuda

#endif
