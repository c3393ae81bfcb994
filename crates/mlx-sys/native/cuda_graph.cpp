// Recording of what MLX's encoder gathers (`cuda_graph.h`).
#include "cuda_graph.h"

#ifdef __linux__

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <unordered_set>
#include <utility>

#include "cuda.h"
#include "cuda_edges.h"
#include "elf_table.h"
#include "mlx/version.h"

namespace cuda {

namespace {

// MLX's own layout up to what is needed, of the version whose headers this was compiled with: `backend/cuda/device.h`.
// `take` checks it against the graph.
struct Encoder {
  void* device;
  void* stream;
  void* graph;
  std::shared_ptr<void> worker;
  int node_count;
  bool in_concurrent;
  std::vector<void*> from_nodes;
  std::vector<void*> to_nodes;
  std::string nodes_key;
  std::string deps_key;
  std::vector<char> concurrent_nodes;
  Datas temporaries;
};
static_assert(offsetof(Encoder, from_nodes) == 0x30 && offsetof(Encoder, temporaries) == 0xb8);

// Where the encoder says whether the graphs that it keeps may be updated with the nodes of this one.
constexpr size_t kIsUpdatable = 0x1a8;

struct Driver {
  int (*nodes)(void* graph, void** nodes, size_t* n);
  int (*instantiate)(void** executable, void* graph, unsigned long long flags);
  int (*launch)(void* executable, void* stream);
  int (*destroy)(void* executable);

  static const Driver* get() {
    static Driver driver;
    static const bool is_whole = [] {
      auto* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
      auto find = [&](const char* name, auto& function) {
        function = library ? reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name)) : nullptr;
        return function != nullptr;
      };
      return find("cuGraphGetNodes", driver.nodes) && find("cuGraphInstantiateWithFlags", driver.instantiate) &&
          find("cuGraphLaunch", driver.launch) && find("cuGraphExecDestroy", driver.destroy);
    }();
    return is_whole ? &driver : nullptr;
  }
};

Encoder* (*encoder_of)(mx::Stream);
void (*commit_encoder)(Encoder*);
void (*commit_of_mlx)(Encoder*);

thread_local GraphRecorder* recorder = nullptr;
std::atomic<int> n_live{0};

void commit_now(Encoder* encoder) {
  if (recorder) {
    recorder->at_commit(encoder);
  }
  commit_of_mlx(encoder);
}

bool install() {
  constexpr auto kCommitNow = "_ZN3mlx4core2cu14CommandEncoder11commit_implEv";
  auto* map = elf::library_of(reinterpret_cast<const void*>(&mlx::core::version));
  void* mlx = map ? dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
  if (!mlx || !Driver::get()) {
    return false;
  }
  auto find = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(mlx, name));
    return function != nullptr;
  };
  return find("_ZN3mlx4core2cu19get_command_encoderENS0_6StreamE", encoder_of) &&
      find("_ZN3mlx4core2cu14CommandEncoder6commitEv", commit_encoder) && find(kCommitNow, commit_of_mlx) &&
      elf::replace_imported(*map, kCommitNow, reinterpret_cast<void*>(&commit_now)) > 0;
}

void check(int status, const char* what) {
  if (status != 0) {
    throw std::runtime_error(std::string("CUDA program: ") + what + " failed with the driver's status " + std::to_string(status));
  }
}

} // namespace

