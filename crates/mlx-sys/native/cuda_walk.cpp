// Evaluation of lazy arrays on a stream of CUDA's (`cuda_walk.h`).
#include "cuda_walk.h"

#ifdef __linux__

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_set>

#include "cuda_hook.h"
#include "cuda_norm.h"
#include "cuda_rope.h"
#include "mlx/fast_primitives.h"
#include "mlx/memory.h"
#include "mlx/primitives.h"
#include "owners.h"

namespace cuda {

namespace {

bool is_lazy(const mx::array& x) {
  return x.status() == mx::array::Status::unscheduled && x.has_primitive();
}

// Operations whose kernels use memory that no array holds, or that wait for the GPU.
bool is_never_recorded(std::string_view name) {
  constexpr std::array<std::string_view, 11> kNames = {
      "FFT", "Load", "Cholesky", "QRF", "SVD", "Eigh", "Eig", "LUF", "Inverse", "CudaProgram", "CudaProgramResult"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

} // namespace

Tape tape_of(const Arrays& outputs) {
  Tape tape;
  std::unordered_set<std::uintptr_t> seen;
  // An array and how many of its inputs have been visited.
  std::vector<std::pair<mx::array, size_t>> open;
  auto visit = [&](const mx::array& x) {
    if (!is_lazy(x) || seen.contains(x.id())) {
      return;
    }
    seen.insert(x.id());
    for (auto& sibling : x.siblings()) {
      seen.insert(sibling.id());
    }
    open.emplace_back(x, 0);
  };
  for (auto& output : outputs) {
    visit(output);
    while (!open.empty()) {
      auto& [x, n_visited] = open.back();
      if (n_visited < x.inputs().size()) {
        // By value: visiting may move `open`.
        auto input = x.inputs()[n_visited++];
        visit(input);
      } else {
        tape.push_back(std::move(x));
        open.pop_back();
      }
    }
  }
  return tape;
}

std::string why_not(const Arrays& outputs, const mx::Stream& s) {
  for (auto& x : tape_of(outputs)) {
    std::string name = x.primitive().name();
    if (x.primitive().stream() != s) {
      return name + " is computed on another stream";
    }
    if (is_never_recorded(name)) {
      return name + " cannot be recorded";
    }
  }
  return "";
}

void wait_for_leaves(const Tape& tape, const Arrays& outputs, const mx::Stream& s) {
  auto wait = [&](mx::array x) {
    bool is_pending = x.status() != mx::array::Status::unscheduled && x.event().valid() && x.event().stream() != s;
    if (is_pending && !x.is_available()) {
      x.wait();
    }
  };
  for (auto& x : tape) {
    std::for_each(x.inputs().begin(), x.inputs().end(), wait);
  }
  std::for_each(outputs.begin(), outputs.end(), wait);
}

namespace {

// Operations that the GPU is given at once where nothing is recorded.
constexpr size_t kGiven = 64;

// Computes an addition together with the rms_norm of its result that comes next; false where both are left to themselves.
bool fuse_add_norm(mx::array& sum, mx::array& norm) {
  if (sum.primitive().name() != std::string_view("Add") || norm.primitive().name() != std::string_view("RMSNorm") ||
      norm.inputs()[0].id() != sum.id() || norm.inputs()[1].status() == mx::array::Status::unscheduled) {
    return false;
  }
  float eps = static_cast<mx::fast::RMSNorm&>(norm.primitive()).state().second;
  if (!add_and_norm(eps, sum.inputs(), norm.inputs()[1], sum, norm, norm.primitive().stream())) {
    return false;
  }
  count_cuda_kernel("AddRMSNorm");
  return true;
}

// Computes a norm of heads together with their rotary embedding, which come next with a transposition in between, where nothing
// else needs what is between; false where they are left to themselves. `tape` begins behind the norm.
bool fuse_norm_rope(mx::array& norm, Tape& tape) {
  if (tape.size() < 2 || norm.primitive().name() != std::string_view("RMSNorm") || tape[0].primitive().name() != std::string_view("Transpose") ||
      tape[1].primitive().name() != std::string_view("RoPE")) {
    return false;
  }
  auto &heads = tape[0], &rope = tape[1];
  // By the tape and by what reads them.
  bool is_between = heads.inputs()[0].id() == norm.id() && rope.inputs()[0].id() == heads.id() && owners(norm) == 2 && owners(heads) == 2;
  auto is_ready = [](const mx::array& x) { return x.status() != mx::array::Status::unscheduled; };
  if (!is_between || !std::all_of(norm.inputs().begin(), norm.inputs().end(), is_ready) ||
      !std::all_of(rope.inputs().begin() + 1, rope.inputs().end(), is_ready) ||
      static_cast<mx::Transpose&>(heads.primitive()).state() != std::vector<int>{0, 2, 1, 3}) {
    return false;
  }
  float eps = static_cast<mx::fast::RMSNorm&>(norm.primitive()).state().second;
  auto [_, dims, is_traditional, base, scale, is_forward] = static_cast<mx::fast::RoPE&>(rope.primitive()).state();
  Rope kernel{dims, is_traditional, base, scale, is_forward};
  if (!kernel.run_with_norm(eps, norm.inputs()[0], norm.inputs()[1], rope.inputs(), rope, rope.primitive().stream())) {
    return false;
  }
  count_cuda_kernel("RMSNormRoPE");
  return true;
}

// Marks an array and its siblings as evaluated, and keeps what was read.
void settle(mx::array& x, Datas& held) {
  // The order in a graph is known by the last write only: memory that was read must not be written again.
  for (auto& input : x.inputs()) {
    if (input.data_shared_ptr() && input.data_shared_ptr() != x.data_shared_ptr()) {
      held.push_back(input.data_shared_ptr());
    }
  }
  x.set_status(mx::array::Status::evaluated);
  for (auto& sibling : x.siblings()) {
    held.push_back(sibling.data_shared_ptr());
    sibling.set_status(mx::array::Status::evaluated);
  }
  x.detach();
}

} // namespace

void walk(Tape tape, Datas& held, const mx::Stream& s, GraphRecorder* recorder, size_t most_bytes) {
  auto at_start = mx::get_active_memory();
  size_t n_given = 0;
  while (!tape.empty()) {
    if (recorder && recorder->is_recording() && mx::get_active_memory() > at_start + most_bytes) {
      recorder->refuse("its intermediate results take more than " + std::to_string(most_bytes >> 20) + " MB");
    }
    bool is_gathered = recorder && recorder->is_recording();
    if (!is_gathered && ++n_given % kGiven == 0) {
      at_completion(s, [done = std::make_shared<Datas>(std::move(held))] {});
      held.clear();
      commit(s);
    }
    // Inputs are held by nothing else than what reads them, so that they are reused in place as MLX's `eval` has it.
    auto x = std::move(tape.front());
    tape.pop_front();
    if (kernels_on() && !tape.empty() && fuse_add_norm(x, tape.front())) {
      settle(x, held);
      settle(tape.front(), held);
      tape.pop_front();
      continue;
    }
    if (kernels_on() && fuse_norm_rope(x, tape)) {
      for (auto& input : x.inputs()) {
        held.push_back(input.data_shared_ptr());
      }
      settle(tape[1], held);
      tape.erase(tape.begin(), tape.begin() + 2);
      continue;
    }
    {
      auto outputs = x.outputs();
      x.primitive().eval_gpu(x.inputs(), outputs);
    }
    settle(x, held);
  }
}

} // namespace cuda

#endif
