// Evaluation of lazy arrays on a stream of CUDA's (`cuda_walk.h`).
#include "cuda_walk.h"

#ifdef __linux__

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <unordered_set>

#include "cuda_fuse.h"
#include "mlx/memory.h"
#include "mlx/primitives.h"

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

// Elements up to which a result is a position or a flag.
constexpr size_t kSmall = 8;

// The tape with what is small and depends on nothing large first: positions that several layers share do not stand between
// operations that one kernel joins.
Tape with_small_first(Tape tape) {
  std::unordered_set<std::uintptr_t> small;
  auto is_small = [&](const mx::array& x) {
    auto is_known = [&](const mx::array& input) { return !is_lazy(input) || small.contains(input.id()); };
    bool is_one = x.size() <= kSmall && x.siblings().empty() && std::all_of(x.inputs().begin(), x.inputs().end(), is_known);
    if (is_one) {
      small.insert(x.id());
    }
    return is_one;
  };
  Tape first, rest;
  for (auto& x : tape) {
    (is_small(x) ? first : rest).push_back(std::move(x));
  }
  std::move(rest.begin(), rest.end(), std::back_inserter(first));
  return first;
}

// Operations that the GPU is given at once where nothing is recorded.
constexpr size_t kGiven = 64;

} // namespace

void walk(Tape tape, Datas& held, const mx::Stream& s, GraphRecorder* recorder, size_t most_bytes) {
  tape = with_small_first(std::move(tape));
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
    if (!fuse(x, tape, held)) {
      evaluate(x, held);
    }
  }
}

} // namespace cuda

#endif
