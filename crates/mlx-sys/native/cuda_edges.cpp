// Edges of recorded graphs (`cuda_edges.h`).
#include "cuda_edges.h"

#ifdef __linux__

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <unordered_map>

#include "cuda_kernel.h"

namespace cuda {

namespace {

// As the driver has it: how an edge holds its second node back.
struct EdgeData {
  unsigned char from_port, to_port, type, reserved[5];
};
constexpr EdgeData kProgrammatic{1, 0, 1, {}};

// The driver's parameters of a kernel node, of which the function comes first.
struct alignas(8) KernelParameters {
  void* function;
  char others[120];
};

struct Driver {
  int (*add)(void* graph, void* const* from, void* const* to, size_t n);
  // Absent in drivers before CUDA 12.3.
  int (*kernel_of)(void* node, void* parameters);
  int (*add_early)(void* graph, void* const* from, void* const* to, const void* edges, size_t n);
  int (*remove_early)(void* graph, void* const* from, void* const* to, const void* edges, size_t n);

  bool can_begin_early() const {
    return kernel_of && add_early && remove_early;
  }

  static const Driver& get() {
    static const Driver driver = [] {
      Driver found{};
      auto* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
      auto find = [&](const char* name, auto& function) {
        function = library ? reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name)) : nullptr;
      };
      find("cuGraphAddDependencies", found.add);
      find("cuGraphKernelNodeGetParams_v2", found.kernel_of);
      find("cuGraphAddDependencies_v2", found.add_early);
      find("cuGraphRemoveDependencies_v2", found.remove_early);
      return found;
    }();
    return driver;
  }
};

// Unless `MLX_CUDA_OVERLAP=0`.
bool overlap_on() {
  static const bool on = [] {
    auto* choice = std::getenv("MLX_CUDA_OVERLAP");
    return !(choice && (!std::strcmp(choice, "0") || !std::strcmp(choice, "false") || !std::strcmp(choice, "off")));
  }();
  return on;
}

bool is_kernel_of_ours(void* node) {
  KernelParameters parameters{};
  return Driver::get().kernel_of(node, &parameters) == 0 && begins_early(parameters.function);
}

// Nodes beyond which finding out what follows from what would cost more than it saves.
constexpr size_t kMostNodes = 8192;

// A graph of numbers in an order in which edges go forward.
class Order {
 public:
  Order(size_t n, const std::vector<std::pair<size_t, size_t>>& edges) : after_(n), place_(n), order_(0) {
    std::vector<size_t> n_before(n);
    for (auto [from, to] : edges) {
      after_[from].push_back(to);
      n_before[to]++;
    }
    for (size_t i = 0; i < n; i++) {
      if (n_before[i] == 0) {
        order_.push_back(i);
      }
    }
    for (size_t i = 0; i < order_.size(); i++) {
      place_[order_[i]] = i;
      for (size_t next : after_[order_[i]]) {
        if (--n_before[next] == 0) {
          order_.push_back(next);
        }
      }
    }
  }

  // For each node, those of its edges that do not follow from others; nothing is left out where there is a circle.
  std::vector<std::vector<size_t>> reduced() {
    size_t n = after_.size(), words = (n + 63) / 64;
    std::vector<std::vector<size_t>> kept(n);
    if (order_.size() != n) {
      return after_;
    }
    std::vector<uint64_t> reach(n * words);
    for (size_t at = n; at-- > 0;) {
      size_t node = order_[at];
      auto& next = after_[node];
      std::sort(next.begin(), next.end(), [&](size_t a, size_t b) { return place_[a] < place_[b]; });
      auto* mine = &reach[node * words];
      for (size_t one : next) {
        if (mine[one / 64] >> (one % 64) & 1) {
          continue;
        }
        kept[node].push_back(one);
        mine[one / 64] |= uint64_t{1} << (one % 64);
        for (size_t word = 0; word < words; word++) {
          mine[word] |= reach[one * words + word];
        }
      }
    }
    return kept;
  }

 private:
  std::vector<std::vector<size_t>> after_;
  std::vector<size_t> place_, order_;
};

} // namespace

Edges::Edges(const std::vector<void*>& nodes, const std::vector<void*>& from, const std::vector<void*>& to) : from_(from), to_(to) {
  if (nodes.size() <= kMostNodes) {
    reduce(nodes);
  }
  if (!Driver::get().can_begin_early() || !overlap_on()) {
    return;
  }
  std::unordered_map<void*, bool> known;
  auto is_ours = [&](void* node) {
    auto [at, is_new] = known.try_emplace(node, false);
    at->second = is_new ? is_kernel_of_ours(node) : at->second;
    return at->second;
  };
  std::vector<void*> plain_from, plain_to;
  for (size_t i = 0; i < from_.size(); i++) {
    bool is_early = is_ours(from_[i]) && is_ours(to_[i]);
    (is_early ? early_from_ : plain_from).push_back(from_[i]);
    (is_early ? early_to_ : plain_to).push_back(to_[i]);
  }
  from_ = std::move(plain_from);
  to_ = std::move(plain_to);
}

void Edges::reduce(const std::vector<void*>& nodes) {
  std::unordered_map<void*, size_t> number;
  for (auto* node : nodes) {
    number.emplace(node, number.size());
  }
  std::vector<std::pair<size_t, size_t>> edges;
  for (size_t i = 0; i < from_.size(); i++) {
    edges.emplace_back(number.at(from_[i]), number.at(to_[i]));
  }
  auto kept = Order(nodes.size(), edges).reduced();
  from_.clear();
  to_.clear();
  for (size_t i = 0; i < nodes.size(); i++) {
    for (size_t next : kept[i]) {
      from_.push_back(nodes[i]);
      to_.push_back(nodes[next]);
    }
  }
}

bool Edges::add(void* graph) const {
  auto& driver = Driver::get();
  std::vector<EdgeData> data(early_from_.size(), kProgrammatic);
  return driver.add && (from_.empty() || driver.add(graph, from_.data(), to_.data(), from_.size()) == 0) &&
      (data.empty() || driver.add_early(graph, early_from_.data(), early_to_.data(), data.data(), data.size()) == 0);
}

bool Edges::make_plain(void* graph) {
  auto& driver = Driver::get();
  std::vector<EdgeData> data(early_from_.size(), kProgrammatic);
  bool is_done = driver.remove_early(graph, early_from_.data(), early_to_.data(), data.data(), data.size()) == 0 &&
      driver.add(graph, early_from_.data(), early_to_.data(), early_from_.size()) == 0;
  early_from_.clear();
  early_to_.clear();
  return is_done;
}

} // namespace cuda

#endif