Executable::Executable(Executable&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

Executable& Executable::operator=(Executable&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

Executable::~Executable() {
  if (handle_) {
    auto held = keep_recordings_out();
    Driver::get()->destroy(handle_);
    n_live--;
  }
}

void Executable::launch(void* stream) const {
  check(Driver::get()->launch(handle_, stream), "launching it");
}

bool can_record() {
  static const bool can = is_cuda() && install();
  return can;
}

void* driver_stream(const mx::Stream& s) {
  return encoder_of(s)->stream;
}

void commit(const mx::Stream& s) {
  commit_encoder(encoder_of(s));
}

GraphRecorder::GraphRecorder(const mx::Stream& s) : stream_(s) {
  commit(s);
  recorder = this;
}

GraphRecorder::~GraphRecorder() {
  recorder = nullptr;
}

GraphRecorder* GraphRecorder::current() {
  return recorder;
}

void GraphRecorder::hold(const Arrays& arrays) {
  for (auto& array : arrays) {
    graph_.held.push_back(array.data_shared_ptr());
  }
}

void GraphRecorder::note_written(const mx::array& x) {
  written_.insert(x.buffer().ptr());
}

void GraphRecorder::note_unpacked(size_t bytes, size_t most) {
  n_unpacked_ += bytes;
  if (n_unpacked_ > most) {
    refuse("it would keep more than " + std::to_string(most >> 20) + " MiB of unpacked weights");
  }
}

bool GraphRecorder::has_written(const mx::array& x) const {
  return written_.contains(x.buffer().ptr());
}

void GraphRecorder::refuse(std::string why) {
  if (refusal_.empty()) {
    refusal_ = std::move(why);
  }
}

std::string GraphRecorder::finish(Graph& graph) {
  is_finishing_ = true;
  commit(stream_);
  recorder = nullptr;
  if (!is_taken_) {
    refuse("MLX gathers no graphs");
  }
  if (refusal_.empty()) {
    graph = std::move(graph_);
  }
  return refusal_;
}

void GraphRecorder::at_commit(void* encoder) {
  if (encoder != encoder_of(stream_)) {
    return;
  }
  if (!refusal_.empty()) {
    return;
  }
  if (is_finishing_ && !is_taken_) {
    refusal_ = take(encoder);
    is_taken_ = refusal_.empty();
  } else {
    refuse("an operation gives work to the GPU by itself");
  }
}

std::string GraphRecorder::take(void* of_mlx) {
  auto& encoder = *static_cast<Encoder*>(of_mlx);
  auto& driver = *Driver::get();
  if (encoder.node_count == 0) {
    return "there is nothing to compute";
  }
  size_t n = 0;
  if (driver.nodes(encoder.graph, nullptr, &n) != 0 || n != static_cast<size_t>(encoder.node_count)) {
    return n == 0 ? "MLX gathers no graphs (MLX_USE_CUDA_GRAPHS=0)" : "MLX's encoder is laid out in another way";
  }
  std::vector<void*> nodes(n);
  driver.nodes(encoder.graph, nodes.data(), &n);
  std::unordered_set<void*> known(nodes.begin(), nodes.end());
  auto is_known = [&](void* node) { return known.contains(node); };
  auto &from = encoder.from_nodes, &to = encoder.to_nodes;
  if (from.size() != to.size() || !std::all_of(from.begin(), from.end(), is_known) || !std::all_of(to.begin(), to.end(), is_known)) {
    return "MLX's encoder is laid out in another way";
  }
  auto held = keep_recordings_out();
  Edges edges(nodes, from, to);
  void* executable = nullptr;
  if (!edges.add(encoder.graph)) {
    return "the driver refuses its order";
  }
  // They are in the graph now.
  from.clear();
  to.clear();
  if (driver.instantiate(&executable, encoder.graph, 0) != 0 && edges.n_early() > 0 && edges.make_plain(encoder.graph)) {
    executable = nullptr;
    driver.instantiate(&executable, encoder.graph, 0);
  }
  if (!executable) {
    return "the driver makes no executable graph of it";
  }
  graph_.n_early = edges.n_early();
  n_live++;
  graph_.executable = Executable(executable);
  graph_.n_nodes = n;
  graph_.held.insert(graph_.held.end(), encoder.temporaries.begin(), encoder.temporaries.end());
  // MLX launches these nodes once, and need not keep their graph for others like it.
  reinterpret_cast<bool*>(of_mlx)[kIsUpdatable] = false;
  return "";
}

int live_graphs() {
  return n_live;
}

} // namespace cuda

#endif
